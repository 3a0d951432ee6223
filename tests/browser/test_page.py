"""The page in a real browser: with its script, without it, and when the server goes away."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic

import httpx
import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.live import PATIENCE as LIVE
from tests.live import LiveProject

from .conftest import PATIENCE, OpenPage, come_back

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
NOT_FOUND = 404
FADE = """
from mashin_surfaces.machines.watch import bump
from mashin_surfaces.models import Surface
Surface.objects.filter(path="/ws/fading").update(enabled=False)
bump("definitions")
"""
DISHES = '[{"name": "Soup", "price": 4.50}, {"name": "Pie", "price": 12345678901234567890}]'


def fill(page: Page, name: str = "Harvest") -> None:
    page.get_by_label("Name of the dinner").fill(name)
    page.get_by_label("Guests").fill("4")
    page.get_by_label("Budget per guest").fill("12.50")
    page.get_by_label("Day").fill("2026-11-28")
    page.get_by_label("Kind of dinner").select_option("buffet")
    page.get_by_label("Vegetarian").check()
    page.get_by_label("Dishes").fill(DISHES)
    page.get_by_label("Notes").fill("First line\n<b>second</b> line")


def expect_plan(page: Page) -> None:
    """The result of ``fill``, whoever drew it."""
    result = page.locator("#result")
    expect(result).to_be_visible()
    answer = result.locator(".answer > div")
    expect(answer).to_have_count(8)
    expect(answer.nth(0).locator(".number")).to_have_text("4")
    expect(answer.nth(1).locator(".number")).to_have_text("12.50")
    expect(answer.nth(2).locator(".badge.true")).to_have_text("Yes")
    expect(answer.nth(3).locator(".text")).to_have_text("First line\n<b>second</b> line")
    expect(answer.nth(4).locator("th")).to_have_text(["Dish", "Price"])
    soup, pie = re.compile(r"^4\.50?\s*$"), re.compile(r"^1234567890123456")
    cells: list[str | re.Pattern[str]] = ["Soup", soup, "Pie", pie]
    expect(answer.nth(4).locator("td")).to_have_text(cells)
    expect(answer.nth(5).locator("li")).to_have_text(["Harvest", "buffet"])
    summary = answer.nth(6).locator("dd > dl > div")
    expect(summary.nth(1).locator("dd")).to_have_text("Harvest")
    folded = summary.nth(2).locator("details")
    expect(folded.locator("summary")).to_have_text("1 part")
    expect(folded.locator("li")).to_have_text("2026-11-28", use_inner_text=False)
    expect(answer.nth(7).locator("time")).to_have_attribute("datetime", "2026-11-21T18:30:00Z")


def connected(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")


def test_the_form_is_sent_over_the_socket_and_the_page_stays(
    open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page("/planner", viewport={"width": 1180, "height": 900})
    connected(page)
    expect(page.get_by_role("status")).to_have_text("Connected")
    shoot(page, "light")
    page.evaluate("window.isSamePage = true")
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect_plan(page)
    assert page.evaluate("window.isSamePage")
    shoot(page, "result")


def test_moments_are_local_with_a_script(open_page: OpenPage) -> None:
    page = open_page("/planner", locale="en-GB", timezone_id="Asia/Tokyo")
    connected(page)
    fill(page)
    page.get_by_role("button", name="Run").click()
    moment = page.locator("#result time")
    expect(moment).to_have_text("22 Nov 2026, 03:30:00")
    expect(moment).to_have_attribute("title", "2026-11-21T18:30:00Z")


def test_without_a_script_the_form_posts(open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page("/planner", java_script_enabled=False)
    expect(page.locator("#connection")).to_be_hidden()
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect_plan(page)
    expect(page.get_by_label("Notes")).to_have_value("First line\n<b>second</b> line")
    shoot(page, "no-script")


def test_errors_stand_beside_their_fields(open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page("/planner")
    connected(page)
    fill(page, name="ab")
    page.get_by_label("Dishes").fill('[{"price": "much"}]')
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_have_text("Please correct the marked fields.")
    expect(page.locator("#field-name-errors")).not_to_be_empty()
    details = [re.compile("^#1 › name: "), re.compile("^#1 › price: ")]
    expect(page.locator("#field-dishes-errors span")).to_have_text(details)
    expect(page.get_by_label("Name of the dinner")).to_be_focused()
    expect(page.get_by_label("Guests")).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#request code")).not_to_be_empty()
    shoot(page, "errors")
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect_plan(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def test_without_a_script_errors_stand_there_too(
    open_page: OpenPage, complaints: list[str], shoot: Shoot
) -> None:
    page = open_page("/planner", java_script_enabled=False)
    fill(page, name="ab")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#field-name-errors")).not_to_be_empty()
    expect(page.get_by_label("Name of the dinner")).to_have_value("ab")
    expect(page.get_by_label("Name of the dinner")).to_have_attribute("aria-invalid", "true")
    shoot(page, "errors-no-script")
    complaints[:] = [text for text in complaints if "422" not in text]  # the page's own status


def test_what_is_no_json_is_said_before_it_is_sent(open_page: OpenPage) -> None:
    page = open_page("/planner")
    connected(page)
    fill(page)
    page.get_by_label("Dishes").fill("[soup")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#field-dishes-errors")).to_have_text("This is not JSON.")
    expect(page.get_by_label("Dishes")).to_be_focused()


def test_a_socket_that_takes_other_credentials_is_left_alone(open_page: OpenPage) -> None:
    page = open_page("/closed")
    expect(page.locator("[data-websocket]")).to_have_count(0)
    page.get_by_label("Name").fill("Ada")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .text")).to_have_text("Hello, Ada")
    expect(page.locator("#connection")).to_be_hidden()


def test_a_socket_that_is_refused_is_done_without(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    def while_the_script_is_on_its_way(route: Route) -> None:
        project.manage("shell", "-c", FADE)
        deadline = monotonic() + PATIENCE / 1000
        address = project.url("/ws/fading")
        while httpx.get(address, trust_env=False, timeout=LIVE).status_code != NOT_FOUND:
            assert monotonic() < deadline, "the socket is still there"
        route.continue_()

    page = open_page("/closed")
    page.route("**/page.js", while_the_script_is_on_its_way)
    page.goto("/fading", wait_until="commit")
    expect(page.locator("[data-websocket]")).to_have_count(1)
    expect(page.locator("#connection")).to_have_attribute("data-state", "gone", timeout=60_000)
    expect(page.locator("#connection")).to_be_hidden()
    page.get_by_label("Name").fill("Ada")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .text")).to_have_text("Hello, Ada")
    assert len(complaints) == 1  # the browser's own, and no second attempt
    assert "/ws/fading" in complaints.pop()


def test_the_page_says_when_the_server_is_gone_and_comes_back(
    open_page: OpenPage, project: LiveProject, complaints: list[str], shoot: Shoot
) -> None:
    page = open_page("/planner", viewport={"width": 1180, "height": 900})
    connected(page)
    fill(page)
    project.kill()
    connection = page.locator("#connection")
    expect(connection).to_have_attribute("data-state", "reconnecting")
    expect(page.get_by_role("status")).to_have_text("Reconnecting")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("as soon as the connection is back")
    shoot(page, "reconnecting")
    project.start()
    come_back(page)
    connected(page)
    expect_plan(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    complaints.clear()  # of refused connections


def test_what_was_sent_when_the_connection_broke_is_not_sent_again(
    open_page: OpenPage, complaints: list[str]
) -> None:
    page = open_page("/planner")
    connected(page)
    sockets: list[WebSocketRoute] = []

    frames: list[str | bytes] = []

    def hear(frame: str | bytes) -> None:
        frames.append(frame)

    def take(route: WebSocketRoute) -> None:
        """Takes frames and answers none."""
        sockets.append(route)
        route.on_message(hear)

    page.route_web_socket("/ws/planner", take)
    page.reload()
    connected(page)
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[aria-busy]")).to_have_count(1)
    sockets[0].close(code=1012)
    expect(page.get_by_role("alert")).to_contain_text("may have been carried out")
    connected(page)
    assert len(frames) == 1
    assert len(sockets) == 2
    complaints.clear()


def test_offline_is_said_and_online_connects_at_once(
    open_page: OpenPage, complaints: list[str]
) -> None:
    page = open_page("/planner")
    connected(page)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_attribute("data-state", "offline")
    page.context.set_offline(False)
    connected(page)
    complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_have_colours_that_can_be_read(
    open_page: OpenPage, shoot: Shoot, scheme: str
) -> None:
    page = open_page("/planner", color_scheme=scheme, viewport={"width": 1180, "height": 900})
    connected(page)
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect_plan(page)
    for selector in ("h1", ".hint", "button", ".badge", "dt", ".colophon", "input"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG 2.2, 1.4.3
    shoot(page, f"result-{scheme}")


@pytest.mark.parametrize("width", [320, 360, 800])
def test_nothing_is_cut_off_on_narrow_screens(
    open_page: OpenPage, shoot: Shoot, width: int
) -> None:
    page = open_page("/planner", viewport={"width": width, "height": 740})
    connected(page)
    fill(page)
    page.get_by_role("button", name="Run").click()
    expect_plan(page)
    shoot(page, f"result-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def contrast(page: Page, selector: str) -> float:
    """WCAG contrast of the first such element's text against the ground behind it."""
    ratio: float = page.evaluate(
        """(selector) => {
          const parts = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b]
            .map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
          const element = document.querySelector(selector);
          let ground = element;
          const groundOf = (one) => parts(getComputedStyle(one).backgroundColor);
          while (ground !== document.documentElement && groundOf(ground)[3] === 0) {
            ground = ground.parentElement;
          }
          const one = light(parts(getComputedStyle(element).color));
          const other = light(groundOf(ground));
          return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        }""",
        selector,
    )
    return ratio
