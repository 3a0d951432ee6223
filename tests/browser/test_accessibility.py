"""Every page as axe-core judges it, light and dark, and how much each one loads at first."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect

from tests.live import LiveProject

from .conftest import USER, OpenPage, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = "axe-core@4.10.3"
#: Seconds in which npm has brought it.
PATIENCE = 120
#: Bytes of script and style that a page loads at first.
MOST_BYTES = 100_000
PAGES = ["/", "/planner", "/checkout", "/workshop", "/hive"]
JUDGE = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`)))"""


@pytest.fixture(scope="module", autouse=True)
def _root(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", USER)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, by npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("There is no npm here, which brings axe-core: install node.")
    folder = tmp_path_factory.mktemp("axe")
    words = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
    try:
        got = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not bring {AXE} within {PATIENCE} s.")
    if got.returncode != 0:
        pytest.skip(f"npm could not bring {AXE}: {got.stderr.strip()[-200:]}")
    return Path(folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def complaints_of(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found: list[str] = page.evaluate(JUDGE)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, "/dashboard"])
def test_nothing_serious_is_found(open_page: OpenPage, axe: str, path: str, scheme: str) -> None:
    page = signed_in(open_page, path, color_scheme=scheme)
    expect(page.locator("h1")).to_be_visible()
    if path == "/checkout":
        page.get_by_label("Amount").fill("10")
        page.get_by_role("button", name="Run").click()
        page.wait_for_url("**/checkout?run=*")
        expect(page.get_by_role("heading", name="Pay the total?")).to_be_visible()
    if path == "/workshop":
        page.locator('[data-tool="add"]').get_by_role("button", name="Run").click()
        expect(page.locator('[data-tool="add"] .outcome')).to_contain_text("done")
        page.locator('[data-tool="ask"]').get_by_label("Question").fill("Red or blue?")
        page.locator('[data-tool="ask"]').get_by_role("button", name="Run").click()
        expect(page.locator("#panel-waiting article").first).to_be_visible()
    if path == "/hive":
        page.locator("#publish").get_by_label("Event").fill("task.started")
        page.get_by_role("button", name="Publish").click()
        expect(page.locator("#log li").first).to_be_visible()
    if path == "/dashboard":
        expect(page.locator("#live .chart canvas")).to_be_visible()
    assert complaints_of(page, axe) == []


@pytest.mark.parametrize("path", [*PAGES, "/board"])
def test_scripts_and_styles_of_the_first_view_are_small(open_page: OpenPage, path: str) -> None:
    page = signed_in(open_page, path)
    sizes: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if response.request.resource_type in {"script", "stylesheet"}:
            sizes[response.url] = len(response.body())

    page.on("response", weigh)
    context: Any = page.context
    context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.reload(wait_until="networkidle")
    assert sizes, "the page has at least its stylesheet"
    assert sum(sizes.values()) < MOST_BYTES, sizes
