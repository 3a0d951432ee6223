"""Several processes on one port: each learns of new definitions, each keeps a chain of its own."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from tests.chaos.clients import DEADLINE, ENVIRONMENT, WIRE, until, websocket
from tests.live import LiveProject

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

#: Seconds in which a change reaches every process.
SOON = 1.0
#: Sockets, so many that the system surely spreads them over two processes.
SOCKETS = 24
MACHINE = """\
machine shared
  responds with
    revision as integer
  implements
    compute answer
      {{revision: {revision}}}
  expresses
    websocket
      path: "/ws/shared"
      auth: none
"""


async def ask(socket: ClientConnection) -> object:
    await socket.send("{}")
    return json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))


async def test_two_workers_take_definitions_and_record_in_two_lanes(tmp_path: Path) -> None:
    file = tmp_path / "shared.mashin"
    file.write_text(MACHINE.format(revision=1))
    project = LiveProject(
        tmp_path, env=ENVIRONMENT, machines=[WIRE / "machines", file], options=["--workers", "2"]
    )
    with project:
        await until(lambda: project.log_text.count(" is ready (") == 2, "both workers are ready")
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(websocket(project, "/ws/shared"))
                for _ in range(SOCKETS)
            ]
            for socket in sockets:
                assert await ask(socket) == {"revision": 1}
            file.write_text(MACHINE.format(revision=2))
            await asyncio.to_thread(project.manage, "load_machines", str(file))
            loaded = time.monotonic()
            pending = list(sockets)
            while pending:
                pending = [each for each in pending if await ask(each) != {"revision": 2}]
                assert time.monotonic() < loaded + SOON or not pending
        told = json.loads(project.manage("verify_ledger", "--json"))
        assert told["lanes"] == 2
        assert told["bad"] is None
        assert told["rows"] >= 3 * SOCKETS
    assert not re.search("Traceback|ended with code", project.log_text)
