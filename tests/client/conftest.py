"""A real server with machines, panels, runs and an incubator, and clients of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mashin_surfaces.client import Inbox
from tests.live import LiveProject
from tests.wire.conftest import Wire

T = TypeVar("T")
TESTS = Path(__file__).resolve().parents[1]
DEADLINE = 60.0
ENVIRONMENT = {
    "MASHIN_MODULES": "bus_tools,panel_tools,wire_effects",
    "PYTHONPATH": os.pathsep.join(str(TESTS / each) for each in ("incubators", "panels", "wire")),
}
MACHINES = [
    TESTS / "incubators" / "machines",
    TESTS / "wire" / "machines",
    TESTS.parent / "project" / "machines" / "greeter.mashin",
]
_numbers = count(1)


async def soon(what: Awaitable[T]) -> T:
    """What comes of it, unless it takes too long."""
    return await asyncio.wait_for(what, DEADLINE)


async def take(events: Inbox[T], many: int) -> list[T]:
    """The next events."""
    return [await soon(anext(events)) for _ in range(many)]


class Server:
    """A server that clients talk to, and that may die under them."""

    def __init__(self, project: LiveProject) -> None:
        self.project = project
        self.wire = Wire(project)
        #: Somebody who may do everything.
        self.token = project.token("ada")

    def url(self, path: str) -> str:
        return self.project.websocket_url(path)

    def options(self, **more: Any) -> dict[str, Any]:
        """What every client here says."""
        return {"token": self.token, "proxy": None, **more}

    def bus(self) -> str:
        """The address of a namespace that nobody has used."""
        return self.url(f"/ws?namespace=client{next(_numbers)}")

    async def panel(self, **tools: str) -> str:
        """The address of a new panel; its tools by name: their handlers."""
        made = [
            {"name": name, "handler": handler, "trigger": {"type": "manual"}}
            for name, handler in tools.items()
        ]
        body = {"kind": "test", "tools": made}
        answer = await self.wire.request(
            "POST", "/panels", json=body, headers={"Authorization": f"Bearer {self.token}"}
        )
        assert answer.status_code == 201, answer.text
        return self.url(f"/panels/{answer.json()['id']}/ws")

    async def die_and_come_back(self) -> None:
        """A power cut, and a new process on the same port with the same database."""
        self.project.kill()
        await asyncio.to_thread(self.project.start)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("client")
    with LiveProject(folder, env=ENVIRONMENT, machines=MACHINES) as project:
        yield Server(project)
