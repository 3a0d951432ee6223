"""A layer that loses 30 %, doubles 10 % and swaps 10 % of its messages takes nothing away."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from channels.layers import get_channel_layer

from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms.hub import Hub
from tests.live import ROOT
from tests.rooms.followers import Follower, new_room
from tests.servers import valkey
from tests.timers.workers import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

APPENDS = 300
WRITERS = 2


async def test_every_member_gets_everything_once_and_in_order_over_a_bad_layer(
    own_hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two other processes write to two rooms; three members of each are here."""
    monkeypatch.setattr(hub_module, "POLL", 0.5)  # what finds a last bell that was lost
    with valkey() as server:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [server.url]},
            }
        }
        await own_hub.close()
        own_hub.start()
        rooms = [await new_room(), await new_room()]
        members = {room: [Follower() for _ in range(3)] for room in rooms}
        for room, followers in members.items():
            for follower in followers:
                await follower.join(own_hub, room)
        writers = [await start(server.url, rooms) for _ in range(WRITERS)]
        told = [await writer.communicate() for writer in writers]
        for followers in members.values():
            for follower in followers:
                await follower.has(range(1, WRITERS * APPENDS + 1))
                assert follower.closed == []
        await own_hub.close()
        await get_channel_layer().flush()
    for writer, (printed, problems) in zip(writers, told, strict=True):
        assert writer.returncode == 0, problems.decode()
        tampered = json.loads(printed)
        assert all(tampered[fate] > 20 for fate in ("lost", "doubled", "swapped", "sent")), tampered


async def start(redis_url: str, rooms: list[int]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.rooms.lossy_writer",
        str(APPENDS),
        *map(str, rooms),
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": "tests.rooms.lossy_settings",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
