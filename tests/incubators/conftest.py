"""Real servers with an incubator, and agents that speak its dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.live import LiveProject
from tests.wire.conftest import DEADLINE, Wire, patiently

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"MASHIN_MODULES": "bus_tools", "PYTHONPATH": str(HERE)}

Frame = dict[str, Any]
_numbers = count(1)


class Agent:
    """One socket; ``heard``: all that came over it, but for metrics."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Frame] = []

    async def say(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def hear(self) -> Frame:
        while True:
            frame: Frame = json.loads(await asyncio.wait_for(self.socket.recv(), DEADLINE))
            if frame["type"] != "metrics":
                self.heard.append(frame)
                return frame

    async def until(self, type: str, **wanted: Any) -> Frame:
        """The first frame of that type with these fields."""
        while True:
            frame = await self.hear()
            if frame["type"] == type and all(frame.get(key) == wanted[key] for key in wanted):
                return frame

    async def call(self, tool: str, args: Frame | None = None, **more: Any) -> Any:
        """What a tool answers."""
        id = more.pop("callId", f"c{next(_numbers)}")
        await self.say("dance_call", tool=tool, args=args or {}, callId=id, **more)
        return (await self.until("dance_result", callId=id))["result"]

    async def refused(self, type: str, **fields: Any) -> Frame:
        """Say something that is refused; the ``error``."""
        id = f"r{next(_numbers)}"
        await self.say(type, **fields, requestId=id)
        return await self.until("error", requestId=id)

    async def quiet(self) -> list[Frame]:
        """What came until now: everything before a ``pong``."""
        before = len(self.heard)
        await self.say("ping")
        await self.until("pong")
        return self.heard[before:-1]


class Hive(Wire):
    """A project whose incubators are talked to."""

    def fresh(self) -> str:
        """A namespace that nobody has used."""
        return f"ns{next(_numbers)}"

    @asynccontextmanager
    async def agent(
        self, namespace: str, token: str | None = None, **query: Any
    ) -> AsyncIterator[Agent]:
        words = {"namespace": namespace, **({"token": token} if token else {}), **query}
        url = self.project.websocket_url(f"/ws?{urlencode(words)}")
        async with patiently(url, max_queue=None) as socket:
            yield Agent(socket)

    async def http(self, method: str, path: str, body: Any = None, *, token: str) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {token}"}
        return await self.request(method, path, content=content, headers=headers)


@pytest.fixture(scope="session")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    folder = tmp_path_factory.mktemp("hive")
    with LiveProject(folder, env=ENVIRONMENT, machines=[HERE / "machines"]) as project:
        yield Hive(project)


@pytest.fixture(scope="session")
def token(hive: Hive) -> str:
    """Somebody who may do everything."""
    return hive.token("ada", "*")
