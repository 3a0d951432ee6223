"""Clients of surfaces in this process, without a server in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.core.handlers.asgi import ASGIHandler

from mashin_surfaces.surfaces.connection import Connection, Message, Receive, Send
from mashin_surfaces.surfaces.routes import routes
from mashin_surfaces.surfaces.websocket import consumer_for

DEADLINE = 30.0

Function = Callable[..., Awaitable[Any]]


class Hold:
    """Whoever calls a function waits before it, until they may go on; what it gave is kept."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, is_open: bool = False):
        self.is_reached, self.go_on = asyncio.Event(), asyncio.Event()
        if is_open:
            self.go_on.set()
        self.given: list[Any] = []
        function: Function = getattr(owner, name)

        async def held(*args: Any, **kwargs: Any) -> Any:
            self.is_reached.set()
            await self.go_on.wait()
            self.given.append(await function(*args, **kwargs))
            return self.given[-1]

        patch.setattr(owner, name, held)

    async def reached(self) -> None:
        await asyncio.wait_for(self.is_reached.wait(), DEADLINE)


def headers(key: str) -> list[tuple[bytes, bytes]]:
    shown = [(b"authorization", f"Bearer {key}".encode())] if key else []
    return [(b"host", b"testserver"), *shown]


class Socket(WebsocketCommunicator):  # type: ignore[misc]  # Channels has no types
    """A client of a websocket surface."""

    def __init__(self, path: str, key: str = "", protocol: str | None = "mashin.v1") -> None:
        async def served(scope: Message, receive: Receive, send: Send) -> None:
            route = routes.find("websocket", scope["path"])
            assert route is not None
            await consumer_for(route)()(scope, receive, send)

        offered = None if protocol is None else [protocol]
        super().__init__(served, path, headers=headers(key), subprotocols=offered)

    async def open(self) -> Connection:
        """Let in; the server's side of it."""
        is_open, code = await self.connect(timeout=DEADLINE)
        assert is_open, code
        route = routes.find("websocket", self.scope["path"])
        assert route is not None
        while not route.connections:  # noqa: ASYNC110  it joins its room, then it is one
            await asyncio.sleep(0.01)
        [connection] = route.connections
        assert isinstance(connection, Connection)
        return connection

    async def say(self, **frame: Any) -> None:
        await self.send_json_to(frame)

    async def until(self, field: str) -> Any:
        """What stands in the first frame that has the field."""
        while True:
            frame = await self.receive_json_from(DEADLINE)
            if field in frame:
                return frame[field]

    async def closing(self) -> int:
        """Read to the end; its code."""
        while True:
            message = await self.receive_output(DEADLINE)
            if message["type"] == "websocket.close":
                code: int = message["code"]
                return code

    async def leave(self) -> None:
        """Gone, and the application has ended; its workers may not have."""
        await self.disconnect(timeout=DEADLINE)


async def ended(workers: set[asyncio.Task[Any]]) -> None:
    """Returns when a connection's workers are done."""
    if workers:
        _, pending = await asyncio.wait(workers, timeout=DEADLINE)
        assert not pending


class Reader:
    """A client that reads events over HTTP."""

    def __init__(self, path: str, query: str, key: str = "") -> None:
        accepts = (b"accept", b"text/event-stream")
        scope = {
            "type": "http", "http_version": "1.1", "asgi": {"version": "3.0"},
            "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "headers": [*headers(key), accepts],
            "client": ("192.0.2.1", 1), "server": ("testserver", 80),
        }  # fmt: skip
        self._client: Any = ApplicationCommunicator(ASGIHandler(), scope)  # type: ignore[no-untyped-call]  # asgiref has no types

    async def begin(self) -> None:
        await self._client.send_input({"type": "http.request", "body": b"", "more_body": False})

    async def until(self, text: str) -> None:
        """Read until it says this."""
        read = b""
        while text.encode() not in read:
            message = await self._client.receive_output(DEADLINE)
            assert message["type"] != "http.response.start" or message["status"] == 200
            read += message.get("body", b"")

    async def leave(self) -> None:
        await self._client.send_input({"type": "http.disconnect"})
        await self._client.wait(DEADLINE)
