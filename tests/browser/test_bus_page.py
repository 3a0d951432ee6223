"""An incubator's page in a real browser: events as they come, bursts of them, control, a filter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.live import PATIENCE, ROOT, LiveProject

from .conftest import USER, OpenPage, come_back, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
#: Rows of the log that the document may have: those in view, and some around them.
MOST_ROWS = 100
#: Milliseconds in which thousands of events come on a machine that is busy.
SLOW = 90_000
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

#: Resets a namespace, as who looks at the page.
RESET = """async (namespace) => {
  const { connectIncubator } = await import("/static/mashin_surfaces/client.js");
  const bus = connectIncubator("/ws/hive", { namespace });
  await bus.reset();
  bus.close();
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


@contextmanager
def burst(project: LiveProject, namespace: str, *, rate: int) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that publishes so many events a second, by the client, until its input
    ends; then it says how many."""
    url = project.websocket_url("/ws/hive")
    words = [sys.executable, "-m", "tests.browser.burst", url, namespace, str(rate)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


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
        expect(page.locator("#log-position")).to_contain_text("Replayed up to entry 2 of 2;")
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
    publish(project, namespace, type="burst", bursts=11, each=1_000)
    told = "11,000 since the page was opened; the newest 10,000 are held here."
    expect(page.locator("#log-count")).to_have_text(told, timeout=SLOW)
    expect(page.locator("#log li").first).to_contain_text("burst worker 11000")
    assert page.evaluate("window.most") <= MOST_ROWS
    assert page.evaluate("window.drawn") < 1_000, "ten and more events are drawn at once"
    older = page.get_by_role("link", name="Older")
    assert (older.get_attribute("href") or "").endswith("&before=1001"), "where the list ends"


def test_a_thousand_events_a_second_leave_the_page_at_hand(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    page.evaluate(WATCH)
    count, position = page.locator("#log-count"), page.locator("#log-position")
    with burst(project, namespace, rate=1_000) as agents:
        expect(count).to_have_text(re.compile("^[1-9][0-9,]{2,} since"), timeout=SLOW)
        page.get_by_label("Type of events").fill("burst.7")
        expect(count).to_contain_text("match")
        expect(page.locator("#log li").first).to_contain_text("burst.7")
        reached = position.inner_text()
        expect(position).not_to_have_text(reached)  # it was filtered while events came
        page.get_by_label("Type of events").fill("")
        told, _ = agents.communicate(timeout=PATIENCE)
    assert agents.returncode == 0
    many = int(told)
    expect(count).to_contain_text(f"{many:,} since the page was opened", timeout=SLOW)
    expect(position).to_contain_text(f"Replayed up to entry {many + 1} of {many + 1};")
    newest = page.locator("#log code").first
    expect(newest).to_have_text(str(many))
    assert names(page)[0] == "burst.0"
    assert page.evaluate("window.most") <= MOST_ROWS


def test_the_whole_list_is_reached_by_keys_and_rows_know_their_place(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    publish(project, namespace, type="hay", each=500)
    expect(page.locator("#log-count")).to_contain_text("500 since")
    page.locator("#log").focus()
    page.keyboard.press("End")
    oldest = page.locator("#log li", has_text="first")
    expect(oldest).to_be_in_viewport()
    expect(oldest).to_have_attribute("aria-posinset", "501")
    expect(oldest).to_have_attribute("aria-setsize", "501")
    page.keyboard.press("Home")
    expect(page.locator("#log li").first).to_have_attribute("aria-posinset", "1")
    expect(page.locator("#log li", has_text="worker 500")).to_be_in_viewport()
    assert page.get_by_role("listitem").count() <= MOST_ROWS + 20


def test_what_is_read_stays_where_it_is_while_events_come(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    publish(project, namespace, type="before", each=60)
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    newer = page.get_by_role("button", name="new")
    page.locator("#log").evaluate("log => { log.scrollTop = 500; }")
    read = page.locator("#log li[data-offset='40']")
    expect(read).to_be_in_viewport()
    place = read.bounding_box()
    publish(project, namespace, type="after", bursts=3, each=100)
    expect(newer).to_have_text("↑ 300 new")
    now = read.bounding_box()
    assert place is not None
    assert now is not None
    assert abs(place["y"] - now["y"]) < 1
    newer.click()
    expect(page.locator("#log li", has_text="worker 300")).to_be_in_viewport()
    expect(newer).to_be_hidden()
    expect(page.locator("#log")).to_be_focused()


def test_what_is_typed_filters_what_is_held(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    for type in ("task.started", "task.ended", "other"):
        publish(project, namespace, type=type)
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    page.get_by_label("Type of events").press_sequentially("task.s")
    expect(page.locator("#log li")).to_have_count(1)
    expect(page.locator("#log-count")).to_have_text("1 of the 4 that are held here match.")
    page.get_by_label("Type of events").fill("*.e")
    expect(page.locator("#log li")).to_have_count(1)
    assert names(page) == ["task.ended"]
    page.get_by_label("Type of events").fill("")
    expect(page.locator("#log li")).to_have_count(4)


def test_a_page_whose_server_was_killed_is_replayed_what_it_missed(
    open_page: OpenPage, project: LiveProject, namespace: str, complaints: list[str]
) -> None:
    page = open_page(f"/hive?namespace={namespace}")
    live(page)
    project.kill()
    expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    expect(page.locator("#bus")).not_to_have_attribute("data-live", "")
    publish(project, namespace, type="missed", each=100)
    project.start()
    come_back(page)
    live(page)
    expect(page.locator("#log-position")).to_have_text(
        "Replayed up to entry 101 of 101; kept from 1."
    )
    expect(page.locator("#log li").first).to_have_attribute("aria-setsize", "101")
    complaints.clear()  # of refused connections


def test_after_a_reset_the_log_begins_anew(
    open_page: OpenPage, project: LiveProject, namespace: str
) -> None:
    publish(project, namespace, type="old", each=100)
    page = signed_in(open_page, f"/hive?namespace={namespace}")
    live(page)
    page.evaluate(RESET, namespace)
    expect(page.locator("#log-missed")).to_have_text("The bus was reset by root.")
    expect(page.locator("#log li")).to_have_count(0)
    publish(project, namespace, type="new")
    expect(page.locator("#log li")).to_have_count(1)
    assert names(page) == ["new"]


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
