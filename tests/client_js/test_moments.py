"""What happens in the moments between: the socket and the browser are the test's own."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.client_js.conftest import Script

pytestmark = pytest.mark.slow

#: ``kept.connect(connect, options)``: a client, and its first socket; ``kept.open``: so that it is
#: open; ``kept.go(isOnline)``: what the browser says of the network.
STAGE = """
const heard = new EventTarget();
globalThis.addEventListener = heard.addEventListener.bind(heard);
const browser = { onLine: true };
Object.defineProperty(globalThis, "navigator", { value: browser });
kept.go = (isOnline) => {
  browser.onLine = isOnline;
  heard.dispatchEvent(new Event(isOnline ? "online" : "offline"));
};
kept.sockets = [];
globalThis.WebSocket = class {
  readyState = 0;
  bufferedAmount = 0;
  sent = [];

  constructor(url) {
    this.url = url;
    kept.sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
};
kept.connect = async (connect, options) => {
  const client = connect("ws://nowhere/", options);
  const { length } = kept.sockets;
  while (kept.sockets.length === length) await null;
  return { client, socket: kept.sockets.at(-1) };
};
kept.open = async (...given) => {
  const made = await kept.connect(...given);
  made.socket.open();
  return made;
};
"""


@pytest.fixture
async def stage(script: Script) -> Script:
    """A script whose client has sockets that lead nowhere."""
    await script.run(STAGE)
    return script


async def test_a_subscription_that_is_closed_twice_leaves_another_s_place_alone(
    stage: Script,
) -> None:
    pushes = await stage.run(
        """
        const { client, socket } = await kept.open(library.connectMachine);
        const first = client.subscribe("cpu");
        const second = client.subscribe("cpu"); // another component's: the first one is closed
        first.close(); // ... and once more, by whoever asked for it
        const pushes = [];
        second.addEventListener("push", ({ detail }) => pushes.push(detail.value));
        socket.say({ id: second.id, subscribed: "cpu", offset: 0, epoch: "e", recovered: false });
        socket.say({ push: 1, topic: "cpu", offset: 1 });
        return pushes;
        """
    )
    assert pushes == [1]


async def test_what_was_asked_while_the_browser_thought_it_was_offline_is_sent_when_it_was_not(
    stage: Script,
) -> None:
    told = await stage.run(
        """
        const { client, socket } = await kept.open(library.connectMachine);
        client.subscribe("old");
        kept.go(false);
        const answer = client.ask({ a: 1 });
        client.subscribe("new");
        kept.go(true);
        const { id } = socket.sent.find(({ type }) => type === "ping");
        socket.say({ id, pong: true });
        const asked = socket.sent.find(({ input }) => input);
        if (asked) socket.say({ id: asked.id, result: 2 });
        const topics = socket.sent.map(({ subscribe }) => subscribe).filter(Boolean);
        return [asked && await answer, topics, kept.sockets.length];
        """
    )
    assert told == [2, ["old", "new"], 1]


async def test_what_is_asked_while_the_socket_closes_waits_for_the_next_one(stage: Script) -> None:
    told = await stage.run(
        """
        const { client, socket } = await kept.open(library.connectPanel);
        socket.readyState = 2; // the server's close frame is there, its event not yet
        const result = client.trigger("t").catch(({ code }) => ({ status: code }));
        client.connection.reconnect();
        while (kept.sockets.length < 2) await null;
        const next = kept.sockets[1];
        next.open();
        const requestId = next.sent[0]?.requestId;
        next.say({ type: "RESULT", requestId, result: { status: "success" } });
        return [socket.sent, (await result).status];
        """
    )
    assert told == [[], "success"]


async def test_two_triggers_with_one_request_id_are_both_answered(stage: Script) -> None:
    statuses = await stage.run(
        """
        const { client, socket } = await kept.open(library.connectPanel);
        const trigger = () => client.trigger("t", {}, { requestId: "x" });
        const both = [trigger(), trigger()];
        socket.say({ type: "RESULT", requestId: "x", result: { status: "success" } });
        const later = new Promise((resolve) => setImmediate(resolve, { status: "never" }));
        const told = await Promise.all(both.map((one) => Promise.race([one, later])));
        return told.map(({ status }) => status);
        """
    )
    assert statuses == ["success", "success"]


async def test_types_that_are_chosen_while_a_bus_is_joined_are_told(stage: Script) -> None:
    url, sent = await stage.run(
        """
        const { client, socket } = await kept.connect(library.connectIncubator, { types: ["a"] });
        client.subscribe(["b"]);
        socket.open();
        return [socket.url, socket.sent];
        """
    )
    assert url == "ws://nowhere/?types=a"
    assert sent == [{"type": "subscribe", "types": ["b"]}]


async def test_a_connection_that_was_closed_stays_so_though_its_token_was_to_be_renewed(
    stage: Script,
) -> None:
    told = await stage.run(
        """
        const tokens = [...given.tokens];
        const { setTimeout } = globalThis;
        let renew;
        globalThis.setTimeout = (then, wait) =>
          wait > 1e6 ? (renew = then) : setTimeout(then, wait);
        const { client } = await kept.open(library.connectMachine, { token: () => tokens.shift() });
        kept.go(false); // so it says; the socket is there
        await renew(); // as the browser does after four fifths of the token's time
        client.close();
        await new Promise((resolve) => setImmediate(resolve));
        return [client.connection.state, kept.sockets.length];
        """,
        tokens=[token(1), token(2)],
    )
    assert told == ["closed", 1]


def token(number: int) -> str:
    """A JWT that lasts for as long as anybody cares."""
    claims: dict[str, Any] = {"exp": 4_000_000_000, "n": number}
    return f"h.{base64.b64encode(json.dumps(claims).encode()).decode()}.s"
