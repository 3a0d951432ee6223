"""The client and its React hooks in Chromium: React from npm, a real server that is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests import npm
from tests.client_js import conftest as in_node
from tests.client_js.test_client import PUBLISH
from tests.live import LiveProject

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HERE = Path(__file__).parent
STATIC = in_node.CLIENT.parent
EXPLAIN = """async (path) => {
  const { connectMachine } = await import("/static/mashin_surfaces/client.js");
  const { connection } = connectMachine(path);
  return new Promise((resolve) => connection.addEventListener("state", ({ detail }) => {
    if (detail.state === "refused") resolve([detail.reason.status, detail.reason.message]);
  }));
}"""

#: Connects ``window.connection``; pings are seldom.
CONNECT = """async (path) => {
  const { connectMachine } = await import("/static/mashin_surfaces/client.js");
  const client = connectMachine(path, { heartbeat: 3600 });
  client.subscribe("any"); // it is needed
  window.connection = client.connection;
}"""
#: Resolves when the connection has these fields.
REACH = """(wanted) => new Promise((resolve) => {
  const isThere = ([name, value]) => connection[name] === value;
  const look = () => Object.entries(wanted).every(isThere) && resolve();
  connection.addEventListener("state", look);
  look();
})"""
#: Has the tab look hidden, or not, as when somebody goes to another one and comes back.
BE = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}"""
#: Seconds after which the client would come back by itself.
AN_HOUR = 3600
OPEN = {"state": "open"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    environment = {"MASHIN_MODULES": "client_tools", "PYTHONPATH": str(in_node.HERE)}
    with LiveProject(
        tmp_path_factory.mktemp("site"),
        env=environment,
        machines=[in_node.HERE / "machines"],
        options=["--static"],
    ) as project:
        yield project


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application and React as one file."""
    folder = tmp_path_factory.mktemp("react")
    programs = npm.install(folder, "esbuild@0.25", "react@19", "react-dom@19")
    for source in (STATIC / "client.js", STATIC / "react.js", HERE / "react_app.jsx"):
        shutil.copy(source, folder)
    words = ("--bundle", "--minify", "--format=esm", "--jsx=automatic", "--outfile=app.js")
    npm.run(programs / "esbuild", "react_app.jsx", *words, cwd=folder)
    return folder / "app.js"


@pytest.fixture
def page(browser: Browser, site: LiveProject) -> Iterator[Page]:
    context = browser.new_context(base_url=site.url("/"))
    yield context.new_page()
    context.close()


def post(site: LiveProject, path: str, token: str, body: object) -> str:
    """The id of what was made."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(site.url(path), json=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_why_a_page_may_not_connect_is_known_to_its_script(page: Page) -> None:
    page.goto("/")
    status, message = page.evaluate(EXPLAIN, "/ws/echo")
    assert status == 401
    assert len(message) > 10
    assert page.evaluate(EXPLAIN, "/ws/nowhere")[0] == 404


@pytest.fixture
def turned_away(page: Page, site: LiveProject) -> Page:
    """A page whose client waits for an hour, because what stood in for the server told it so."""

    def stand_in(route: Route) -> None:
        error = {"code": "busy", "message": "Come back later.", "retry_after": AN_HOUR}
        route.fulfill(status=503, json={"error": error})

    page.goto("/")
    page.evaluate(CONNECT, "/ws/board")
    page.evaluate(REACH, OPEN)
    page.route("**/ws/board", stand_in)
    site.kill()
    page.evaluate(REACH, {"state": "waiting", "retryIn": AN_HOUR})
    site.start()
    return page


def test_a_hidden_tab_that_is_seen_again_connects_at_once(turned_away: Page) -> None:
    turned_away.evaluate(BE, "hidden")
    assert turned_away.evaluate("connection.state") == "waiting"
    turned_away.evaluate(BE, "visible")
    turned_away.evaluate(REACH, OPEN)


def test_a_network_that_is_back_is_used_at_once(turned_away: Page) -> None:
    turned_away.context.set_offline(True)
    turned_away.evaluate(REACH, {"state": "waiting", "retryIn": None})
    assert turned_away.evaluate("connection.reason.code") == "offline"
    turned_away.context.set_offline(False)
    turned_away.evaluate(REACH, OPEN)


def test_a_tab_that_is_seen_again_asks_whether_the_server_is_there(page: Page) -> None:
    frames: list[str | bytes] = []

    def hear(frame: str | bytes) -> None:
        frames.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", hear))
    page.goto("/")
    page.evaluate(CONNECT, "/ws/board")
    page.evaluate(REACH, OPEN)
    page.evaluate(BE, "hidden")
    page.evaluate(BE, "visible")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert ["ping" in str(frame) for frame in frames] == [False, True]


def test_the_hooks_keep_an_application_up_to_date_also_when_the_server_is_killed(
    page: Page, site: LiveProject, application: Path
) -> None:
    token = site.token("ada")
    run = post(site, "/api/dags", token, {"machine": "client_run", "input": {"amount": 10}})
    tools = [{"name": "add", "handler": "client.add", "trigger": {"type": "manual"}}]
    body = {"kind": "test", "tools": tools, "initialState": {"count": 1}}
    panel = f"/panels/{post(site, '/panels', token, body)}/ws"

    def serve(route: Route) -> None:
        route.fulfill(path=application, content_type="text/javascript")

    page.route("**/static/app.js", serve)
    page.goto("/#" + urlencode({"run": run, "panel": panel, "token": token}))
    page.add_script_tag(url="/static/app.js", type="module")

    waiting = "left:completed review:paused right:completed total:pending"
    expect(page.locator("#nodes")).to_have_text(waiting)
    page.locator("#add").click()
    expect(page.locator("#count")).to_have_text("3")
    page.locator("#publish").click()
    expect(page.locator("#events")).to_have_text("said 0")
    page.locator("#ask").click()
    expect(page.locator("#answer")).to_have_text("-1")
    site.manage("shell", "-c", PUBLISH.format(values=(7,), topic="react"))
    expect(page.locator("#latest")).to_have_text("7")

    site.kill()
    expect(page.locator("#panel-state")).to_have_text("waiting")
    for name in ("#add", "#publish", "#call", "#approve"):
        page.locator(name).click()
    site.manage("shell", "-c", PUBLISH.format(values=(8,), topic="react"))
    site.start()
    page.evaluate("dispatchEvent(new Event('online'))")  # no need to wait for the next attempt
    expect(page.locator("#count")).to_have_text("5")
    expect(page.locator("#events")).to_have_text("said 0, said 1, added undefined")
    expect(page.locator("#bus-count")).to_have_text("5")
    expect(page.locator("#latest")).to_have_text("8")
    expect(page.locator("#total")).to_have_text("31")
