"""The page of a run in a real browser: its graph is drawn, and goes on while somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.live import LiveProject

from .conftest import OpenPage, come_back

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
PASSWORD = "a-password-for-root"
USER = f"""
from django.contrib.auth.models import User
User.objects.filter(username="root").exists() or User.objects.create_superuser(
    "root", password={PASSWORD!r})
"""
START = """
import asyncio
from mashin_surfaces.governance.door import governed
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.runs.engine import engine
from mashin_surfaces.runs.store import NewRun
registry.refresh()
async def start():
    machine = governed(registry.snapshot.machines["release"])
    print((await engine().create(NewRun(machine, {"amount": 10}, "ada"))).pk)
asyncio.run(start())
"""
GROW = """
import asyncio
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.identity.scopes import EVERYTHING
from mashin_surfaces.runs import commands
node = {{"id": "appendix", "needs": ["left"], "step": {{"kind": "compute", "name": "appendix",
         "body": "{{pages: 3}}"}}}}
mutation = {{"kind": "add_node", "nodes_added": [node]}}
async def grow():
    run = await commands.afind({id!r})
    caller = Caller(Principal("ada", Credential("none"), EVERYTHING))
    await commands.amutate(run, mutation, run.topology_version, caller)
asyncio.run(grow())
"""
NODES = ["left", "right", "review", "label", "total"]


@pytest.fixture(scope="module")
def root(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", USER)


@pytest.fixture
def run(project: LiveProject, root: None) -> str:
    """The address of a run that comes to wait at its gate."""
    id = project.manage("shell", "-v", "0", "-c", START).strip().splitlines()[-1]
    return f"/admin/mashin_surfaces/run/{id}/change/"


def look_at(open_page: OpenPage, address: str, **options: Any) -> Page:
    page = open_page(f"/admin/login/?next={address}", **options)
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.mouse.move(0, 0)
    return page


def node(page: Page, name: str) -> Locator:
    return page.locator(f'#run-graph a[href="#node-{name}"]')


def has_status(page: Page, name: str, status: str) -> None:
    expect(node(page, name)).to_have_attribute("data-status", status)


def is_live(page: Page) -> None:
    expect(page.locator("#run-live")).to_have_attribute("data-state", "live")


def test_who_approves_by_a_click_sends_the_graph_on_before_everybodys_eyes(
    open_page: OpenPage, run: str, shoot: Shoot
) -> None:
    size = {"width": 1280, "height": 900}
    watcher = look_at(open_page, run, viewport=size)
    is_live(watcher)
    expect(watcher.locator("#run-graph a")).to_have_count(len(NODES))
    has_status(watcher, "review", "paused")
    has_status(watcher, "total", "pending")
    expect(watcher.get_by_role("button", name="Approve")).to_be_visible()
    shoot(watcher, "run-waits")
    watcher.evaluate("window.isSame = true")

    decider = look_at(open_page, run, viewport=size)
    decider.get_by_label("Feedback").fill("Looks good.")
    decider.get_by_role("button", name="Approve").click()
    expect(decider.locator(".messagelist")).to_contain_text("The gate review is decided: Approve.")

    for page in (watcher, decider):
        for name in NODES:
            has_status(page, name, "completed")
        expect(node(page, "total")).to_have_attribute("aria-label", "total: completed, needs label")
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        expect(page.locator("#run-facts")).to_contain_text("5/5")
        expect(page.locator("#run-gates")).to_contain_text("Looks good.")
    assert watcher.evaluate("window.isSame"), "it was not loaded anew"
    shoot(watcher, "run-completed")


def test_what_somebody_types_at_a_gate_stays_while_the_run_goes_on(
    open_page: OpenPage, run: str
) -> None:
    typing, other = (look_at(open_page, run) for _ in range(2))
    is_live(typing)
    has_status(typing, "review", "paused")
    expect(typing.get_by_label("Feedback")).to_be_visible()
    typing.get_by_label("Feedback").fill("I am not done")
    other.get_by_role("button", name="Pause").click()
    expect(typing.locator("#run-facts")).to_contain_text("paus")
    expect(typing.get_by_label("Feedback")).to_have_value("I am not done")


def test_no_gate_changes_under_the_hand_of_who_points_at_it(open_page: OpenPage, run: str) -> None:
    pointing, other = (look_at(open_page, run) for _ in range(2))
    is_live(pointing)
    pointing.get_by_role("button", name="Reject").hover()
    other.get_by_role("button", name="Approve").click()
    has_status(pointing, "total", "completed")
    expect(pointing.locator("#run-facts")).to_contain_text("5/5")
    expect(pointing.get_by_role("button", name="Reject")).to_be_visible()
    pointing.mouse.move(0, 0)
    expect(pointing.get_by_role("button", name="Reject")).to_have_count(0)


def test_a_node_is_reached_by_keyboard_and_leads_to_its_row(open_page: OpenPage, run: str) -> None:
    page = look_at(open_page, run)
    is_live(page)
    node(page, "review").focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr:target")).to_have_id("node-review")


def test_without_a_script_the_nodes_stand_in_a_table(open_page: OpenPage, run: str) -> None:
    page = look_at(open_page, run, java_script_enabled=False)
    expect(page.locator("#run-graph")).to_be_hidden()
    expect(page.locator("#run-nodes tbody tr")).to_have_count(len(NODES))
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.locator(".messagelist")).to_contain_text("It is being cancelled")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window(open_page: OpenPage, run: str, width: int, shoot: Shoot) -> None:
    page = look_at(open_page, run, viewport={"width": width, "height": 900}, color_scheme="dark")
    is_live(page)
    has_status(page, "review", "paused")
    shoot(page, f"run-dark-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_graph_that_grows_is_drawn_anew(
    open_page: OpenPage, run: str, project: LiveProject
) -> None:
    page = look_at(open_page, run)
    is_live(page)
    expect(page.locator("#run-graph a")).to_have_count(len(NODES))
    project.manage("shell", "-v", "0", "-c", GROW.format(id=run.split("/")[-3]))
    has_status(page, "appendix", "completed")
    expect(page.locator("#run-graph a")).to_have_count(len(NODES) + 1)
    expect(page.locator("#node-appendix")).to_contain_text('{"pages": 3}')


def test_a_server_that_comes_back_is_followed_on(
    open_page: OpenPage, run: str, project: LiveProject, complaints: list[str]
) -> None:
    page = look_at(open_page, run)
    is_live(page)
    project.kill()
    expect(page.locator("#run-live")).to_have_attribute("data-state", "lost")
    project.start()
    come_back(page)
    is_live(page)
    page.get_by_role("button", name="Approve").click()
    has_status(page, "total", "completed")
    complaints.clear()  # of refused connections
