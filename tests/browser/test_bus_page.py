"""An incubator's page in a real browser: events as they come, bursts of them, control, a filter."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.live import LiveProject

from .conftest import USER, OpenPage, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
#: Lines that the list has at most (log.js).
MOST_LINES = 200
#: Appends events to a namespace's log in bursts, as agents of another process do.
BURSTS = """
from mashin_surfaces.incubators import store
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.log import append
room = store.find({namespace!r}).pk
for burst in range({bursts}):
    append(room, [
        NewEvent("event", '{{"event_type":"%s","data":%d,"agent_id":"worker"}}'
                 % ({type!r}, burst * {each} + n + 1))
        for n in range({each})
    ])
"""
#: Counts how often the list is drawn, and the most lines that it ever had.
WATCH = """() => {
  const log = document.querySelector("#log");
  window.drawn = 0;
  window.most = 0;
  new MutationObserver(() => {
    window.drawn += 1;
    window.most = Math.max(window.most, log.childElementCount);
  }).observe(log, { childList: true });
}"""

_numbers = count(1)


@pytest.fixture(scope="module", autouse=True)
def _root(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", USER)


@pytest.fixture
def namespace(project: LiveProject) -> str:
    """One that nobody has used."""
    name = f"ns{next(_numbers)}"
    publish(project, name, type="first")
    return name


def publish(
    project: LiveProject, namespace: str, *, type: str, bursts: int = 1, each: int = 1
) -> None:
    code = BURSTS.format(namespace=namespace, type=type, bursts=bursts, each=each)
    project.manage("shell", "-v", "0", "-c", code)


def live(page: Page) -> None:
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")


def names(page: Page) -> list[str]:
    """Of the lines, the newest first."""
    return page.locator("#log li > :nth-child(2)").all_inner_texts()


def test_events_come_as_they_are_published_in_two_windows(
    open_page: OpenPage, project: LiveProject, namespace: str, shoot: Shoot
) -> None:
    path = f"/hive?namespace={namespace}"
    one = signed_in(open_page, path, viewport={"width": 1280, "height": 900})
    other = open_page(path)
    live(one)
    live(other)
    assert names(other) == ["first"]
    one.locator("#publish").get_by_label("Event").fill("task.started")
    one.locator("#publish").get_by_label("Data").fill('{"n": 1}')
    one.get_by_role("button", name="Publish").click()
    for page in (one, other):
        expect(page.locator("#log li")).to_have_count(2)
        expect(page.locator("#log li").first).to_contain_text('task.started root {"n":1}')
        expect(page.locator("#log-position")).to_contain_text("The log stands at 2")
    publish(project, namespace, type="task.ended")
    expect(other.locator("#log li")).to_have_count(3)
    assert names(other) == ["task.ended", "task.started", "first"]
    shoot(one, "incubator-page")


def test_thousands_of_events_are_drawn_in_a_few_frames_and_in_few_elements(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    page.evaluate(WATCH)
    publish(project, namespace, type="burst", bursts=5, each=1_000)
    expect(page.locator("#log-count")).to_contain_text("5,000 since the page was opened")
    expect(page.locator("#log li").first).to_contain_text("burst worker 5000")
    assert page.evaluate("window.most") == MOST_LINES
    assert page.locator("#log li").count() == MOST_LINES
    assert page.evaluate("window.drawn") < 500, "ten and more events are drawn at once"
    numbers = page.locator("#log li code").all_inner_texts()
    assert numbers == [str(number) for number in range(5_000, 5_000 - MOST_LINES, -1)]
    page.get_by_label("Type of events").fill("it can still be typed into")
    expect(page.get_by_label("Type of events")).to_have_value("it can still be typed into")


def test_a_filter_holds_for_what_comes(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    page.get_by_label("Type of events").fill("task.*")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**type=task*")
    live(page)
    expect(page.locator("#log li")).to_have_count(0)
    publish(project, namespace, type="other")
    publish(project, namespace, type="task.started")
    expect(page.locator("#log li")).to_have_count(1)
    assert names(page) == ["task.started"]


def test_who_may_control_pauses_it_for_everybody(
    open_page: OpenPage, namespace: str, shoot: Shoot
) -> None:
    path = f"/hive?namespace={namespace}"
    guard = signed_in(open_page, path, viewport={"width": 1280, "height": 900})
    agent = open_page(path)
    live(guard)
    live(agent)
    expect(agent.get_by_role("button", name="Pause")).to_have_count(0)
    guard.get_by_label("Reason").fill("Lunch.")
    guard.get_by_role("button", name="Pause").click()
    for page in (guard, agent):
        expect(page.locator("#bus-standing")).to_contain_text("paused")
        expect(page.locator("#bus-standing")).to_contain_text("Lunch.")
    shoot(guard, "incubator-page-paused")
    agent.locator("#publish").get_by_label("Event").fill("task.started")
    agent.get_by_role("button", name="Publish").click()
    expect(agent.get_by_role("alert")).to_contain_text("paused")
    guard.get_by_role("button", name="Resume").click()
    expect(agent.locator("#bus-standing")).to_contain_text("open")


def test_without_a_script_the_bus_is_read_and_written(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    publish(project, namespace, type="many", each=60)
    page = signed_in(open_page, f"/hive?namespace={namespace}", java_script_enabled=False)
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#log li")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#log li")).to_have_count(11)
    assert names(page)[-1] == "first"
    page.get_by_role("link", name="Newest").click()
    page.locator("#publish").get_by_label("Event").fill("task.started")
    page.get_by_role("button", name="Publish").click()
    expect(page.locator("#log li").first).to_contain_text("task.started root")
    page.get_by_role("button", name="Halt").click()
    expect(page.locator("#bus-standing")).to_contain_text("halted")


def test_nothing_is_cut_off_on_narrow_screens(open_page: OpenPage) -> None:
    page = signed_in(open_page, "/hive", viewport={"width": 400, "height": 740})
    live(page)
    for width in (400, 320):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
