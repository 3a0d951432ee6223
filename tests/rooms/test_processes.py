"""Rooms that many processes append to at once, on both databases: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from mashin_surfaces.rooms.statements import HELD
from tests.rooms.databases import EVENTS, ROOMS, SQLITE, Appender, SharedDatabase, outcome
from tests.servers import Postgres, postgres

pytestmark = pytest.mark.slow

PROCESSES = 8
APPENDS = 1_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def on_postgresql(cluster: Postgres) -> SharedDatabase:
    return SharedDatabase(cluster.create_database("rooms"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> SharedDatabase:
    if request.param == "sqlite":
        return SharedDatabase(f"{SQLITE}{tmp_path / 'rooms.sqlite3'}")
    shared: SharedDatabase = request.getfixturevalue("on_postgresql")
    return shared


def log_of(database: SharedDatabase, room: int) -> list[dict[str, Any]]:
    """The payloads in the order of their offsets, which are 1 to the room's head."""
    ((head, floor),) = database.rows(f"SELECT head, floor FROM {ROOMS} WHERE id = {room}")
    found = database.rows(
        f'SELECT "offset", payload FROM {EVENTS} WHERE room_id = {room} ORDER BY "offset"'
    )
    assert floor == 0
    assert [offset for offset, _ in found] == list(range(1, head + 1))
    return [json.loads(payload) for _, payload in found]


def state_of(database: SharedDatabase, room: int) -> dict[str, Any]:
    ((state,),) = database.rows(f"SELECT state FROM {ROOMS} WHERE id = {room}")
    loaded: dict[str, Any] = json.loads(state) if isinstance(state, str) else state
    return loaded


@pytest.mark.parametrize("plain", [4, 8])
async def test_eight_processes_append_without_a_gap_a_loss_or_a_disorder(
    database: SharedDatabase, plain: int
) -> None:
    """``plain``: how many of them leave the state as it is."""
    rooms = [database.new_room() for _ in range(3)]
    async with AsyncExitStack() as stack:
        appenders = await asyncio.gather(
            *(stack.enter_async_context(Appender(database.env)) for _ in range(PROCESSES))
        )
        every = [
            appender.begin("plain" if number < plain else "many", f"p{number}", APPENDS, *rooms)
            for number, appender in enumerate(appenders)
        ]
        for each in every:
            assert await outcome(each) == "done"

    numbers = defaultdict(set)
    for room in rooms:
        log = log_of(database, room)
        last: dict[str, dict[str, Any]] = {}
        for before, payload in zip([None, *log], log, strict=False):
            chain, number, part = payload["chain"], payload["number"], payload["part"]
            if part:  # the parts of an append follow each other
                assert before == {"chain": chain, "number": number, "part": part - 1}
            else:
                assert number > last.get(chain, {"number": -1})["number"]
            last[chain] = payload
            numbers[chain].add(number)
        state = {chain: each for chain, each in last.items() if int(chain[1]) >= plain}
        if state:
            state["last"] = [each for each in log if each["chain"] in state][-1]
        assert state_of(database, room) == state
    assert len(numbers) == PROCESSES * 4
    for seen in numbers.values():
        assert seen == set(range(APPENDS // 4))
    if not database.url.startswith(SQLITE):
        told = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert database.rows(told) == [(0,)]


async def test_a_room_that_is_held_holds_up_appends_to_itself_and_nothing_else(
    on_postgresql: SharedDatabase,
) -> None:
    held, free = on_postgresql.new_room(), on_postgresql.new_room()
    async with Appender(on_postgresql.env) as appender:
        with closing(on_postgresql.connect()) as holder, holder.transaction():
            holder.execute(f"SELECT 1 FROM {ROOMS} WHERE id = {held} FOR UPDATE")
            waiting = [appender.begin("append", f"held{number}", held) for number in range(3)]
            for number in range(1, 11):  # in whichever batches they come
                append = appender.begin("append", f"free{number}", free)
                access = appender.begin("access", f"access{number}")
                assert await outcome(append) == str(number)
                assert await outcome(access) == "written"
            assert not any(each.done() for each in waiting)
        offsets = {await outcome(each) for each in waiting}
    assert offsets == {"1", "2", "3"}
    assert len(log_of(on_postgresql, held)) == 3
    assert len(log_of(on_postgresql, free)) == 10


async def test_a_room_that_stays_held_is_seldom_waited_for(
    cluster: Postgres, on_postgresql: SharedDatabase
) -> None:
    """Each wait holds up the whole process: its other appends, and the rows of its accesses."""
    held, free = on_postgresql.new_room(), on_postgresql.new_room()
    async with Appender(on_postgresql.env) as appender:
        with closing(on_postgresql.connect()) as holder, holder.transaction():
            holder.execute(f"SELECT 1 FROM {ROOMS} WHERE id = {held} FOR UPDATE")
            before, begun = waits(cluster), time.monotonic()
            waiting = [appender.begin("append", f"held{number}", held) for number in range(20)]
            for number in range(100):
                await outcome(appender.begin("append", f"free{number}", free))
            waited, seconds = waits(cluster) - before, time.monotonic() - begun
        for each in waiting:
            await outcome(each)
    assert 1 <= waited <= 1 + seconds / HELD
    assert len(log_of(on_postgresql, held)) == 20


def waits(cluster: Postgres) -> int:
    """How often a lock was waited for in vain."""
    return (cluster.folder / "log").read_text().count("canceling statement due to lock timeout")
