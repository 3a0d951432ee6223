"""The browser client in Node, in front of a real server: what needs no page is shown here."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.live import ROOT, LiveProject
from tests.node import node_with_websocket
from tests.wire.conftest import Wire

HERE = Path(__file__).resolve().parent
CLIENT = ROOT / "mashin_surfaces" / "static" / "mashin_surfaces" / "client.js"
DEADLINE = 60.0


class Failed(Exception):
    """What a script threw; ``error``: its fields."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("stack") or error["message"])
        self.error = error


class Script:
    """A Node process that has the client's module, and does what it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            waiting = self._waiting.pop(told["id"])
            if not waiting.done():
                waiting.set_result(told)
        for waiting in self._waiting.values():
            if not waiting.done():  # whoever waited for it may have given up
                waiting.set_exception(AssertionError("Node has ended."))

    async def run(self, body: str, **given: Any) -> Any:
        """What the body of an async function returns; it has ``library``, ``given``, ``kept`` and
        ``until`` (``driver.mjs``).

        Raises ``Failed`` with what it throws.
        """
        assert self._process.stdin is not None
        id = next(self._numbers)
        answer = self._waiting[id] = asyncio.get_running_loop().create_future()
        text = json.dumps({"id": id, "body": body, "given": given})
        self._process.stdin.write(f"{text}\n".encode())
        told = await asyncio.wait_for(answer, DEADLINE)
        if "error" in told:
            raise Failed(told["error"])
        return told["value"]

    async def close(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reader


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server with a machine for each dialect; who kills it starts it again."""
    folder = tmp_path_factory.mktemp("client_js")
    environment = {"MASHIN_MODULES": "client_tools", "PYTHONPATH": str(HERE)}
    with LiveProject(folder, env=environment, machines=[HERE / "machines"]) as project:
        yield Wire(project)


@pytest.fixture(scope="session")
def token(site: Wire) -> str:
    """Somebody who may do everything."""
    return site.token("ada")


@pytest.fixture
async def script(tmp_path: Path) -> AsyncIterator[Script]:
    node = node_with_websocket()
    if node is None:
        pytest.skip("There is no Node with a WebSocket here.")
    module = tmp_path / "client.mjs"  # Node takes a .js for a module only beside a package.json
    shutil.copy(CLIENT, module)
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", "--no-warnings", str(HERE / "driver.mjs"), str(module),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    running = Script(process)
    yield running
    await running.close()
