"""The first requests, while the database is not there."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.live import LiveProject

pytestmark = pytest.mark.slow


async def test_without_tables_every_door_says_so_and_the_process_lives(tmp_path: Path) -> None:
    project = LiveProject(tmp_path)
    project.start()
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.get(project.url("/healthz"))).status_code == 200
            answer = await client.get(project.url("/dashboard"))
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "ledger_unavailable"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(project.websocket_url("/ws/metrics"), proxy=None):
                pass
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body or b"")["error"]["retry_after"] == 1
        project.manage("migrate", "--no-input", "-v", "0")
        project.manage("load_machines", "project/machines")
        async with (
            httpx.AsyncClient(trust_env=False, timeout=60) as client,
            connect(project.websocket_url("/ws/metrics"), proxy=None) as socket,
        ):
            await socket.send('{"metric_name": "load"}')
            assert "value" in json.loads(await socket.recv())
            assert (await client.get(project.url("/dashboard"))).status_code == 200
    finally:
        project.stop()
