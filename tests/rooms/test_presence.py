"""Who is in a room: written by few statements, right after crashes, and nobody's downfall."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection

from mashin_surfaces.commit import writer
from mashin_surfaces.rooms import presence
from mashin_surfaces.rooms.appending import RoomIsGone
from mashin_surfaces.rooms.models import Room, RoomMember
from mashin_surfaces.timers import process
from mashin_surfaces.timers.clock import clock
from mashin_surfaces.timers.models import ServerProcess
from mashin_surfaces.timers.moments import before
from tests.rooms.holding import holding
from tests.timers.workers import PATIENCE, Worker, apart, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_left(transactional_db: None) -> Iterator[None]:
    yield
    clock.stop()
    presence.sink.forget()


@pytest.fixture
def room(transactional_db: None) -> int:
    return make_room("one")


def make_room(key: str) -> int:
    return Room.objects.create(kind=Room.Kind.TOPIC, key=key, epoch=uuid4().hex).pk


def rows() -> int:
    return RoomMember.objects.count()


def written() -> None:
    """Returns when the writer has done all that was put before."""
    writer().run_now(lambda connection: None)


def rename(model: Any, *, away: bool) -> None:
    """While a table is away the database can't be written to, as far as its model is concerned."""
    table = connection.ops.quote_name(model._meta.db_table)
    before, after = (table, "away") if away else ("away", table)
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {before} rename to {after}")


@contextmanager
def statements_of_the_writer() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        seen.append(sql)
        return execute(sql, *rest)

    writer().run_now(lambda connection: connection.execute_wrappers.append(note))
    try:
        yield seen
    finally:
        writer().run_now(lambda connection: connection.execute_wrappers.remove(note))


async def test_members_are_there_from_entering_to_leaving(room: int) -> None:
    await presence.enter(room, "c1", "ada")
    await presence.enter(room, "c2", "bob")
    first, second = await presence.amembers(room)
    assert (first.principal, first.connection) == ("ada", "c1")
    assert (second.principal, second.connection) == ("bob", "c2")
    assert first.since <= second.since
    assert await presence.acount(room) == 2
    await presence.leave(room, "c1")
    assert [each.principal for each in await presence.amembers(room)] == ["bob"]
    await presence.leave(room, "c2")
    assert await presence.acount(room) == 0


async def test_entering_twice_is_as_good_as_once_and_leaving_too(room: int) -> None:
    await presence.enter(room, "c1", "ada")
    (first,) = await presence.amembers(room)
    await presence.enter(room, "c1", "ada, signed in anew")
    assert await presence.amembers(room) == [first._replace(principal="ada, signed in anew")]
    await presence.leave(room, "c1")
    await presence.leave(room, "c1")
    assert await presence.acount(room) == 0


async def test_rooms_are_told_apart_when_many_come_and_go_at_once(room: int) -> None:
    other = await apart(make_room, "two")
    both = [(each, f"c{number}") for each in (room, other) for number in range(300)]
    await asyncio.gather(*(presence.enter(*key, "ada") for key in both))
    await asyncio.gather(
        *(presence.leave(room, f"c{number}") for number in range(0, 300, 2)),
        *(presence.leave(other, f"c{number}") for number in range(1, 300, 2)),
    )
    assert await apart(presence.counts, [room, other, 0]) == {room: 150, other: 150}
    odd = {each.connection for each in await presence.amembers(room)}
    assert odd == {f"c{number}" for number in range(1, 300, 2)}


async def test_who_enters_and_leaves_within_one_batch_is_out(room: int) -> None:
    entering = [asyncio.create_task(presence.enter(room, f"c{n}", "ada")) for n in range(50)]
    await asyncio.sleep(0)
    leaving = [asyncio.create_task(presence.leave(room, f"c{n}")) for n in range(50)]
    await asyncio.gather(*entering, *leaving)
    assert await presence.acount(room) == 0


async def test_a_thousand_joins_are_a_few_statements(room: int) -> None:
    await presence.enter(room, "first", "ada")  # the row of the process
    seen: list[str]
    with statements_of_the_writer() as seen:
        await asyncio.gather(*(presence.enter(room, f"c{n}", f"p{n}") for n in range(1000)))
    assert await presence.acount(room) == 1001
    assert len(seen) < 40


def test_looking_is_one_query_and_counting_loads_no_rows(
    room: int, django_assert_num_queries: Any
) -> None:
    asyncio.run(presence.enter(room, "c1", "ada"))
    with django_assert_num_queries(1) as captured:
        assert presence.count(room) == 1
    assert "COUNT(" in captured[0]["sql"]
    with django_assert_num_queries(1):
        assert len(presence.members(room)) == 1
    with django_assert_num_queries(1):
        assert presence.counts([room]) == {room: 1}


async def test_not_more_members_are_read_than_asked_for(room: int) -> None:
    await asyncio.gather(*(presence.enter(room, f"c{n}", "ada") for n in range(20)))
    assert len(await presence.amembers(room, limit=5)) == 5


async def test_a_room_that_is_gone_can_not_be_entered_and_spoils_it_for_nobody(room: int) -> None:
    results = await asyncio.gather(
        *(presence.enter(gone, "c1", "ada") for gone in (room, room + 1000)),
        presence.enter(room, "c2", "bob"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), RoomIsGone, type(None)]
    assert await presence.acount(room) == 2
    await presence.leave(room + 1000, "c1")


async def test_a_name_that_no_column_takes_is_cut(room: int) -> None:
    await presence.enter(room, "c1", "a\0" + 300 * "b")
    (member,) = await presence.amembers(room)
    assert member.principal == "a" + 199 * "b"


# -- processes ------------------------------------------------------------------------------------


async def test_members_count_only_while_their_process_beats(room: int) -> None:
    await presence.enter(room, "c1", "ada")
    await apart(clock.stop)
    assert await apart(rows) == 0, "who ends cleanly takes its rows away"

    def a_dead_process() -> None:
        at = before(process.ALIVE + 0.1)
        ServerProcess.objects.create(id="dead", host="h", pid=1, started_at=at, beat_at=at)
        RoomMember.objects.create(
            room_id=room, process_id="dead", connection="c9", principal="eve", since=clock.now()
        )

    await apart(a_dead_process)
    assert await presence.acount(room) == 0
    assert await presence.amembers(room) == []
    assert await apart(presence.counts, [room]) == {}
    await apart(ServerProcess.objects.update, beat_at=before(process.ALIVE - 5))
    assert await presence.acount(room) == 1


def test_members_of_a_process_that_was_swept_come_back_with_its_next_beat(room: int) -> None:
    for number in range(3):
        asyncio.run(presence.enter(room, f"c{number}", "ada"))
    since = [each.since for each in presence.members(room)]
    clock.stop()
    assert presence.count(room) == 0
    clock.tick()
    written()
    assert [each.since for each in presence.members(room)] == since


def test_members_of_a_process_that_was_swept_come_back_with_the_next_who_enters(room: int) -> None:
    asyncio.run(presence.enter(room, "c1", "ada"))
    long_ago = before(process.FORGOTTEN + 1)
    until(lambda: ServerProcess.objects.update(beat_at=long_ago) and process.sweep())
    asyncio.run(presence.enter(room, "c2", "bob"))
    until(lambda: presence.count(room) == 2, process.BEAT / 2)


async def test_trouble_with_the_database_takes_nobody_down_and_is_mended_later(room: int) -> None:
    await presence.enter(room, "c1", "ada")
    await apart(rename, RoomMember, away=True)
    try:
        await presence.enter(room, "c2", "bob")
        await presence.leave(room, "c1")
        with pytest.raises(DatabaseError):
            await presence.acount(room)
    finally:
        await apart(rename, RoomMember, away=False)
    await apart(clock.tick)
    await apart(written)
    assert [each.principal for each in await presence.amembers(room)] == ["bob"]


async def test_who_was_cancelled_while_entering_is_in_until_it_leaves(room: int) -> None:
    entering = asyncio.create_task(presence.enter(room, "c1", "ada"))
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await apart(written)
    assert await presence.acount(room) == 1
    await presence.leave(room, "c1")
    assert await presence.acount(room) == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
async def test_who_leaves_does_not_wait_for_whoever_takes_its_row_away(room: int) -> None:
    """Whoever deletes a room takes its members' rows in another order than we do."""
    for number in range(3):
        await presence.enter(room, f"c{number}", "ada")
    with holding(lambda: RoomMember.objects.select_for_update().get(connection="c1")):
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(presence.leave(room, f"c{number}") for number in range(3)))
        assert [each.connection for each in await presence.amembers(room)] == ["c1"]
    await apart(clock.tick)
    await apart(written)
    assert await presence.acount(room) == 0
    assert not presence.sink.unwritten


@pytest.mark.slow
def test_the_members_of_a_killed_process_stop_counting(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "ALIVE", 1.0)
    with Worker(beat=0.1, lease="x", ttl=60, room=room, members=3) as worker:
        worker.begin()
        until(lambda: presence.count(room) == 3)
        worker.kill()
        until(lambda: presence.count(room) == 0)
        assert presence.members(room) == []
        assert rows() == 3
        monkeypatch.setattr(process, "FORGOTTEN", 1.0)
        assert process.sweep() == 1
        assert rows() == 0


@pytest.mark.slow
def test_the_members_of_a_process_that_ends_are_gone_with_it(room: int) -> None:
    with Worker(lease="x", ttl=60, room=room, members=3) as worker:
        worker.begin()
        assert presence.count(room) == 3
        assert worker.end() == 0
        assert rows() == 0
        assert not ServerProcess.objects.exists()


@pytest.mark.slow
def test_the_members_of_a_process_that_was_frozen_and_swept_come_back(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FORGOTTEN", 1.0)
    with Worker(beat=0.1, lease="x", ttl=60, room=room, members=3) as worker:
        worker.begin()
        assert presence.count(room) == 3
        worker.freeze()
        until(process.sweep)
        assert presence.count(room) == 0
        worker.thaw()
        until(lambda: presence.count(room) == 3)
