"""Appending to logs: head, events and state of all rooms of a batch by a few statements.

In the transaction of the group commit the rooms are locked in the order of their ids; offsets
follow each room's head. What can't be appended (the room is gone, closed, elsewhere than expected)
is told to its own caller and holds up nobody else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..commit.rows import insert_rows
from ..conf import settings
from ..exceptions import Code, Refusal
from .doorbell import MOST_RUNG
from .events import Appended, Bell, Event, Mutation, NewEvent, Note
from .models import Room, RoomEvent
from .state import applied

COLUMNS = ("room_id", "offset", "type", "payload", "actor", "request_id", "created_at")
OPEN = Room.Status.OPEN.value
#: Milliseconds that a batch waits for rooms that somebody else holds, before it goes on without.
PATIENCE = 50
#: Seconds for which a room that was not to be had in that time is not waited for again.
HELD = 0.5


class RoomIsLocked(Exception):
    """Somebody's transaction holds the room; try again."""


class RoomIsGone(Exception):
    """There is no room with this id (any more)."""


class Append:
    """One request to append, and what became of it: ``appended``, or ``problem``.

    ``notes`` are told behind its events. ``also`` writes other rows in the same transaction, and
    may still add events; what it raises is the problem, and then nothing of this request is done.
    It is called again when its batch has to be written again, with the events of the beginning.
    ``despite``: statuses of the room in which it is appended although the room is not open.
    ``status``: what ``also`` made of the room's; who comes later in the same batch finds it.
    """

    __slots__ = (
        "_own", "also", "appended", "despite", "events", "expect", "mutations", "notes", "problem",
        "room", "status",
    )  # fmt: skip

    def __init__(
        self,
        room: int,
        events: Sequence[NewEvent],
        mutations: Sequence[Mutation] = (),
        expect: int | None = None,
        notes: Sequence[Note] = (),
        also: Callable[[], None] | None = None,
        despite: Collection[str] = (),
    ) -> None:
        self.despite = despite
        self.notes = notes
        self.also = also
        self.room = room
        self.events = events
        self.mutations = mutations
        self.expect = expect
        self.status: str | None = None
        self._own = tuple(events)
        self.appended: Appended | None = None
        self.problem: Exception | None = None

    def rewind(self) -> None:
        """As it was before ``also`` was called."""
        self.status = None
        if isinstance(self.events, list):
            self.events[:] = self._own

    def outcome(self) -> Appended:
        """Where it stands; raises what kept it from being appended."""
        if self.problem is not None:
            raise self.problem
        assert self.appended is not None  # noqa: S101  it was written
        return self.appended


class AppendSink:
    """Writes ``Append`` items, and rings for what was committed."""

    turn = 1

    def __init__(self, ring: Callable[[Sequence[Bell]], None]) -> None:
        self._ring = ring
        self._bells: list[Bell] = []
        self._held: dict[int, float] = {}

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Append]) -> None:
        self._bells = write(connection, items, held=self._held)

    def settle(self, committed: bool) -> None:
        bells, self._bells = self._bells, []
        if committed and bells:
            self._ring(bells)


class _Head:
    """A locked room while the batch is written."""

    __slots__ = (
        "before", "characters", "epoch", "events", "head", "is_changed", "notes", "state", "status",
    )  # fmt: skip

    def __init__(self, id: int, epoch: str, head: int, status: str, state: Any = None) -> None:
        self.epoch = epoch
        self.head = self.before = head
        self.status = status
        #: Of a JSON column the driver gives the text, or already an object.
        self.state: dict[str, Any] | None = json.loads(state) if type(state) is str else state
        self.is_changed = False
        self.events: list[Event] = []
        self.characters = 0  # of their payloads
        self.notes: Sequence[Note] = ()


def write(
    connection: BaseDatabaseWrapper, items: Sequence[Append], *, held: dict[int, float] | None
) -> list[Bell]:
    """Append what can be, inside the caller's transaction; what to ring once it is committed.

    ``held``: rooms that others hold, and until when they are not waited for; it is kept up to
    date. Without, every room is waited for as long as the database does.
    """
    with_state = any(item.mutations for item in items)
    rooms = {item.room for item in items}
    heads, locked = _locked(connection, rooms, with_state=with_state, held=held)
    now = datetime.now(UTC)
    for item in items:
        item.appended = item.problem = None
        head = heads.get(item.room)
        if head is None:
            item.problem = RoomIsLocked() if item.room in locked else RoomIsGone()
        else:
            try:
                _append(connection, item, head, now)
            except (OperationalError, InterfaceError):
                raise
            except Exception as problem:
                if connection.needs_rollback:
                    raise
                item.problem = problem
    _insert_events(connection, heads, now)
    _move_heads(connection, heads)
    return [
        Bell(
            room,
            head.epoch,
            head.before + 1,
            head.head,
            head.events if head.characters <= MOST_RUNG else (),
            head.notes,
        )
        for room, head in heads.items()
        if head.events or head.notes
    ]


def _append(connection: BaseDatabaseWrapper, item: Append, head: _Head, now: datetime) -> None:
    if head.status != OPEN and head.status not in item.despite:
        raise _shut(head.status)
    if item.expect is not None and item.expect != head.head:
        raise Refusal(
            Code.CONFLICT, f"The room is at offset {head.head}, not at {item.expect}: look again."
        )
    state = applied(head.state or {}, item.mutations) if item.mutations else None
    if item.also is not None:
        item.rewind()
        with transaction.atomic(using=connection.alias):
            item.also()
        head.status = item.status or head.status
    if state is not None:
        head.state, head.is_changed = state, True
    first = head.head + 1
    for event in item.events:
        head.head += 1
        head.events.append(Event(head.head, *event, now))
        head.characters += len(event.payload)
    if item.notes:
        head.notes = [*head.notes, *(note._replace(after=head.head) for note in item.notes)]
    item.appended = Appended(item.room, head.epoch, first, head.head)


def _shut(status: str) -> Refusal:
    if status == Room.Status.CLOSED:
        return Refusal(Code.NOT_FOUND, "This room is closed.")
    return Refusal(Code.CONFLICT, f"This room is {status}.", subject=status)


# -- statements -----------------------------------------------------------------------------------


def _locked(
    connection: BaseDatabaseWrapper,
    rooms: set[int],
    *,
    with_state: bool,
    held: dict[int, float] | None,
) -> tuple[dict[int, _Head], set[int]]:
    """The rooms, locked until the transaction ends, and the ids of those that others hold."""
    columns = "id, epoch, head, status" + (", state" if with_state else "")
    if connection.vendor == "sqlite":  # the transaction has the lock
        return _heads_as_one(connection, columns, rooms), set()
    select = f"SELECT {columns} FROM {Room._meta.db_table} WHERE id IN"  # noqa: S608
    # One order everywhere: no deadlock. Who only refers to a room (a member) is not kept waiting.
    strength = "NO KEY UPDATE" if connection.vendor == "postgresql" else "UPDATE"
    if held is None or connection.vendor != "postgresql":
        return _heads(connection, f"{select} ({_ids(rooms)}) ORDER BY id FOR {strength}"), set()
    now = time.monotonic()
    for room in [room for room, until in held.items() if until <= now]:
        del held[room]
    # Those are tried last and without waiting: else all others would wait for them all the time.
    doubtful = rooms & held.keys()
    heads: dict[int, _Head] = {}
    others = f"{select} ({_ids(rooms - doubtful)}) ORDER BY id FOR {strength}"
    if doubtful != rooms:
        found = _waited_for(connection, others)
        if found is None:
            found = _heads(connection, f"{others} SKIP LOCKED")
        heads |= found
    if doubtful:
        heads |= _heads(connection, f"{select} ({_ids(doubtful)}) FOR {strength} SKIP LOCKED")
    missing = rooms - heads.keys()
    if not missing:
        return heads, set()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {Room._meta.db_table} WHERE id IN ({_ids(missing)})")  # noqa: S608
        locked = {id for (id,) in cursor.fetchall()}
    for room in locked - doubtful:
        held[room] = time.monotonic() + HELD
    return heads, locked


def _ids(rooms: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(rooms)))  # integers of ours


def _waited_for(connection: BaseDatabaseWrapper, select: str) -> dict[int, _Head] | None:
    """The rooms, locked; None, and none of them is, when one could not be had in time."""
    wait = int(settings.LEDGER.WAIT * 1000)
    try:
        with connection.cursor() as cursor:  # one round trip for all of it
            cursor.execute(
                f"SAVEPOINT mashin_rooms; SET LOCAL lock_timeout = {PATIENCE}; {select}; "
                f"SET LOCAL lock_timeout = {wait}; RELEASE SAVEPOINT mashin_rooms"
            )
            cursor.nextset()
            cursor.nextset()
            return _made(cursor.fetchall())
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != "55P03":  # lock_not_available
            raise
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT mashin_rooms; RELEASE SAVEPOINT mashin_rooms")
    return None


def _heads(connection: BaseDatabaseWrapper, statement: str) -> dict[int, _Head]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return _made(cursor.fetchall())


def _heads_as_one(
    connection: BaseDatabaseWrapper, columns: str, rooms: Collection[int]
) -> dict[int, _Head]:
    """For SQLite: one row for all. The driver gives up the interpreter's lock for each row; and a
    statement whose text stays the same is prepared once."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT json_group_array(json_array({columns})) FROM {Room._meta.db_table} "  # noqa: S608
            "WHERE id IN (SELECT value FROM json_each(%s))",
            [_array(rooms)],
        )
        return _made(orjson.loads(cursor.fetchone()[0]))


def _array(rooms: Collection[int]) -> str:
    return orjson.dumps(list(rooms)).decode()


def _made(rows: Iterable[Sequence[Any]]) -> dict[int, _Head]:
    return {row[0]: _Head(*row) for row in rows}


def _insert_events(connection: BaseDatabaseWrapper, heads: dict[int, _Head], now: datetime) -> None:
    at = now.isoformat(" ", "microseconds")
    at = at if connection.vendor == "postgresql" else at[:26]
    rows = [
        (room, offset, type, payload, actor, request_id, at)
        for room, head in heads.items()
        for offset, type, payload, actor, request_id, _ in head.events
    ]
    if rows:
        insert_rows(connection, RoomEvent._meta.db_table, COLUMNS, rows)


def _move_heads(connection: BaseDatabaseWrapper, heads: dict[int, _Head]) -> None:
    moved: dict[int, list[int]] = {}  # rooms by how many events they get: mostly the same number
    for room, head in heads.items():
        if head.events:
            moved.setdefault(len(head.events), []).append(room)
    table = Room._meta.db_table
    with connection.cursor() as cursor:
        for count, rooms in moved.items():
            # They are locked. The same text each time, on SQLite: it is prepared once.
            if connection.vendor == "sqlite":
                which = "IN (SELECT value FROM json_each(%s))"
                cursor.execute(
                    f"UPDATE {table} SET head = head + %s WHERE id {which}",  # noqa: S608
                    [count, _array(rooms)],
                )
            else:
                cursor.execute(
                    f"UPDATE {table} SET head = head + {count} WHERE id IN ({_ids(rooms)})"  # noqa: S608
                )
        for room, head in heads.items():
            if head.is_changed:
                cursor.execute(
                    f"UPDATE {table} SET state = %s WHERE id = %s",  # noqa: S608
                    [orjson.dumps(head.state).decode(), room],
                )


def append_here(
    items: Iterable[Append], alias: str, ring: Callable[[Sequence[Bell]], None]
) -> None:
    """Append inside the caller's own transaction; it is rung when that commits, if it does."""
    with transaction.atomic(using=alias):
        bells = write(connections[alias], list(items), held=None)
    transaction.on_commit(lambda: ring(bells), using=alias)
