"""Members that come and go while another process publishes at full speed: where what is read from
the log ends and what is heard begins, nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from channels.layers import get_channel_layer

from mashin_surfaces.rooms import doorbell, log
from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.live import Joined
from tests.rooms.databases import Appender, environment, outcome
from tests.rooms.followers import Follower, new_room
from tests.servers import valkey
from tests.timers.workers import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

APPENDS = 4_000
#: Members at most that are there at once.
MOST = 12
ROUNDS = 300


@pytest.fixture
async def elsewhere(
    own_hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Appender]:
    """Another process on this database, which this one hears over Valkey, and no poll helps."""
    monkeypatch.setattr(hub_module, "POLL", 3600.0)
    monkeypatch.setattr(doorbell, "PATIENCE", 60.0)  # who gave up waiting would wait for the poll
    with valkey() as server:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [server.url]},
            }
        }
        await own_hub.close()
        own_hub.start()
        async with Appender(environment(database_url(), server.url)) as appender:
            yield appender
        await own_hub.close()
        await get_channel_layer().flush()


async def join_somewhere(hub: Hub, room: int, choice: random.Random) -> Follower:
    """A member that begins now, a few events back, at the start, or where another one is."""
    member = Follower()
    since = choice.choice([None, None, 0, (await log.alook([room]))[room].head])
    await member.join(hub, room, since=since, back=choice.choice([0, 5]))
    return member


async def test_who_comes_while_another_process_publishes_misses_nothing(
    own_hub: Hub, elsewhere: Appender
) -> None:
    rooms, choice = [await new_room() for _ in range(2)], random.Random(3)
    done = elsewhere.begin("many", "writer", APPENDS, *rooms)
    here: dict[int, list[Follower]] = {room: [] for room in rooms}
    came = opened = 0
    while not done.done():
        room = choice.choice(rooms)
        opened += not here[room]
        here[room].append(await join_somewhere(own_hub, room, choice))
        came += 1
        await asyncio.sleep(choice.choice([0, 0.001, 0.005]))
        if len(here[room]) == MOST:  # all go: who comes next opens the room anew
            for member in here[room]:
                member.leave(own_hub)
                assert is_gapless(member)
            here[room] = []
    assert await outcome(done) == "done"
    assert came > 50
    assert opened > 4
    for room in rooms:
        here[room].append(await join_somewhere(own_hub, room, choice))
        stored = {event.offset: event.payload for event in await read_all(room)}
        for member in here[room]:
            assert member.joined is not None
            await member.has(range(member.joined.offset + 1, len(stored) + 1))
            assert member.told == [(each, stored[each]) for each in member.offsets]
            assert member.closed == []


async def test_the_last_event_before_a_silence_is_not_overheard_by_who_just_comes(
    own_hub: Hub, elsewhere: Appender
) -> None:
    """No later event tells that something is missing: what is not seen must be heard."""
    rooms, choice, heard = [await new_room() for _ in range(ROUNDS)], random.Random(5), 0
    for number, room in enumerate(rooms):
        member, later = Follower(), choice.uniform(-0.01, 0.01)
        joining = asyncio.create_task(after(max(0, later), member.join(own_hub, room)))
        await asyncio.sleep(max(0, -later))
        done = elsewhere.begin("append", f"only{number}", room)
        joined = await joining
        assert await outcome(done) == "1"
        await member.has(range(joined.offset + 1, 2))
        heard += len(member.told)
        member.leave(own_hub)
    assert 0 < heard < ROUNDS, "each way should happen"


async def after(seconds: float, join: Coroutine[Any, Any, Joined]) -> Joined:
    await asyncio.sleep(seconds)
    return await join


def is_gapless(member: Follower) -> bool:
    assert member.joined is not None
    first = member.joined.offset + 1
    return member.offsets == list(range(first, first + len(member.told)))


async def read_all(room: int) -> list[Any]:
    found: list[Any] = []
    while part := await log.aread(room, len(found)):
        found += part
    return found
