"""Live values in a real browser: followed, changed, paused, resumed after a restart, refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.live import LiveProject

from .conftest import PATIENCE, OpenPage, come_back
from .test_page import FADE, contrast

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
MOST_KEPT = 300

#: Keeps what is shown, as [offset, value], in ``window.seen``.
RECORD = """() => {
  const live = document.querySelector("#live");
  window.seen = [];
  const note = () => live.dataset.offset && window.seen.push(
    [Number(live.dataset.offset), live.querySelector(".number").textContent]);
  note();
  new MutationObserver(note).observe(live, { attributeFilter: ["data-offset"] });
}"""
#: Waits until a push of this offset is shown, or a later one; the page's policy forbids
#: ``wait_for_function``.
REACH = """([offset, patience]) => new Promise((resolve, reject) => {
  const live = document.querySelector("#live");
  const look = () => Number(live.dataset.offset) >= offset && resolve();
  new MutationObserver(look).observe(live, { attributeFilter: ["data-offset"] });
  setTimeout(() => reject(`at ${live.dataset.offset}, not at ${offset}`), patience);
  look();
})"""
#: Counts the runs of columns in which a canvas has the colour of lines.
PIECES = """(canvas) => {
  const { width, height } = canvas;
  const ink = getComputedStyle(canvas).getPropertyValue("--accent").match(/[0-9a-f]{2}/gi);
  const line = ink.map((part) => parseInt(part, 16));
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const isLine = (x, y) => {
    const [red, green, blue, cover] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
    return cover > 64 && [red, green, blue].every((part, at) => Math.abs(part - line[at]) < 24);
  };
  const columns = Array.from({ length: width }, (_, x) =>
    Array.from({ length: height }, (_, y) => y).some((y) => isLine(x, y)));
  return columns.filter((is, x) => is && !columns[x - 1]).length;
}"""
FRAME = "() => new Promise(requestAnimationFrame)"
LOG = """
import json
from mashin_surfaces.models import RoomEvent
events = RoomEvent.objects.filter(room__key={key!r}).order_by("offset")
print(json.dumps([[e.offset, json.loads(e.payload)["value"]] for e in events]))
"""
PUBLISH = """
from mashin_surfaces import publish
for value in {values!r}:
    publish("board", value, {topic!r})
"""


def following(page: Page) -> None:
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def reached(page: Page, offset: int) -> None:
    page.evaluate(REACH, [offset, PATIENCE])


def publish(project: LiveProject, topic: str, *values: float | dict[str, Any]) -> None:
    """Give numbers, or whole results, to a topic of the board."""
    given = [value if isinstance(value, dict) else {"value": value} for value in values]
    project.manage("shell", "-c", PUBLISH.format(values=given, topic=topic))


def log_of(project: LiveProject, key: str) -> list[tuple[int, float]]:
    """Offsets and values of a topic, as the database has them."""
    printed = project.manage("shell", "-c", LOG.format(key=key)).strip().splitlines()[-1]
    return [(offset, value) for offset, value in json.loads(printed)]


def pushes_to(page: Page) -> list[tuple[int, float]]:
    """Grows by the offset and the value of each push that this page gets on a socket to come."""
    pushes: list[tuple[int, float]] = []

    def hear(text: str | bytes) -> None:
        frame = json.loads(text)
        if "push" in frame:
            pushes.append((frame["offset"], frame["push"]["value"]))

    page.on("websocket", lambda socket: socket.on("framereceived", hear))
    return pushes


def values_told(page: Page) -> int:
    """Of how many values the chart of the page is, as its text says."""
    said = page.locator("#live .chart").get_attribute("aria-label") or ""
    return int(re.findall(r"The last (\d+) values", said)[0])


def pieces(page: Page) -> int:
    """In how many pieces the line of the chart is, as its pixels say."""
    count: int = page.locator("#live .chart canvas").evaluate(PIECES)
    return count


def drawn(page: Page, count: int) -> None:
    """The chart has a line in so many pieces, soon."""
    deadline = time.monotonic() + PATIENCE / 1000
    while (seen := pieces(page)) != count:
        assert time.monotonic() < deadline, f"{seen} pieces instead of {count}"
        page.evaluate(FRAME)


def test_two_windows_on_the_dashboard_show_the_same_live_values(
    open_page: OpenPage, project: LiveProject, shoot: Shoot
) -> None:
    size = {"width": 1180, "height": 800}
    windows = [open_page("/closed", viewport=size, color_scheme="dark") for _ in range(2)]
    pushes = [pushes_to(window) for window in windows]
    for window in windows:
        window.goto("/dashboard")
        following(window)
        expect(window.get_by_label("Metric")).to_have_value("cpu_usage")
        expect(window.locator("#live-state")).to_have_text("Live")
        reached(window, 1)
        window.evaluate(RECORD)
    seen: list[dict[int, float]] = []
    shared: set[int] = set()
    while len(shared) < 3:  # of what came between two frames the latest is shown
        latest = windows[1].evaluate("window.seen.at(-1)[0]") + 1
        for window in windows:
            reached(window, latest)
        seen = [
            {offset: float(text) for offset, text in window.evaluate("window.seen")}
            for window in windows
        ]
        shared = seen[0].keys() & seen[1].keys()
    for came, shown in zip(pushes, seen, strict=True):
        offsets = [offset for offset, _ in came]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        assert list(shown) == sorted(shown)
        assert shown.items() <= dict(came).items()
    log = dict(log_of(project, "live_metrics:cpu_usage"))
    for offset in shared:
        assert seen[0][offset] == seen[1][offset] == log[offset]
    shoot(windows[0], "dashboard-dark")


def test_another_metric_is_followed_instead(open_page: OpenPage) -> None:
    page = open_page("/closed")
    sent: list[dict[str, Any]] = []
    page.on(
        "websocket",
        lambda socket: socket.on("framesent", lambda text: sent.append(json.loads(text))),
    )
    page.goto("/dashboard?metric_name=memory_usage")
    following(page)
    reached(page, 1)
    page.get_by_label("Metric").select_option("disk_usage")
    following(page)
    reached(page, 1)
    expect(page.locator("#live .number")).to_be_visible()
    said = [(frame.get("subscribe"), frame.get("unsubscribe")) for frame in sent]
    assert said == [("memory_usage", None), (None, "memory_usage"), ("disk_usage", None)]


def test_a_question_is_answered_beside_the_live_values(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/board?board=asked")
    following(page)
    expect(page.locator("#live-wait")).to_be_visible()
    publish(project, "asked", 7)
    reached(page, 1)
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text("-1")
    expect(page.locator("#result .text")).to_have_text("An answer about asked")
    expect(page.locator("#live .number")).to_have_text("7")
    publish(project, "asked", 8)
    expect(page.locator("#live .number")).to_have_text("8")
    expect(page.locator("#result .number")).to_have_text("-1")


def test_while_it_is_paused_nothing_changes_and_nothing_is_missed(
    open_page: OpenPage, project: LiveProject, shoot: Shoot
) -> None:
    page = open_page("/board?board=paused", viewport={"width": 1180, "height": 700})
    witness = open_page("/board?board=paused")
    following(page)
    following(witness)
    publish(project, "paused", 1, 2)
    reached(page, 2)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live-state")).to_have_text("Paused")
    publish(project, "paused", 9, 4)
    reached(witness, 4)
    expect(page.locator("#live .number")).to_have_text("2")
    shoot(page, "live-paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#live .number")).to_have_text("4")
    line = page.get_by_role("img", name="The last 4 values: lowest 1, highest 9, last 4")
    expect(line).to_be_visible()
    expect(page.locator("#live-missed")).to_be_hidden()


def test_a_server_that_restarts_under_the_page_is_followed_on_and_nothing_is_missed(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    page = open_page("/closed")
    pushes = pushes_to(page)
    page.goto("/board?board=restart")
    following(page)
    publish(project, "restart", 1, 2, 3)
    reached(page, 3)
    project.kill()
    expect(page.locator("#live")).to_have_attribute("data-state", "joining")
    expect(page.locator("#live .number")).to_have_text("3")
    publish(project, "restart", *range(4, 40))
    project.start()
    come_back(page)
    reached(page, 39)
    following(page)
    assert pushes == log_of(project, "board:restart")
    assert values_told(page) == len(pushes) == 39
    drawn(page, 1)
    expect(page.locator("#live-missed")).to_be_hidden()
    complaints.clear()  # of refused connections


def test_what_is_not_in_the_log_any_more_is_said_to_be_missed(
    open_page: OpenPage, project: LiveProject, complaints: list[str], shoot: Shoot
) -> None:
    page = open_page("/board?board=gap")
    following(page)
    publish(project, "gap", 5, 6, 7)
    reached(page, 3)
    project.kill()
    expect(page.locator("#live")).to_have_attribute("data-state", "joining")
    publish(project, "gap", 1, 1, 1)
    project.manage(
        "shell",
        "-c",
        "from mashin_surfaces.models import Room;"
        "from mashin_surfaces.rooms.log import reset;"
        "reset(Room.objects.get(key='board:gap').id)",
    )
    project.start()
    come_back(page)
    following(page)
    expect(page.locator("#live-missed")).to_have_text("Some values were missed.")
    publish(project, "gap", 8, 6)
    expect(page.locator("#live .number")).to_have_text("6")
    assert values_told(page) == 5
    drawn(page, 2)
    shoot(page, "live-gap")
    complaints.clear()  # of refused connections


def test_a_log_that_is_cleared_under_the_page_begins_anew_there_too(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/board?board=cleared")
    following(page)
    publish(project, "cleared", 1, 2, 3)
    reached(page, 3)
    project.manage(
        "shell",
        "-c",
        "from mashin_surfaces.models import Room;"
        "from mashin_surfaces.rooms.log import reset;"
        "reset(Room.objects.get(key='board:cleared').id)",
    )
    expect(page.locator("#live-wait")).to_be_visible()
    expect(page.locator("#live .number")).to_have_count(0)
    publish(project, "cleared", 20, 30)
    line = page.get_by_role("img", name="The last 2 values: lowest 20, highest 30, last 30")
    expect(line).to_be_visible()


def test_a_refused_topic_is_shown_like_any_refusal(open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page("/board?board=much-too-long-for-a-board")
    expect(page.get_by_role("alert")).to_have_text("Please correct the marked fields.")
    expect(page.locator("#field-board-errors")).not_to_be_empty()
    expect(page.locator("#request code")).not_to_be_empty()
    expect(page.locator("#live")).to_be_hidden()
    shoot(page, "live-refused")
    page.get_by_label("Topic").fill("short")
    page.get_by_label("Topic").press("Tab")
    following(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def test_a_socket_that_goes_away_ends_the_live_values_and_the_form_posts(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/fading?name=Ada")
    following(page)
    project.manage("shell", "-c", FADE)
    expect(page.locator("#live")).to_have_attribute("data-state", "ended")
    expect(page.get_by_role("alert")).to_have_text("This surface is gone.")
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .text")).to_have_text("Hello, Ada")
    expect(page.locator("#live")).to_have_count(0)


def test_the_last_300_numbers_are_kept(open_page: OpenPage, project: LiveProject) -> None:
    page = open_page("/board?board=many")
    following(page)
    publish(project, "many", *range(MOST_KEPT + 50))
    reached(page, MOST_KEPT + 50)
    name = f"The last {MOST_KEPT} values: lowest 50, highest 349, last 349"
    expect(page.get_by_role("img", name=name)).to_be_visible()
    drawn(page, 1)


def test_what_draws_charts_is_loaded_when_there_is_a_line_to_draw(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/closed")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/board?board=first")
    following(page)
    publish(project, "first", 1)
    reached(page, 1)
    assert not [url for url in asked if "/vendor/" in url and url.endswith(".js")]
    publish(project, "first", 2)
    drawn(page, 1)
    assert [url for url in asked if url.endswith("/vendor/uplot/uplot.esm.js")]


def test_what_draws_charts_is_asked_for_again_when_it_was_not_to_be_had(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    """As while a server restarts; the browser itself would not ask for a module twice."""
    page = open_page("/board?board=again")
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) > 2:
            route.continue_()
        else:
            route.abort()

    page.route("**/uplot.esm.js*", answer)
    following(page)
    publish(project, "again", 1, 2, 3)
    reached(page, 3)
    drawn(page, 1)
    assert len(asked) == len(set(asked)) == 3
    complaints.clear()  # of what was not to be had


def test_the_chart_takes_the_colours_of_the_scheme_and_the_width_that_there_is(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/board?board=scheme", viewport={"width": 1180, "height": 800})
    following(page)
    publish(project, "scheme", 1, 5, 2)
    drawn(page, 1)
    page.emulate_media(color_scheme="dark")
    drawn(page, 1)
    canvas = page.locator("#live .chart canvas")
    wide = canvas.bounding_box()
    page.set_viewport_size({"width": 400, "height": 800})
    expect(canvas).not_to_have_css("width", f"{wide and wide['width']:g}px")
    narrow, place = canvas.bounding_box(), page.locator("#live .chart").bounding_box()
    assert narrow is not None
    assert place is not None
    assert narrow["width"] == pytest.approx(place["width"], abs=1)
    drawn(page, 1)


def test_what_is_unfolded_stays_so_and_nothing_is_read_out(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/board?board=folded")
    following(page)
    publish(project, "folded", {"value": 1, "note": "one", "more": {"words": ["a", "b"]}})
    summary = page.locator("#live summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#live li").first).to_be_visible()
    publish(project, "folded", {"value": 2, "note": "two", "more": {"words": ["c", "d", "e"]}})
    expect(page.locator("#live li")).to_have_text(["c", "d", "e"])
    expect(page.locator("#live li").last).to_be_visible()
    expect(summary).to_be_focused()
    expect(page.locator("#live .text").first).to_have_text("two")
    assert (
        page.evaluate("document.querySelector('#live').closest('[aria-live], [role=status]')")
        is None
    )


def test_results_of_a_stream_are_shown_as_they_come(open_page: OpenPage) -> None:
    page = open_page("/counter")
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    expect(page.locator("#live")).to_have_count(0)
    page.get_by_label("To").fill("3")
    page.get_by_label("Ends").uncheck()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text("3")
    expect(page.locator("#result")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".panes")).not_to_have_attribute("aria-busy", "true")
    page.get_by_label("To").fill("5")
    page.get_by_label("Ends").check()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text("5")
    expect(page.locator("#result")).not_to_have_attribute("aria-busy", "true")


def test_a_stream_that_breaks_off_keeps_what_came(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    page = open_page("/counter")
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    page.get_by_label("To").fill("3")
    page.get_by_label("Ends").uncheck()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_have_text("3")
    project.kill()
    expect(page.get_by_role("alert")).to_contain_text("before the last answer came")
    expect(page.locator("#result .number")).to_be_visible()
    project.start()
    come_back(page)
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    complaints.clear()  # of refused connections


def test_without_a_script_the_dashboard_is_as_it_was(open_page: OpenPage) -> None:
    page = open_page("/dashboard", java_script_enabled=False)
    expect(page.locator("#live")).to_be_hidden()
    expect(page.get_by_label("Metric")).to_have_value("")
    page.get_by_label("Metric").select_option("memory_usage")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .number")).to_be_visible()
    expect(page.locator("#live")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1180), ("dark", 1180), ("light", 320)])
def test_live_values_can_be_read_everywhere(
    open_page: OpenPage, project: LiveProject, shoot: Shoot, scheme: str, width: int
) -> None:
    topic = f"{scheme}{width}"
    page = open_page(
        f"/board?board={topic}", color_scheme=scheme, viewport={"width": width, "height": 740}
    )
    following(page)
    publish(project, topic, *(n * n % 17 for n in range(40)), 12345678901234567890, 3.25)
    expect(page.locator("#live .number")).to_have_text("3.25")
    shoot(page, f"live-{topic}")
    for selector in ("#live-state", "#live-toggle", "figcaption"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG 2.2, 1.4.3
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_badge_stands_still_for_those_who_asked_for_it(open_page: OpenPage) -> None:
    for motion, names in (("reduce", "none"), ("no-preference", "pulse")):
        page = open_page("/board?board=motion", reduced_motion=motion)
        following(page)
        shown = page.evaluate(
            "getComputedStyle(document.querySelector('#live-state'), '::before').animationName"
        )
        assert shown == names
