"""The seed's examples, typed into the console of a page of ours: one of each dialect.

They are typed as they are written. For their addresses (``localhost:9000``, ``localhost:8080``) the
browser is told where our server is; the page is opened there, so its strict policy, which lets
scripts connect to where the page is from, has to let them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browsers import chromium
from tests.live import LiveProject

from .conftest import HERE, OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Seeds 000 and 001, "Connecting from JavaScript".
METRICS = """
const ws = new WebSocket("ws://localhost:9000/ws/metrics");
ws.onopen = () => {
// Send a message to invoke the machine
ws.send(JSON.stringify({
metric_name: "cpu_usage"
}));
};
ws.onmessage = (event) => {
const result = JSON.parse(event.data);
console.log(result.value, result.timestamp);
};
"""
#: Seed 004, "Connection".
CONNECTION = """
const ws = new WebSocket('ws://localhost:8080/ws');
ws.onopen = () => console.log('Connected');
ws.onmessage = (e) => {
  const msg = JSON.parse(e.data);
  handleMessage(msg);
};
"""
#: Seed 004, "Event replay".
REPLAY = """
const ws = new WebSocket('ws://localhost:8080/ws');
// Register handler BEFORE open fires
ws.onmessage = (e) => {
  const msg = JSON.parse(e.data);
  if (msg.type === 'replay_done') {
    console.log('Caught up with all events');
  }
};
"""
#: Seed 004, "Publish event" and "Dance call".
PUBLISH = """{ "type": "publish", "event": "task.started", "data": { "task": "auth-module" }}"""
DANCE = """{
  "type": "dance_call", "tool": "make_move", "args": { "from": "e2", "to": "e4" },
  "agentId": "player-1", "role": "white", "callId": "call-123"
}"""
#: Seed 003, the hook; without its types, which no console takes.
HOOK = re.search(
    r"^function useDAGStream.*?^}$",
    (HERE.parent / "wire" / "seed_dag_client.mjs").read_text(),
    re.DOTALL | re.MULTILINE,
)
#: As much of React as the hook needs, and a store that says what it is told.
REACT = """
const useRef = (current) => ({ current });
const useCallback = (callback) => callback;
const useEffect = (effect) => { effect(); };
const store = {
  updateNodeData: (id, data) => console.log("node", id, data.status),
  setCostState: ({ budget }) => console.log("budget", budget),
  applyMutation: (mutation) => console.log("mutation", mutation),
  setExecutionComplete: (results) => console.log("results", JSON.stringify(results)),
};
"""
#: Seed 002 has no JavaScript: its messages, each said when the one before it was answered.
PANEL = """
const told = [];
const ws = new WebSocket("/panels/workshop/ws");
const send = (message) => ws.send(JSON.stringify(message));
ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  told.push(message);
  if (message.type === "CONNECTED") send({ type: "PING" });
  if (message.type === "PONG")
    send({ type: "TRIGGER", tool: "add", args: { by: 2 }, requestId: "r-1" });
  if (message.type === "RESULT") send({ type: "TRIGGER", tool: "missing" });
  if (message.type === "ERROR") console.log(JSON.stringify(told));
};
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    machines = HERE / "machines"
    served = LiveProject(
        tmp_path_factory.mktemp("console"),
        env={
            "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
            "MASHIN_ASK": "assume",
            "MASHIN_MODULES": "tests.browser.effects",
        },
        machines=[
            HERE / "seed_machines", machines / "workshop.mashin", machines / "checkout.mashin",
        ],
        options=["--static"],
    )  # fmt: skip
    with served:
        yield served


@pytest.fixture(scope="module")
def browser(project: LiveProject) -> Iterator[Browser]:
    """One for which our server is at the seed's addresses."""
    places = ", ".join(f"MAP localhost:{port} {project.host}" for port in (9000, 8080))
    with chromium(f"--host-resolver-rules={places}") as made:
        yield made


class Console:
    """The console of a page; ``printed``: what the page's scripts have said in it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self.printed: list[str] = []
        page.on("console", lambda message: self.printed.append(message.text))

    def type(self, text: str) -> None:
        """As the browser's own does it: `const` may be said again, and the page's policy holds."""
        words = {"expression": text, "replMode": True}
        done = self._session.send("Runtime.evaluate", words)
        assert "exceptionDetails" not in done, done

    def until(self, wanted: Callable[[str], bool]) -> str:
        """The first line that is wanted, once it was printed."""
        found = next(filter(wanted, self.printed), None)
        if found is None:
            heard = self._page.wait_for_event("console", lambda each: wanted(each.text))
            found = str(heard.text)
        return found


def is_strict(page: Page) -> None:
    """The page comes with the policy of careful sites."""
    answer = page.reload()
    assert answer is not None
    assert answer.headers["content-security-policy"] == "default-src 'self'"


def test_a_machine_answers_as_the_seed_says(open_page: OpenPage) -> None:
    page = open_page("http://localhost:9000/dashboard")
    is_strict(page)
    console = Console(page)
    console.type(METRICS)
    assert console.until(lambda line: "42.5" in line) == "42.5 2026-05-07T12:00:00Z"


def test_an_incubator_tells_what_the_seed_shows(open_page: OpenPage) -> None:
    page = open_page("http://localhost:8080/incubator")
    is_strict(page)
    console = Console(page)
    console.type("const handleMessage = (msg) => console.log(JSON.stringify(msg));")
    console.type(CONNECTION)
    console.until(lambda line: line == "Connected")
    console.until(lambda line: '"replay_done"' in line)

    console.type(f"ws.send(JSON.stringify({PUBLISH}));")
    event = json.loads(console.until(lambda line: '"event_type"' in line))
    assert (event["type"], event["event_type"]) == ("event", "task.started")
    assert event["data"] == {"task": "auth-module"}
    console.type(f"ws.send(JSON.stringify({DANCE}));")
    state = json.loads(console.until(lambda line: '"state_changed"' in line))
    assert (state["key"], state["value"]) == ("current_phase", "review")
    result = json.loads(console.until(lambda line: '"dance_result"' in line))
    assert result == {
        "type": "dance_result",
        "callId": "call-123",
        "result": {"success": True, "move": "e2-e4"},
    }
    console.type(REPLAY)
    console.until(lambda line: line == "Caught up with all events")
    expect(page.locator("#log li")).to_have_count(2)


def test_a_panel_converses_as_the_seed_says(open_page: OpenPage, session: Any) -> None:
    page = open_page("/workshop", storage_state=session)
    is_strict(page)
    console = Console(page)
    console.type(PANEL)
    told = json.loads(console.until(lambda line: '"CONNECTED"' in line))
    kinds = ["CONNECTED", "PONG", "PATCH", "EVENT", "RESULT", "ERROR"]
    assert [message["type"] for message in told] == kinds
    connected, _, patch, event, result, error = told
    assert (connected["panelId"], connected["state"]) == ("workshop", {})
    assert {"op": "set", "key": "count", "value": 2}.items() <= patch["mutations"][0].items()
    assert event["event"]["name"] == "added"
    assert (result["requestId"], result["result"]["status"]) == ("r-1", "success")
    assert error["code"] == "TOOL_NOT_FOUND"
    expect(page.locator("#panel-state .number-entry .number")).to_have_text("2")


def test_a_run_is_followed_and_decided_by_the_seeds_hook(open_page: OpenPage, session: Any) -> None:
    page = open_page("/checkout", storage_state=session)
    page.get_by_label("Amount").fill("10")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/checkout?run=*")
    is_strict(page)
    console = Console(page)
    run = page.url.rpartition("=")[2]
    assert HOOK is not None
    console.type(REACT)
    console.type(HOOK[0])
    console.type(f"const {{ send }} = useDAGStream({run!r}, store);")
    console.until(lambda line: line.startswith("node review paused"))
    console.type("send({ type: 'human_decision', node_id: 'review', decision: 'approve' });")
    line = console.until(lambda line: line.startswith("results"))
    results = json.loads(line.removeprefix("results "))
    assert (results["review"]["decision"], results["total"]) == ("approve", {"total": 31})
    expect(page.locator("#run-result")).to_contain_text("31")
