"""Every list of the admin, and the dashboard's tables, at the width of a small laptop."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.live import LiveProject

from .conftest import USER, OpenPage, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FILL = "from tests.browser.long_rows import fill; fill()"
LISTS = (
    "machine", "surface", "surfaceaccess", "run", "gate", "panel", "incubator", "room", "apikey",
)  # fmt: skip
LAPTOP = {"width": 1280, "height": 800}
#: How many pixels of the page, and of each table in it, are out of sight to the side.
HIDDEN = """(tables) => [document.scrollingElement, ...document.querySelectorAll(tables)]
  .map((each) => each.scrollWidth - each.clientWidth)"""


@pytest.fixture(scope="module", autouse=True)
def _filled(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", f"{USER}\n{FILL}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_list_has_to_be_scrolled_to_the_side(open_page: OpenPage, scheme: str) -> None:
    page = signed_in(open_page, "/admin/", viewport=LAPTOP, color_scheme=scheme)
    for name in LISTS:
        page.goto(f"/admin/mashin_surfaces/{name}/")
        expect(page.locator("#result_list tbody tr").first).to_be_visible()
        assert not any(page.evaluate(HIDDEN, "#changelist .results")), name


def test_no_table_of_the_dashboard_has_to_be_scrolled_to_the_side(open_page: OpenPage) -> None:
    page = signed_in(open_page, "/admin/", viewport=LAPTOP)
    expect(page.locator(".mashin-dashboard .mashin-checks")).to_be_visible()
    assert not any(page.evaluate(HIDDEN, ".mashin-dashboard .mashin-scroll"))
