"""Clients of runs: what is said over their sockets and over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection

from tests.wire.conftest import DEADLINE, Wire

Frame = dict[str, Any]


class Follower:
    """One socket of a run; ``heard``: all that came over it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Frame] = []

    async def say(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def hear(self) -> Frame:
        frame: Frame = json.loads(await asyncio.wait_for(self.socket.recv(), DEADLINE))
        self.heard.append(frame)
        return frame

    async def until(self, type: str, **wanted: Any) -> Frame:
        """The first frame of that type with these fields."""
        while True:
            frame = await self.hear()
            if frame["type"] == type and all(frame.get(key) == wanted[key] for key in wanted):
                return frame

    async def answer(self, type: str, **fields: Any) -> Frame:
        """What the server answers to a message: an ``ack`` or an ``error``."""
        await self.say(type, **fields)
        while True:
            frame = await self.hear()
            if frame["type"] in {"ack", "error"} and "offset" not in frame:
                return frame

    @property
    def entries(self) -> list[Frame]:
        """What was told of the log, without the snapshot and its repetition."""
        snapshot = next(frame for frame in self.heard if frame["type"] == "snapshot")
        first = snapshot["offset"] if not snapshot["recovered"] else 0
        return [frame for frame in self.heard[1:] if frame.get("offset", 0) > first]


@asynccontextmanager
async def following(
    wire: Wire, key: str, token: str | None, query: str = ""
) -> AsyncIterator[Follower]:
    async with wire.connect(f"/api/dags/{key}/stream{query}", token) as socket:
        yield Follower(socket)


async def ask(
    wire: Wire, method: str, path: str, token: str | None, body: Any = None, **headers: str
) -> httpx.Response:
    """A request to ``/api/dags…``."""
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = None if body is None else json.dumps(body)
    return await wire.request(method, f"/api/dags{path}", headers=headers, content=content)


async def started(wire: Wire, token: str, machine: str = "wire_run", **input: Any) -> str:
    """The id of a new run."""
    body = {"machine": machine, "input": input or {"amount": 10}}
    answer = await ask(wire, "POST", "", token, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def at_rest(wire: Wire, token: str, run: str, node: str, status: str) -> Frame:
    """The run's snapshot, once a node has this status."""
    return await _once(wire, token, run, lambda seen: seen["nodes"][node]["status"] == status)


async def until_it_is(wire: Wire, token: str, run: str, status: str) -> Frame:
    """The run's snapshot, once the run has this status."""
    return await _once(wire, token, run, lambda seen: seen["run"]["status"] == status)


async def _once(wire: Wire, token: str, run: str, wanted: Callable[[Frame], bool]) -> Frame:
    deadline = time.monotonic() + DEADLINE
    while True:
        snapshot: Frame = (await ask(wire, "GET", f"/{run}", token)).json()
        if wanted(snapshot):
            return snapshot
        assert time.monotonic() < deadline, f"it did not come about: {snapshot}"
        await asyncio.sleep(0.02)
