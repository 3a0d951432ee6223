"""``python -m tests.browser.screenshots [folder]``: the pictures of ``docs/images``, made anew.

It serves the demo as ``make run`` does, with a database of its own, uses it as a person would, and
takes every page and every view of the admin. Pillow, where it is there, makes the
files smaller.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsers import chromium
from tests.live import ROOT, LiveProject

from .conftest import PASSWORD, PATIENCE, USER

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 400, "height": 800}
#: A picture ends here, however long its page is: pixels.
LONGEST = 1200
COLOURS = 128
#: Values that the chart of the live page has.
VALUES = 12
LISTS = {
    "admin-machines": "machine",
    "admin-surfaces": "surface",
    "admin-accesses": "surfaceaccess",
    "admin-runs": "run",
    "admin-gates": "gate",
    "admin-panels": "panel",
    "admin-incubators": "incubator",
    "admin-rooms": "room",
    "admin-keys": "apikey",
}
#: Pages of one of them: the picture, the model, what is looked for in the list.
SINGLE = [
    ("admin-machine", "machine", "greeter"),
    ("admin-run", "run", ""),
    ("admin-panel", "panel", "deployments"),
    ("admin-incubator", "incubator", "default"),
]


class Camera:
    """Puts pictures of pages into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, page: Page, name: str) -> None:
        file = self._folder / f"{name}.png"
        page.mouse.move(0, 0)
        width = page.viewport_size["width"] if page.viewport_size else WIDE["width"]
        tall = int(page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": width, "height": min(max(tall, 300), LONGEST)})
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=file, animations="disabled")
        page.set_viewport_size({"width": width, "height": WIDE["height"]})
        shrink(file)
        print(f"{file} {file.stat().st_size:,}", flush=True)


def shrink(file: Path) -> None:
    """Write a picture with fewer colours, in place."""
    if find_spec("PIL") is None:
        return
    pictures: Any = import_module("PIL.Image")
    with pictures.open(file) as full:
        fewer = full.convert("RGB").quantize(COLOURS, dither=pictures.Dither.NONE)
    fewer.save(file, optimize=True)


def opened(browser: Browser, project: LiveProject, scheme: str, *, narrow: bool) -> BrowserContext:
    """Where root is signed in, in light or dark."""
    context = browser.new_context(
        base_url=project.url("/"),
        viewport={"width": NARROW["width"], "height": NARROW["height"]} if narrow else None,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    if not narrow:
        page.set_viewport_size({"width": WIDE["width"], "height": WIDE["height"]})
    page.goto("/admin/login/?next=/")
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".machines")).to_be_visible()
    return context


# -- pages -----------------------------------------------------------------------------------------


def take_forms(page: Page, camera: Camera) -> None:
    page.goto("/greet")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("How often").fill("3")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .text")).to_be_visible()
    camera.take(page, "greeter")
    page.goto("/greet")
    page.get_by_label("How often").fill("9")
    page.locator("form").evaluate("(form) => { form.noValidate = true; }")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[aria-invalid]").first).to_be_visible()
    camera.take(page, "form-errors")
    page.goto("/tickets/classify")
    page.get_by_label("Subject").fill("The export stops halfway")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_be_visible()
    camera.take(page, "ticket-classifier")


def take_dashboard(page: Page, camera: Camera, name: str = "dashboard") -> None:
    page.goto("/dashboard")
    chart = page.locator(f'#live .chart[aria-label^="The last {VALUES} values"] canvas')
    expect(chart).to_be_visible(timeout=3 * PATIENCE)
    camera.take(page, name)


def review(page: Page) -> None:
    """Start a run, and wait for its gate."""
    page.goto("/release")
    page.get_by_label("Version").fill("1.4.0")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/release?run=*")
    expect(page.get_by_role("heading", name="Release 1.4.0?")).to_be_visible()
    expect(page.locator("svg a").first).to_be_visible()


def deploy(page: Page) -> None:
    """Leave a note, and ask for a deployment that waits for an answer."""
    page.goto("/deployments")
    note = page.locator('[data-tool="note"]')
    note.get_by_label("Text").fill("The database moves on Sunday.")
    note.get_by_role("button", name="Run").click()
    expect(note.locator(".outcome")).to_contain_text("done")
    wanted = page.locator('[data-tool="deploy"]')
    wanted.get_by_label("Service").select_option("web")
    wanted.get_by_label("Version").fill("1.4.0")
    wanted.get_by_role("button", name="Run").click()
    expect(page.locator("#panel-waiting article").first).to_be_visible()


def count_words(project: LiveProject) -> None:
    words = ["README.md", "--url", project.websocket_url("/ws"), "--pace", "0.1"]
    subprocess.run(
        [sys.executable, "-m", "project.word_count", *words],
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
    )


# -- the admin -------------------------------------------------------------------------------------


def take_admin(page: Page, camera: Camera) -> None:
    page.goto("/admin/")
    camera.take(page, "admin-index")
    for name, model in LISTS.items():
        page.goto(f"/admin/mashin_surfaces/{model}/")
        camera.take(page, name)
    for name, model, wanted in SINGLE:
        page.goto(f"/admin/mashin_surfaces/{model}/")
        page.locator("#result_list tbody a").filter(has_text=wanted).first.click()
        expect(page.locator("#content h1, #content h2").first).to_be_visible()
        camera.take(page, name)


def take_all(browser: Browser, project: LiveProject, camera: Camera) -> None:
    light = opened(browser, project, "light", narrow=False)
    page = light.pages[0]
    camera.take(page, "index")
    take_forms(page, camera)
    take_dashboard(page, camera)
    review(page)
    camera.take(page, "release-review")
    run = page.url
    deploy(page)
    camera.take(page, "deployments")
    count_words(project)
    page.goto("/word-count")
    camera.take(page, "word-count")
    project.manage("verify_ledger")  # for the dashboard
    take_admin(page, camera)
    dark = opened(browser, project, "dark", narrow=False).pages[0]
    take_dashboard(dark, camera, "dashboard-dark")
    dark.goto(run)
    expect(dark.locator("svg a").first).to_be_visible()
    camera.take(dark, "release-review-dark")
    narrow = opened(browser, project, "light", narrow=True).pages[0]
    camera.take(narrow, "index-narrow")
    take_dashboard(narrow, camera, "dashboard-narrow")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.browser.screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "images")
    folder = parser.parse_args().folder
    env = {"MASHIN_ASK": "assume", "DEBUG": "1"}
    machines = [ROOT / "project" / "machines"]
    with (
        tempfile.TemporaryDirectory() as home,
        LiveProject(Path(home), env=env, machines=machines) as project,
        chromium() as browser,
    ):
        project.manage("shell", "-v", "0", "-c", USER)
        project.api_key("release-bot", "machines:run")
        take_all(browser, project, Camera(folder))


if __name__ == "__main__":
    main()
