"""One statement does on PostgreSQL what several do: the same logs, heads, bells and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mashin_surfaces.commit.batch import Committer
from mashin_surfaces.commit.work import Work
from mashin_surfaces.rooms import appending, log, statements
from mashin_surfaces.rooms.appending import Append, AppendSink, write, write_at_once
from mashin_surfaces.rooms.events import Bell, NewEvent, Note, RoomHead
from mashin_surfaces.rooms.models import Room, RoomEvent
from tests.rooms.holding import held
from tests.timers.workers import PATIENCE, until, waiting_for_locks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such statement"),
]

numbers = count()
STATUSES = (*Room.Status.values, None)  # None: the room is gone

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
new_events = st.builds(NewEvent, st.sampled_from(["result", "x'y"]), texts, texts, texts)
notes = st.builds(Note, st.just("ada"), texts)
requests = st.tuples(
    st.integers(0, len(STATUSES) - 1), st.lists(new_events, max_size=3), st.lists(notes, max_size=1)
)


def new_room(status: str = "open") -> RoomHead:
    room = log.room_of("topic", f"cpu:{next(numbers)}", "cpu")
    Room.objects.filter(pk=room.id).update(status=status, head=7, floor=7)
    return log.look([room.id])[room.id]


def new_rooms() -> list[RoomHead]:
    """A room of each status, and one that is gone."""
    rooms = [new_room(status or "open") for status in STATUSES]
    Room.objects.filter(pk=rooms[-1].id).delete()
    return rooms


def event(payload: object = 1) -> NewEvent:
    return NewEvent("result", str(payload))


def told(rooms: list[RoomHead], items: list[Append], bells: list[Bell]) -> Any:
    """Everything that can be seen of what was done, whichever rooms it was done to."""
    ids = [room.id for room in rooms]
    heads = log.look(ids)
    outcomes = [
        repr(item.problem) if item.appended is None else item.appended[2:] for item in items
    ]
    rung = [
        (
            bell.first,
            bell.last,
            [each[:5] for each in bell.events],
            bell.notes,
            ids.index(bell.room),
        )
        for bell in sorted(bells)
    ]
    return (
        [heads[id][5:] if id in heads else None for id in ids],
        [[each[:5] for each in log.read(id, 0)] for id in ids],
        outcomes,
        rung,
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(requests, min_size=1, max_size=12))
def test_it_does_what_the_steps_do(transactional_db: None, wanted: list[Any]) -> None:
    seen = []
    for at_once in (True, False):
        rooms = new_rooms()
        items = [Append(rooms[which].id, new, notes=notes) for which, new, notes in wanted]
        if at_once:
            bells = write_at_once(connection, items, {})
            assert bells is not None
        else:
            by_steps = patch.object(appending, "append_at_once", return_value=None)
            with by_steps, transaction.atomic():
                bells = write(connection, items, held={})
        moments = RoomEvent.objects.filter(room__in=[room.id for room in rooms])
        assert len(set(moments.values_list("created_at", flat=True))) <= 1
        seen.append(told(rooms, items, bells))
    assert seen[0] == seen[1]


# -- round trips ----------------------------------------------------------------------------------


@pytest.fixture
def committer(transactional_db: None) -> tuple[Committer, AppendSink]:
    return Committer("default"), AppendSink(lambda _: None)


@contextmanager
def round_trips(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    psycopg = pytest.importorskip("psycopg")
    usual = psycopg.Connection.wait
    seen: list[None] = []

    def wait(*args: Any, **kwargs: Any) -> Any:
        seen.append(None)
        return usual(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Connection, "wait", wait)
        yield seen


def test_a_batch_is_one_round_trip(
    committer: tuple[Committer, AppendSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [new_room() for _ in range(20)]
    commits, sink = committer
    commits.commit([Work(sink, Append(rooms[0].id, [event()]), None)])  # it connects
    items = [Append(room.id, [event(n)]) for n in range(3) for room in rooms]
    with round_trips(monkeypatch) as seen:
        commits.commit([Work(sink, item, None) for item in items])
    assert len(seen) == 1
    assert [item.outcome().last for item in items[20:40]] == [10, *[9] * 19]
    assert not connection.in_atomic_block
    assert connection.connection.info.transaction_status == 0


def test_in_a_transaction_it_is_one_too(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = new_room()
    with transaction.atomic():
        log.append(room.id, [event()])
        with round_trips(monkeypatch) as seen:
            log.append(room.id, [event(), event()])
        assert len(seen) == 3  # with its savepoint
    assert log.look([room.id])[room.id].head == 10


@pytest.mark.parametrize(
    "item",
    [
        lambda room: Append(room, [event()], expect=7),
        lambda room: Append(room, [event()], [{"op": "set", "key": "a", "value": 1}]),
        lambda room: Append(room, [event()], also=lambda: None),
        lambda room: Append(room, [event()], despite=["paused"]),
        lambda room: Append(room, [event("x" * statements.MOST_AT_ONCE)]),
    ],
    ids=["expect", "state", "also", "despite", "large"],
)
def test_what_asks_for_more_goes_step_by_step(
    committer: tuple[Committer, AppendSink], item: Any
) -> None:
    room = new_room()
    commits, sink = committer
    items = [Append(room.id, [event()]), item(room.id)]
    assert write_at_once(connection, items, {}) is None
    assert log.look([room.id])[room.id].head == 7
    items = [item(room.id), Append(room.id, [event()])]
    commits.commit([Work(sink, each, None) for each in items])
    assert [each.outcome().last for each in items] == [8, 9]


def test_a_room_that_is_held_is_told_apart_and_nothing_is_done(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "HELD", 60.0)
    held_room, free = new_room(), new_room()
    held_until: dict[int, float] = {}
    with held(held_room.id, event("theirs")):
        items = [Append(room.id, [event()]) for room in (free, held_room)]
        assert write_at_once(connection, items, held_until) is None
        assert list(held_until) == [held_room.id]
        with connection.cursor() as cursor:  # nobody else waits less than is usual
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("0",)
        # Nor is it waited for again: that is known before anything is asked.
        with connection.execute_wrapper(_never):
            assert write_at_once(connection, items, held_until) is None
        assert write_at_once(connection, items[:1], held_until) is not None
    assert [log.look([room.id])[room.id].head for room in (free, held_room)] == [8, 8]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_wait_that_ends_as_if_cancelled_is_one_that_took_too_long(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, in_transaction: bool
) -> None:
    """PostgreSQL says so when two waits follow each other and the first runs out of time late."""
    monkeypatch.setattr(statements, "PATIENCE", 60_000)
    held_room, free = new_room(), new_room()
    held_until: dict[int, float] = {}
    with (
        held(held_room.id, event("theirs")),
        ThreadPoolExecutor() as threads,
        transaction.atomic() if in_transaction else nullcontext(),
    ):
        cancelling = threads.submit(cancel_who_waits)
        items = [Append(room.id, [event()]) for room in (free, held_room)]
        assert write_at_once(connection, items, held_until) is None
        cancelling.result(PATIENCE)
        assert list(held_until) == [held_room.id]
        assert write_at_once(connection, items[:1], held_until) is not None
    assert [log.look([room.id])[room.id].head for room in (free, held_room)] == [8, 8]


def cancel_who_waits() -> None:
    try:
        until(waiting_for_locks)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_cancel_backend(%s)", waiting_for_locks())
    finally:
        connection.close()


def _never(*_: Any) -> None:
    raise AssertionError("Nothing was to be asked.")
