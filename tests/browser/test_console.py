"""What the documentation that this was built from has people type into a browser's console, typed
into the console of a page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

from tests.live import LiveProject

from .conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Seeds 000 and 001.
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
#: Seed 004, whose bus is at /ws.
HEAR = """
const ws = new WebSocket('ws://localhost:8080/ws');
ws.onopen = () => console.log('Connected');
ws.onmessage = (e) => {
  const msg = JSON.parse(e.data);
  if (msg.type === 'replay_done') {
    console.log('Caught up with all events');
  }
};
"""
PUBLISH = """
ws.send(JSON.stringify(
  { "type": "publish", "event": "task.started", "data": { "task": "auth-module" }}
));
"""


def type_in(page: Page, code: str) -> None:
    """Have the console carry it out, as in the browser's own tools."""
    context: Any = page.context
    console = context.new_cdp_session(page)
    done = console.send("Runtime.evaluate", {"expression": code, "replMode": True})
    assert "exceptionDetails" not in done, done


def here(project: LiveProject, code: str) -> str:
    """The code with the address of this server in the place of the documentation's."""
    return re.sub(r"ws://localhost:\d+", project.websocket_url(""), code)


def test_a_machine_is_asked_for_a_metric(open_page: OpenPage, project: LiveProject) -> None:
    page = open_page("/closed")
    with page.expect_console_message() as told:
        type_in(page, here(project, METRICS))
    value, timestamp = told.value.text.split(" ")
    assert float(value) >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", timestamp)


def test_an_event_is_published_on_the_bus_and_stands_on_its_page(
    open_page: OpenPage, project: LiveProject
) -> None:
    page = open_page("/hive")
    expect(page.locator("#bus")).to_have_attribute("data-live", "")
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        said.append(message.text)

    page.on("console", hear)
    with page.expect_console_message(lambda message: message.text.startswith("Caught")):
        type_in(page, here(project, HEAR).replace("/ws'", "/ws/hive'"))
    assert said == ["Connected", "Caught up with all events"]
    type_in(page, PUBLISH)
    line = page.locator("#log li").first
    expect(line).to_contain_text("task.started")
    expect(line).to_contain_text('{"task":"auth-module"}')
