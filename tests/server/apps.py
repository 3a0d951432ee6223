"""Small ASGI applications that the server tests put behind real sockets; the path chooses one."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

Event = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

#: What one application tells another (a test looks through /seen/NAME).
_seen: dict[str, Any] = {}
_news: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


def _tell(name: str, value: Any) -> None:
    _seen[name] = value
    _news[name].set()


def _options(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode()))


async def _accept(receive: Receive, send: Send, **more: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", **more})


def _look_first(server: Any) -> None:
    """Has the server look whose applications have ended in the very next turn of the loop: before
    it is called for one that ends in this turn."""
    from twisted.internet import reactor

    calls: Any = reactor
    look = server.application_checker
    [due] = [call for call in calls.getDelayedCalls() if call.func == look]
    due.cancel()
    asyncio.get_running_loop().call_soon(look)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back what comes; ?limit=N sets max_message; tells what the disconnect said."""
    options = _options(scope)
    limit = {"max_message": int(options["limit"])} if "limit" in options else {}
    await _accept(receive, send, **limit)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
    _tell(options.get("name", "echo"), event)


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts with headers and the last subprotocol, and sends an empty text."""
    headers = [(b"x-request-id", b"abc"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await _accept(receive, send, headers=headers, subprotocol=scope["subprotocols"][-1])
    await send({"type": "websocket.send", "text": json.dumps(sorted(scope["extensions"]))})
    await send({"type": "websocket.send", "text": ""})
    await send({"type": "websocket.send", "bytes": b""})
    await receive()


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the handshake with ?status= and a JSON body, in ?pieces=."""
    options = _options(scope)
    status, pieces = int(options["status"]), int(options.get("pieces", 1))
    await receive()
    body = json.dumps({"error": {"code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"7")]
    start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    await send(start)
    for number in range(pieces):
        more = number + 1 < pieces
        await send({"type": "websocket.http.response.body", "body": body, "more_body": more})
    _tell("refused", await receive())


async def reject(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})


async def close(scope: Scope, receive: Receive, send: Send) -> None:
    """Closes with ?code= and ?reason=; tells the error if that can't be, or the disconnect."""
    options = _options(scope)
    await _accept(receive, send)
    code = int(options["code"])
    try:
        await send({"type": "websocket.close", "code": code, "reason": options.get("reason", "")})
    except ValueError as error:
        _tell(f"close-{code}", str(error))
        raise
    _tell(f"close-{code}", await receive())


async def crash(scope: Scope, receive: Receive, send: Send) -> None:
    """Fails: before the handshake is answered, or at the first message after it."""
    if _options(scope)["when"] == "late":
        await _accept(receive, send)
    await receive()
    raise LookupError("meant to fail")


async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns without closing the socket; with ?looked the server looks at the same moment."""
    await _accept(receive, send)
    if b"looked" in scope["query_string"]:
        _look_first(send.__self__.server)  # type: ignore[attr-defined]


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers the handshake; with ?overdue it is looked at a minute late."""
    await receive()
    if b"overdue" in scope["query_string"]:
        protocol = send.__self__  # type: ignore[attr-defined]
        protocol.socket_opened -= 60
        protocol.check_timeouts()
    print("silent", (await receive())["type"], flush=True)


async def hesitate(scope: Scope, receive: Receive, send: Send) -> None:
    """An echo that accepts when it is told to."""
    _tell("hesitating", None)
    await _news["hesitate"].wait()
    await echo(scope, receive, send)


async def pour(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends ?count= messages of ?size= bytes; tells how many sends have returned."""
    options = _options(scope)
    await _accept(receive, send)
    payload = bytes(int(options["size"]))
    for number in range(int(options["count"])):
        await send({"type": "websocket.send", "bytes": payload})
        _tell("poured", number + 1)
    _tell("pour-ended", await receive())


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    """At a message pushes ?count= texts of ?size= characters without a pause, then sends "end";
    tells what the pushes said: before the accept, in the middle, after the disconnect."""
    options = _options(scope)
    pushes: Callable[[str], bool] = scope["extensions"]["mashin_surfaces.push"]["push"]
    early = pushes("early")
    await _accept(receive, send)
    await receive()
    said = [pushes(f"{number:{options['size']}}") for number in range(int(options["count"]))]
    _tell("pushed", {"early": early, "said": said})
    await send({"type": "websocket.send", "text": "end"})
    await receive()
    _tell("push-ended", pushes("late"))


async def drink(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes nothing until /tell/drink; then tells how many messages and bytes came."""
    await _accept(receive, send)
    await _news["drink"].wait()
    messages = size = 0
    while (event := await receive())["type"] == "websocket.receive":
        messages += 1
        size += len(event["bytes"])
    _tell("drunk", {"messages": messages, "size": size, "code": event["code"]})


async def seen(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits until something of this name was told, and sends it as JSON."""
    name = scope["path"].removeprefix("/seen/")
    await _accept(receive, send)
    await _news[name].wait()
    await send({"type": "websocket.send", "text": json.dumps(_seen[name])})
    await send({"type": "websocket.close"})


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    _tell(scope["path"].removeprefix("/tell/"), None)
    await reject(scope, receive, send)


async def farewell(scope: Scope, receive: Receive, send: Send) -> None:
    """Writes a line when it is told to go, and needs a moment for it."""
    await _accept(receive, send)
    event = await receive()
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    print("farewell", event["type"], event["code"], flush=True)


async def linger(scope: Scope, receive: Receive, send: Send) -> None:
    """Stays, also when it is told of the end, until /tell/linger."""
    await _accept(receive, send)
    await _news["linger"].wait()


async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
    """Leaves a task behind that never ends by itself."""
    await _accept(receive, send)
    forever = asyncio.create_task(asyncio.Event().wait(), name="forever")
    print("still", forever.get_name(), file=sys.stdout, flush=True)
    await receive()


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: the process that answers."""
    await receive()
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def garbage(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: how many objects a full collection walks through, and how many are set aside."""
    await receive()
    counts = {"walked": len(gc.get_objects()), "aside": gc.get_freeze_count()}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(counts).encode()})


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: fails before its answer, or, with a query string, in the middle of it."""
    await forget(scope, receive, send)
    raise LookupError("meant to fail")


async def forget(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: the same, but only returns; with ?looked the server looks at the same moment."""
    await receive()
    if b"looked" in scope["query_string"]:
        _look_first(send.func.__self__)  # type: ignore[attr-defined]
    if scope["query_string"]:  # from here on nobody else has a turn
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def flow(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: an endless body in pieces of ?size= bytes, from the start or from /tell/begin on
    (?late); tells how many were taken, and its end."""
    await receive()
    if "late" in _options(scope):
        _tell("flow-waits", None)
        await _news["begin"].wait()
    headers = [(b"content-type", _options(scope).get("type", "text/plain").encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    ending = asyncio.ensure_future(receive())
    piece = {"type": "http.response.body", "body": bytes(int(_options(scope)["size"]))}
    taken = 0
    while not ending.done():
        await send({**piece, "more_body": True})
        taken += 1
        _tell("flowed", taken)
    _tell("flow-ended", ending.result())
    print("flow ended:", ending.result()["type"], flush=True)


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: pours an endless body, and never asks whether anyone is there."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": bytes(1024), "more_body": True})
            _tell("deaf", None)
    finally:
        _tell("deaf-ended", None)


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP: a body of ?count= pieces of ?size= bytes, and then its end."""
    options = _options(scope)
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    piece = {"type": "http.response.body", "body": bytes(int(options["size"]))}
    for _ in range(int(options["count"])):
        await send({**piece, "more_body": True})
    await send({"type": "http.response.body"})


PAGES = {f"/{each.__name__}": each for each in (fail, forget, flow, deaf, garbage, whole)}
WEBSOCKETS = {
    application.__name__: application
    for application in (
        echo, greet, refuse, reject, close, crash, leave, silent, hesitate, pour, push, drink, seen,
        tell, farewell, linger, stubborn,
    )
}  # fmt: skip


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    chosen = PAGES.get(scope["path"], page)
    if scope["type"] == "websocket":
        chosen = WEBSOCKETS[scope["path"].split("/")[1]]
    await chosen(scope, receive, send)
