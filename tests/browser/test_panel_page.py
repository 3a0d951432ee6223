"""A panel's page in a real browser: two windows, tools by their forms, an answer, a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.live import LiveProject

from .conftest import PATIENCE, USER, OpenPage, come_back, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Shoot = Callable[[Page, str], None]
FORGET = """
from mashin_surfaces.panels import store
from mashin_surfaces.models import Panel
Panel.objects.exists() and store.delete("workshop")
"""


@pytest.fixture(scope="module", autouse=True)
def _root(project: LiveProject) -> None:
    project.manage("shell", "-v", "0", "-c", USER)


@pytest.fixture
def fresh(project: LiveProject) -> None:
    """A panel to which nothing has happened yet."""
    project.manage("shell", "-v", "0", "-c", FORGET)


def live(page: Page) -> None:
    expect(page.locator("#panel")).to_have_attribute("data-live", "")
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")


def form(page: Page, name: str) -> Locator:
    return page.locator(f'[data-tool="{name}"]')


def run(page: Page, name: str) -> None:
    form(page, name).get_by_role("button", name="Run").click()


def count(page: Page) -> Locator:
    """The value of "count" in the state."""
    return page.locator("#panel-state .number-entry .number")


@pytest.mark.usefixtures("fresh")
def test_a_tool_by_its_form_changes_the_panel_in_two_windows(
    open_page: OpenPage, shoot: Shoot
) -> None:
    one = signed_in(open_page, "/workshop", viewport={"width": 1280, "height": 900})
    other = open_page("/workshop")
    live(one)
    live(other)
    other.evaluate("window.isSame = true")
    form(one, "add").get_by_label("By").fill("4")
    form(one, "add").get_by_label("Colour").select_option("blue")
    run(one, "add")
    expect(form(one, "add").locator(".outcome")).to_have_text("done4")
    for page in (one, other):
        expect(count(page)).to_have_text("4")
        expect(page.locator("#panel-state")).to_contain_text("blue")
        expect(page.locator("#log li")).to_have_count(2)
        expect(page.locator("#log")).to_contain_text('added {"by":4}')
    run(other, "add")
    expect(count(one)).to_have_text("5")
    assert other.evaluate("window.isSame"), "it was not loaded anew"
    shoot(one, "panel-page")


@pytest.mark.usefixtures("fresh")
def test_what_waits_is_answered_before_everybodys_eyes(open_page: OpenPage, shoot: Shoot) -> None:
    asker = open_page("/workshop")
    person = signed_in(open_page, "/workshop", viewport={"width": 1280, "height": 900})
    live(asker)
    live(person)
    form(asker, "ask").get_by_label("Question").fill("Red or blue?")
    run(asker, "ask")
    expect(form(asker, "ask").locator(".outcome")).to_have_text("waits for an answer")
    expect(asker.locator("#panel-waiting")).to_contain_text("Red or blue?")
    expect(asker.get_by_role("link", name="Sign in to answer")).to_be_visible()
    expect(person.locator("#panel-waiting")).to_contain_text("Red or blue?")
    shoot(person, "panel-page-waits")
    person.get_by_label("Answer", exact=True).fill("blue")
    person.get_by_role("button", name="Answer", exact=True).click()
    expect(form(asker, "ask").locator(".outcome")).to_have_text("doneblue")
    for page in (asker, person):
        expect(page.locator("#panel-waiting article")).to_have_count(0)
        expect(page.locator("#panel-standing")).to_have_text("running")
        expect(page.locator("#panel-state")).to_contain_text("blue")


def test_what_is_wrong_is_said_beside_its_field(open_page: OpenPage) -> None:
    page = open_page("/workshop")
    live(page)
    form(page, "anything").get_by_label("Arguments").fill("{name}")
    run(page, "anything")
    errors = form(page, "anything").locator(".field-errors")
    expect(errors).to_have_text("This is not JSON.")
    expect(form(page, "anything").get_by_label("Arguments")).to_be_focused()
    form(page, "anything").get_by_label("Arguments").fill('{"name": {"first": "Ada"}}')
    run(page, "anything")
    expect(form(page, "anything").locator(".outcome")).to_contain_text("Ada")
    expect(errors).to_be_empty()
    form(page, "anything").get_by_label("Arguments").fill("")
    run(page, "anything")
    expect(form(page, "anything").locator(".outcome")).to_contain_text("failed")


def test_a_refusal_of_the_server_marks_the_field_that_it_is_about(open_page: OpenPage) -> None:
    page = open_page("/workshop")
    live(page)
    form(page, "add").get_by_label("By").evaluate("input => { input.type = 'text'; }")
    form(page, "add").get_by_label("By").fill("many")
    run(page, "add")
    expect(form(page, "add").get_by_role("alert")).to_have_text("Please correct the marked fields.")
    expect(form(page, "add").get_by_label("By")).to_have_attribute("aria-invalid", "true")


@pytest.mark.usefixtures("fresh")
def test_a_server_may_restart_under_the_page(
    open_page: OpenPage, project: LiveProject, complaints: list[str]
) -> None:
    page = open_page("/workshop")
    live(page)
    run(page, "add")
    expect(count(page)).to_have_text("1")
    project.kill()
    expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    project.start()
    come_back(page)
    live(page)
    run(page, "add")
    expect(count(page)).to_have_text("2")
    expect(page.locator("#log li")).to_have_count(4)
    offsets = page.locator("#log li").evaluate_all("lines => lines.map((li) => li.dataset.offset)")
    assert offsets == ["4", "3", "2", "1"]
    complaints.clear()  # of refused connections


def test_what_the_client_has_to_say_is_said_in_the_visitors_language(
    open_page: OpenPage, session: Any, complaints: list[str]
) -> None:
    def break_off_at_an_answer(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def pass_on(frame: str | bytes) -> None:
            if '"RESUME"' in str(frame):
                route.close(code=1012)
            else:
                server.send(frame)

        route.on_message(pass_on)

    page = open_page("/closed", storage_state=session, locale="de-DE")
    page.route_web_socket("**/ws/workshop*", break_off_at_an_answer)
    page.goto("/workshop")
    live(page)
    form(page, "ask").get_by_label("Question").fill("Rot oder blau?")
    form(page, "ask").get_by_role("button").click()
    asked = page.locator("#panel-waiting article", has_text="Rot oder blau?").last
    asked.get_by_role("textbox").fill("blau")
    asked.get_by_role("button", name="Antworten", exact=True).click()
    expect(page.locator("#problem")).to_have_text(
        "Die Verbindung brach ab, bevor die Antwort kam; die Anfrage kann ausgeführt worden sein."
    )
    complaints.clear()  # of the connection


@pytest.mark.usefixtures("fresh")
def test_what_is_told_while_a_gap_of_the_log_is_filled_stays_in_it(open_page: OpenPage) -> None:
    page = open_page("/workshop")
    live(page)
    run(page, "add")
    lines = page.locator("#log li")
    expect(lines).to_have_count(2)
    epoch = page.locator("#panel").get_attribute("data-epoch")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.resource_type == "fetch" and not held:
            held.append(route)
        else:
            route.continue_()

    def tell_of_a_gap(socket: WebSocketRoute) -> None:
        panel = {"panelId": "workshop", "tools": [], "status": "running", "state": {}}
        log = {"offset": 2, "epoch": epoch, "recovered": False}
        socket.send(json.dumps({"type": "CONNECTED", **panel, **log}))
        mutation = {"op": "set", "key": "count", "value": 9}
        socket.send(json.dumps({"type": "PATCH", "mutations": [mutation], "offset": 3}))

    page.route("**/workshop", hold)
    page.route_web_socket("**/ws/workshop*", tell_of_a_gap)
    page.reload()
    expect(lines.and_(page.locator('[data-offset="3"]'))).to_be_visible()
    with page.expect_event("requestfinished"):
        held[0].continue_()
    page.evaluate("fetch(location.href).then((answer) => answer.text())")  # so it was read, too
    page.evaluate("() => new Promise(requestAnimationFrame)")
    expect(lines).to_have_count(3)
    offsets = "(lines) => lines.map(({ dataset }) => dataset.offset)"
    assert lines.evaluate_all(offsets) == ["3", "2", "1"]


@pytest.mark.usefixtures("fresh")
def test_without_a_script_tools_run_and_are_answered(open_page: OpenPage) -> None:
    page = signed_in(open_page, "/workshop", java_script_enabled=False)
    form(page, "add").get_by_label("By").fill("4")
    run(page, "add")
    expect(form(page, "add").locator(".outcome")).to_contain_text("4")
    expect(count(page)).to_have_text("4")
    form(page, "ask").get_by_label("Question").fill("Red or blue?")
    run(page, "ask")
    page.get_by_label("Answer", exact=True).fill("blue")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator(".notice")).to_have_text("It is answered: the tool goes on.")
    deadline = monotonic() + PATIENCE / 1000
    while "blue" not in page.locator("#panel-state").inner_text():
        assert monotonic() < deadline, "the tool does not go on"
        page.reload()


def test_nothing_is_cut_off_on_narrow_screens(open_page: OpenPage) -> None:
    page = open_page("/workshop", viewport={"width": 400, "height": 740})
    live(page)
    form(page, "ask").get_by_label("Question").fill("Anything" * 20)
    run(page, "ask")
    expect(page.locator("#panel-waiting article").last).to_contain_text("Anything")
    for width in (400, 320):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
