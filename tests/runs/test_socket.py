"""The socket of a run, where its client goes away in the middle of something."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mashin_surfaces.rooms.hub import hub
from mashin_surfaces.runs.doors import run_door
from mashin_surfaces.runs.snapshot import take
from mashin_surfaces.surfaces import run_socket
from mashin_surfaces.surfaces.run_socket import RunConnection, RunRoute
from tests.runs.conftest import DEADLINE, Runs

pytestmark = pytest.mark.django_db(transaction=True)


async def test_who_leaves_while_it_asks_to_be_told_anew_is_no_member_any_more(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await runs.at_rest(await runs.run('    gate ok\n      question: "?"\n'))
    has_left = threading.Event()
    incoming: asyncio.Queue[Any] = asyncio.Queue()

    def take_late(id: str) -> Any:
        assert has_left.wait(DEADLINE)
        return take(id)

    async def send(message: Any) -> None:
        """Nobody listens."""

    monkeypatch.setattr(run_socket, "take", take_late)
    connection = RunConnection(
        {"query_string": b"", "extensions": {}},
        incoming.get,
        send,
        RunRoute(run),
        runs.ada,
        run_door("view", run.machine, run.pk),
        run,
    )
    living = asyncio.create_task(connection.live())
    incoming.put_nowait({"type": "websocket.receive", "text": '{"type": "resync", "since": 0}'})
    async with asyncio.timeout(DEADLINE):
        while len(connection.workers) < 2:  # noqa: ASYNC110  it is at what was asked
            await asyncio.sleep(0.01)
    incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await living
    has_left.set()
    async with asyncio.timeout(DEADLINE):
        while connection.workers:  # noqa: ASYNC110  what is waited for is that they end
            await asyncio.sleep(0.01)
    assert connection.place is None
    await hub().close()
