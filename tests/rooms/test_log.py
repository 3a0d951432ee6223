"""Logs of rooms: what is appended is there and told, whole and in order, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from mashin_surfaces.commit import CommitFailed, writer
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.appending import Append, RoomIsGone
from mashin_surfaces.rooms.events import Appended, Event, Mutation, NewEvent, Note, RoomHead
from mashin_surfaces.rooms.hub import hub
from mashin_surfaces.rooms.models import Room, RoomEvent
from tests import plans
from tests.rooms.holding import held
from tests.rooms.members import PATIENCE, Closed, Listening, Reset
from tests.timers.workers import apart

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one lock for everything"
)
#: No database takes it: half of a character.
POISON = '"\ud800"'


def event(payload: object = 1, **more: str) -> NewEvent:
    return NewEvent("result", str(payload), **more)


def put(key: str, value: Any) -> Mutation:
    return {"op": "set", "key": key, "value": value}


@pytest.fixture
def room(transactional_db: None) -> RoomHead:
    return log.room_of("topic", "cpu:one", "cpu")


@pytest.fixture
def other(transactional_db: None) -> RoomHead:
    return log.room_of("topic", "cpu:two", "cpu")


def state(room: RoomHead) -> Any:
    return Room.objects.values_list("state", flat=True).get(pk=room.id)


def head(room: RoomHead) -> RoomHead:
    return log.look([room.id])[room.id]


def payloads(room: RoomHead) -> list[str]:
    events = log.read(room.id, 0, limit=10_000)
    assert [each.offset for each in events] == list(range(1, len(events) + 1))
    assert head(room).head == len(events)
    return [each.payload for each in events]


async def joined(room: RoomHead, *names: str, since: int | None = None) -> Listening:
    member = Listening(*names)
    await hub().join(room.id, member, lambda _: None, since=since)
    return member


@asynccontextmanager
async def busy_writer() -> AsyncIterator[None]:
    """What is put meanwhile waits together; a unit holds the writer up until the end."""
    entered, gate = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        entered.set()
        assert gate.wait(PATIENCE)

    holding = asyncio.ensure_future(writer().run(hold))
    assert await asyncio.to_thread(entered.wait, PATIENCE)
    try:
        yield
        await asyncio.sleep(0)  # tasks that were made have begun, and put
    finally:
        gate.set()
    await holding


async def together(*items: Append) -> list[Appended | BaseException]:
    """Appended in one batch; where each stands, or what it was refused with."""
    async with busy_writer():
        tasks = [asyncio.create_task(log.aput(item)) for item in items]
    return await asyncio.gather(*tasks, return_exceptions=True)


# -- rooms ----------------------------------------------------------------------------------------


def test_a_room_is_made_once_and_found_again(room: RoomHead) -> None:
    assert (room.kind, room.key, room.machine) == ("topic", "cpu:one", "cpu")
    assert (room.floor, room.head, room.status) == (0, 0, "open")
    assert log.room_of("topic", "cpu:one", "another") == room
    assert log.room_of("panel", "cpu:one").id != room.id
    assert log.look([room.id, room.id + 1000]) == {room.id: room}


async def test_a_room_is_made_once_although_many_ask_at_once(transactional_db: None) -> None:
    found = await asyncio.gather(*(log.aroom_of("topic", "cpu:new") for _ in range(20)))
    assert len({each.id for each in found}) == 1
    assert await log.alook([found[0].id]) == {found[0].id: found[0]}


# -- appending and reading ------------------------------------------------------------------------


def test_what_was_appended_is_read_as_it_was_given(room: RoomHead) -> None:
    given = NewEvent("result", '{"a": "ä"}', actor="ada", request_id="r1")
    assert log.append(room.id, [given, event(2)]) == Appended(room.id, room.epoch, 1, 2)
    first, second = log.read(room.id, 0)
    assert first == Event(1, *given, first.at)
    assert second[:5] == (2, "result", "2", "", "")
    assert first.at == second.at
    assert first.at.utcoffset() == timedelta(0)
    assert first.at == RoomEvent.objects.get(room=room.id, offset=1).created_at
    assert head(room) == room._replace(head=2)


async def test_offsets_go_on_without_a_gap_and_reading_begins_anywhere(room: RoomHead) -> None:
    for first in range(1, 10, 3):
        stands = await log.aappend(room.id, [event(first), event(first + 1), event(first + 2)])
        assert (stands.first, stands.last) == (first, first + 2)
    read = await log.aread(room.id, 4, limit=3)
    assert [(each.offset, each.payload) for each in read] == [(5, "5"), (6, "6"), (7, "7")]
    assert await log.aread(room.id, 9) == []


def test_the_state_changes_with_the_log(room: RoomHead) -> None:
    log.append(room.id, [event()], [put("a", {"b": 1}), put("c", [1])])
    log.append(room.id, [event()], [put("/a/b", 2), put("/c/-", "ä")])
    log.append(room.id, [event()])
    log.append(room.id, [event()], [{"op": "delete", "key": "/c/0"}])
    assert state(room) == {"a": {"b": 2}, "c": ["ä"]}


def test_a_state_may_change_without_an_event(room: RoomHead) -> None:
    stands = log.append(room.id, [], [put("a", 1)])
    assert stands == Appended(room.id, room.epoch, 1, 0)
    assert (state(room), payloads(room)) == ({"a": 1}, [])


async def test_a_member_is_told_when_it_is_committed(room: RoomHead) -> None:
    member = await joined(room)
    await log.aappend(room.id, [event("a"), event("b")])
    await apart(log.append, room.id, [event("c")])
    await member.has_got("1:a", "2:b", "3:c")
    await hub().close()


def test_appending_where_it_was_looked_at_and_nowhere_else(room: RoomHead) -> None:
    assert log.append(room.id, [event("a")], expect=0).last == 1
    with pytest.raises(Refusal, match="at offset 1, not at 0") as refused:
        log.append(room.id, [event("b")], [put("a", 1)], expect=0)
    assert refused.value.code == Code.CONFLICT
    assert log.append(room.id, [event("c")], expect=1).last == 2
    assert (payloads(room), state(room)) == (["a", "c"], {})


async def test_of_many_that_expect_the_same_one_is_first(room: RoomHead) -> None:
    results = await together(*(Append(room.id, [event(n)], expect=0) for n in range(20)))
    assert [isinstance(each, Appended) for each in results] == [True] + 19 * [False]
    assert await apart(payloads, room) == ["0"]


def test_nothing_is_appended_to_a_room_that_is_closed_or_gone(room: RoomHead) -> None:
    Room.objects.filter(pk=room.id).update(status=Room.Status.CLOSED)
    with pytest.raises(Refusal, match="closed") as refused:
        log.append(room.id, [event()], [put("a", 1)])
    assert refused.value.code == Code.NOT_FOUND
    assert (payloads(room), state(room)) == ([], {})
    Room.objects.filter(pk=room.id).delete()
    with pytest.raises(RoomIsGone):
        log.append(room.id, [event()])


@pytest.mark.parametrize("is_gone", [False, True])
async def test_members_of_a_room_that_closed_are_told_so(
    room: RoomHead, is_gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "POLL", 0.02)
    member = await joined(room)
    await log.aappend(room.id, [event("a")])
    await member.has_got("1:a")
    rooms = Room.objects.filter(pk=room.id)
    await apart(rooms.delete if is_gone else lambda: rooms.update(status=Room.Status.CLOSED))
    await member.until(lambda: len(member.got) > 1)
    assert member.got == ["1:a", Closed(True)]
    await hub().close()


@plans.on_postgresql
def test_a_part_of_a_log_costs_no_more_than_that_part_whatever_the_plan(room: RoomHead) -> None:
    """PostgreSQL may know nothing of a log that has just grown, and sort all of it each time."""
    log.append(room.id, [event(n) for n in range(2_000)])
    with plans.without_ordered_indexes() as most_rows:
        found = [each.payload for each in log.read(room.id, 500, 100)]
        assert most_rows() == 100
    assert found == [str(n) for n in range(500, 600)]


def test_what_is_trimmed_is_gone_past(room: RoomHead) -> None:
    log.append(room.id, [event(n) for n in range(1, 11)])
    RoomEvent.objects.filter(room=room.id, offset__lte=6).delete()
    Room.objects.filter(pk=room.id).update(floor=6)
    for after, limit, found in (
        (0, 3, [7, 8, 9]),
        (5, 3, [7, 8, 9]),
        (6, 2, [7, 8]),
        (8, 9, [9, 10]),
    ):
        assert [each.offset for each in log.read(room.id, after, limit)] == found


# -- in somebody's transaction --------------------------------------------------------------------


async def test_in_a_transaction_members_are_told_after_its_commit(room: RoomHead) -> None:
    member = await joined(room)
    appended, seen = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        with transaction.atomic():
            assert log.append(room.id, [event("a")], [put("a", 1)]).last == 1
            assert log.append(room.id, [event("b")]).last == 2
            loop.call_soon_threadsafe(appended.set)
            assert seen.wait(PATIENCE)

    working = asyncio.create_task(apart(work))
    await appended.wait()
    assert member.got == []
    assert await log.aread(room.id, 0) == []
    seen.set()
    await working
    await member.has_got("1:a", "2:b")
    assert await apart(state, room) == {"a": 1}
    await hub().close()


async def test_after_a_rollback_nobody_is_told_and_nothing_is_missing(room: RoomHead) -> None:
    member = await joined(room)

    def work() -> None:
        with transaction.atomic():
            log.append(room.id, [event("a")], [put("a", 1)])
            transaction.set_rollback(True)
        with transaction.atomic():
            log.append(room.id, [event("b")])
            with transaction.atomic():
                log.append(room.id, [event("c")], [put("c", 1)])
                transaction.set_rollback(True)
            log.append(room.id, [event("d")])

    await apart(work)
    await log.aappend(room.id, [event("e")])
    await member.has_got("1:b", "2:d", "3:e")
    assert await apart(payloads, room) == ["b", "d", "e"]
    assert await apart(state, room) == {}
    await hub().close()


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Append(0, [event()]), RoomIsGone),
        (Append(1, [event()], expect=7), Refusal),
        (Append(1, [event()], [put("/a/b", 1)]), ValueError),
        (Append(1, [event()], [put("a", object())]), TypeError),
        (Append(1, [NewEvent("result", POISON)]), UnicodeError),
    ],
)
def test_what_is_refused_in_a_transaction_leaves_it_usable(
    room: RoomHead, request_: Append, problem: type[Exception]
) -> None:
    with transaction.atomic():
        log.append(room.id, [event("a")])
        with pytest.raises(problem):
            log.append(
                request_.room and room.id,
                request_.events,
                request_.mutations,
                expect=request_.expect,
            )
        log.append(room.id, [event("b")])
    assert (payloads(room), state(room)) == (["a", "b"], {})


# -- who fails, fails alone -----------------------------------------------------------------------


async def test_a_mutation_that_does_not_fit_takes_only_its_own_item_down(
    room: RoomHead, other: RoomHead
) -> None:
    member = await joined(room)
    results = await together(
        Append(room.id, [event("a")], [put("a", {"b": 1})]),
        Append(room.id, [event("b")], [put("/a/b", 2), put("/nothing/here", 3)]),
        Append(other.id, [event("c")], [put("x", 1)]),
        Append(room.id, [event("d")], [put("/a/c", 4)]),
        Append(room.id + 1000, [event("e")]),
    )
    kinds = [type(each) for each in results]
    assert kinds == [Appended, ValueError, Appended, Appended, RoomIsGone]
    await member.has_got("1:a", "2:d")
    assert await apart(state, room) == {"a": {"b": 1, "c": 4}}
    assert await apart(payloads, room) == ["a", "d"]
    assert (await apart(payloads, other), await apart(state, other)) == (["c"], {"x": 1})
    await hub().close()


@pytest.mark.parametrize(
    "spoiled",
    [
        ([NewEvent("result", POISON)], []),
        ([event("b")], [put("a", object())]),
        ([event("b")], [put("a", "\ud800")]),
        ([event("b")], [put("a", 2**70)]),
    ],
)
async def test_what_no_database_takes_takes_only_its_own_item_down(
    room: RoomHead, other: RoomHead, spoiled: tuple[list[NewEvent], list[Mutation]]
) -> None:
    member = await joined(room)
    results = await together(
        Append(room.id, [event("a")], [put("a", 1)]),
        Append(room.id, *spoiled),
        Append(other.id, [event("c")]),
        Append(room.id, [event("d")], [put("d", 4)]),
    )
    assert [type(each) for each in results] == [Appended, CommitFailed, Appended, Appended]
    await member.has_got("1:a", "2:d")
    assert await apart(state, room) == {"a": 1, "d": 4}
    assert (await apart(payloads, room), await apart(payloads, other)) == (["a", "d"], ["c"])
    await hub().close()


async def test_what_goes_with_an_append_is_written_with_it_or_undone_alone(
    room: RoomHead, other: RoomHead
) -> None:
    def another(key: str, then: Callable[[], object] = bool) -> Callable[[], None]:
        def write() -> None:
            Room.objects.create(kind="run", key=key)
            then()

        return write

    def fail() -> None:
        raise ZeroDivisionError

    member = await joined(room)
    results = await together(
        Append(room.id, [event("a")], [put("a", 1)], also=another("a")),
        Append(room.id, [event("b")], [put("b", 1)], also=another("b", fail)),
        Append(room.id, [event("c")], also=another("a")),  # there is one already
        Append(other.id, [event("d")], also=another("d")),
        Append(room.id, [event("e")], also=another("e"), expect=7),
        Append(room.id, [event("f")], also=another("f")),
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert isinstance(results[2], DatabaseError)
    assert isinstance(results[4], Refusal)
    await member.has_got("1:a", "2:f")
    assert await apart(state, room) == {"a": 1}
    made = await apart(lambda: list(Room.objects.filter(kind="run").values_list("key", flat=True)))
    assert sorted(made) == ["a", "d", "f"]
    await hub().close()


async def test_what_goes_with_an_append_that_is_not_written_is_not_written_either(
    room: RoomHead,
) -> None:
    def another() -> None:
        Room.objects.create(kind="run", key="one")

    results = await together(
        Append(room.id, [event("a")]),
        Append(room.id, [NewEvent("result", POISON)], also=another),
    )
    assert [type(each) for each in results] == [Appended, CommitFailed]
    assert not await apart(Room.objects.filter(kind="run").exists)


# -- transactions ---------------------------------------------------------------------------------


@contextmanager
def transactions_counted() -> Iterator[Callable[[], int]]:
    """How many transactions wrote events since."""
    if connection.vendor == "postgresql":  # each row knows its transaction
        rows = RoomEvent.objects.order_by().extra(select={"x": "xmin::text"})
        yield lambda: len(set(rows.values_list("x")))
        return
    seen: list[str] = []
    writer().run_now(lambda connection: connection.connection.set_trace_callback(seen.append))
    try:
        yield lambda: len(written(seen))
    finally:
        writer().run_now(lambda connection: connection.connection.set_trace_callback(None))


def written(statements: list[str]) -> list[str]:
    """Of these statements those that committed events."""
    has_events, commits = False, []
    for each in statements:
        has_events |= each.startswith("INSERT") and RoomEvent._meta.db_table in each
        if each == "COMMIT" and has_events:
            commits.append(each)
            has_events = False
    return commits


async def test_appends_that_wait_together_share_a_transaction_in_their_order(
    room: RoomHead, other: RoomHead
) -> None:
    member = await joined(room)
    with transactions_counted() as transactions:
        items = [Append((room, other)[n % 2].id, [event(n)], [put("n", n)]) for n in range(400)]
        results = await together(*items)
        assert await apart(transactions) == 1
    assert [each.last for each in results if isinstance(each, Appended)] == [
        n // 2 + 1 for n in range(400)
    ]
    assert await apart(payloads, room) == [str(n) for n in range(0, 400, 2)]
    assert await apart(payloads, other) == [str(n) for n in range(1, 400, 2)]
    assert (await apart(state, room), await apart(state, other)) == ({"n": 398}, {"n": 399})
    await member.has_got(*(f"{n + 1}:{2 * n}" for n in range(200)))
    await hub().close()


async def test_a_burst_takes_few_transactions(room: RoomHead) -> None:
    with transactions_counted() as transactions:
        await asyncio.gather(*(log.aappend(room.id, [event(n)]) for n in range(1000)))
        assert 1 <= await apart(transactions) < 100
    assert await apart(payloads, room) == [str(n) for n in range(1000)]


def test_threads_append_whole_requests_one_after_the_other(room: RoomHead) -> None:
    def work(name: str) -> None:
        for number in range(10):
            log.append(room.id, [event(f"{name}{number}{part}") for part in "xy"])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    told = payloads(room)
    assert [each[:2] for each in told[::2]] == [each[:2] for each in told[1::2]]
    for name in "abcd":
        mine = [each for each in told if each[0] == name]
        assert mine == [f"{name}{number}{part}" for number in range(10) for part in "xy"]


@on_postgresql
async def test_a_room_that_somebody_holds_holds_up_no_other(
    room: RoomHead, other: RoomHead
) -> None:
    with held(room.id, event("a")):
        waiting = asyncio.create_task(log.aappend(room.id, [event("b")]))
        assert (await log.aappend(other.id, [event("c")])).last == 1
        assert not waiting.done()
    assert (await waiting).last == 2
    assert await apart(payloads, room) == ["a", "b"]


# -- resets ---------------------------------------------------------------------------------------


async def test_a_reset_clears_log_and_state_and_offsets_go_on(room: RoomHead) -> None:
    member = await joined(room)
    await log.aappend(room.id, [event("a"), event("b")], [put("a", 1)])
    epoch = await log.areset(room.id)
    assert epoch != room.epoch
    assert await log.aread(room.id, 0) == []
    assert await apart(state, room) == {}
    assert await apart(head, room) == room._replace(epoch=epoch, floor=2, head=2)
    assert await log.aappend(room.id, [event("c")]) == Appended(room.id, epoch, 3, 3)
    await member.has_got("1:a", "2:b", Reset(epoch, 2), "3:c")
    await hub().close()


async def test_a_reset_belongs_to_the_transaction_that_it_is_in(room: RoomHead) -> None:
    member = await joined(room)
    await log.aappend(room.id, [event("a")], [put("a", 1)])

    def undone() -> None:
        with transaction.atomic():
            log.reset(room.id)
            transaction.set_rollback(True)

    def done() -> str:
        with transaction.atomic():
            log.append(room.id, [event("b")])
            epoch = log.reset(room.id)
            log.append(room.id, [event("c")])
            return epoch

    await apart(undone)
    assert await apart(state, room) == {"a": 1}
    epoch = await apart(done)
    await member.until(lambda: "3:c" in member.got)
    # What was appended and cleared at once may be told, or not; in its place, if it is.
    assert [each for each in member.got if each != "2:b"] == ["1:a", Reset(epoch, 2), "3:c"]
    assert "2:b" not in member.got[2:]
    await hub().close()


def test_a_room_that_is_gone_can_not_be_reset(room: RoomHead) -> None:
    with pytest.raises(RoomIsGone):
        log.reset(room.id + 1000)


def test_a_reset_holds_the_room_before_it_looks_at_it(
    room: RoomHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else SQLite refuses to write behind somebody who wrote in between."""
    found: list[bool] = []

    def look(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if sql.startswith("SELECT"):
            thread = threading.Thread(target=lambda: found.append(is_held(room)))
            thread.start()
            thread.join(PATIENCE)
        return result

    if connection.vendor == "sqlite":  # as Django has it, in projects that say nothing
        connection.ensure_connection()
        monkeypatch.setitem(vars(connections["default"]), "transaction_mode", None)
    with connection.execute_wrapper(look):
        log.reset(room.id)
    assert found
    assert all(found)


def is_held(room: RoomHead) -> bool:
    """Whether nobody else could write to the room now."""
    try:
        if connection.vendor == "sqlite":
            with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as third:
                third.execute("begin immediate")
        else:
            with transaction.atomic():
                Room.objects.select_for_update(nowait=True).get(pk=room.id)
    except (sqlite3.OperationalError, DatabaseError):
        return True
    finally:
        connections.close_all()
    return False


# -- notes ----------------------------------------------------------------------------------------


async def test_notes_come_behind_their_event_to_the_member_that_is_named(room: RoomHead) -> None:
    ada, bob, eve = await joined(room, "ada", "c1"), await joined(room, "bob"), await joined(room)
    late = await joined(room, "ada", since=0)
    await together(
        Append(room.id, [event("a"), event("b")], notes=[Note("ada", "for ada")]),
        Append(room.id, [event("c")], notes=[Note("bob", "for bob"), Note("c1", "for c1")]),
        Append(room.id, [event("d")], notes=[Note("nobody", "for nobody")]),
    )
    await log.aput(Append(room.id, [], notes=[Note("ada", "no event")]))
    await log.aappend(room.id, [event("e")])
    await ada.has_got("1:a", "2:b", "for ada", "3:c", "for c1", "4:d", "no event", "5:e")
    await bob.has_got("1:a", "2:b", "3:c", "for bob", "4:d", "5:e")
    await eve.has_got("1:a", "2:b", "3:c", "4:d", "5:e")
    await late.has_got("1:a", "2:b", "for ada", "3:c", "4:d", "no event", "5:e")
    await hub().close()


async def test_a_note_waits_for_a_member_that_has_yet_to_get_what_was_before(
    room: RoomHead,
) -> None:
    await log.aappend(room.id, [event(n) for n in range(1, 301)])
    ada = await joined(room, "ada", since=0)
    await log.aput(Append(room.id, [event(301)], notes=[Note("ada", "hello")]))
    await log.aappend(room.id, [event(302)])
    await ada.has_got(*(f"{n}:{n}" for n in range(1, 302)), "hello", "302:302")
    await hub().close()


async def test_notes_of_what_was_not_appended_are_told_to_nobody(room: RoomHead) -> None:
    ada = await joined(room, "ada")
    await together(
        Append(room.id, [event("a")], notes=[Note("ada", "never")], expect=7),
        Append(room.id, [event("b")], notes=[Note("ada", "hello")]),
    )
    await ada.has_got("1:b", "hello")
    await hub().close()
