"""What appending says to the database: heads looked up and moved, events put in, for all rooms of a
batch at once.

By a few statements in the caller's transaction, or, on PostgreSQL, by a single one that is all of
the transaction. What may be appended is ``appending.py``'s business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence, Set
from datetime import datetime
from typing import Any

import orjson
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from ..commit.rows import has_copy, insert_rows, time_text
from ..conf import settings
from .events import Event, NewEvent, Note
from .models import Room, RoomEvent

OPEN = Room.Status.OPEN.value
EVENT_COLUMNS = ("room_id", "offset", "type", "payload", "actor", "request_id", "created_at")
#: Milliseconds that a batch waits for rooms that somebody else holds, before it goes on without.
PATIENCE = 50
#: Seconds for which a room that was not to be had in that time is not waited for again.
HELD = 0.5
#: What PostgreSQL says of a wait that took too long: lock_not_available; or, when time ran out just
#: as it was over and the next one had begun, query_canceled, as if somebody had asked for it.
OUT_OF_TIME = ("55P03", "57014")
#: Characters of the largest single statement; beyond, COPY takes less memory.
MOST_AT_ONCE = 1 << 20

#: What a ``Head`` is made of, but for the state.
_HEAD = "id, epoch, head, status"
_HEADS = f"SELECT {_HEAD} FROM {Room._meta.db_table}"  # noqa: S608  own names


class Head:
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


# -- all by one statement -------------------------------------------------------------------------


def is_for_one_statement(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is PostgreSQL with psycopg 3, which takes several commands as one."""
    return connection.vendor == "postgresql" and has_copy(connection)


def append_at_once(
    connection: BaseDatabaseWrapper,
    events: Sequence[tuple[int, Sequence[NewEvent]]],
    now: datetime,
    held: dict[int, float] | None,
) -> dict[int, Head] | None:
    """Put events behind those of their rooms, if these are open; the heads as they were before.

    One round trip where ``lock_rooms``, ``insert_events``, ``move_heads`` and a transaction around
    them are six. None, and nothing is done: a room is, or was lately, held by somebody else (then
    it is in ``held``); it is too much; it is no text.
    """
    rooms = {room for room, _ in events}
    if held is not None and not rooms.isdisjoint(_held_now(held)):
        return None
    try:
        text = orjson.dumps(_rows(events)).decode()
    except orjson.JSONEncodeError:  # half of a character: what is wrong with it, the driver says
        return None
    if len(text) > MOST_AT_ONCE:
        return None
    ids = _ids(rooms)
    operations: Any = connection.ops  # of PostgreSQL
    literal: str = operations.compose_sql("%s", [text])
    statement = _at_once(ids, literal, time_text(connection, now))
    if held is None:
        return _heads(connection, statement)
    heads = _in_time(connection, statement)
    if heads is None:
        free = _heads(connection, f"{_HEADS} WHERE id IN ({ids}) FOR NO KEY UPDATE SKIP LOCKED")
        _hold(held, rooms - free.keys())
    return heads


def _rows(events: Iterable[tuple[int, Sequence[NewEvent]]]) -> list[dict[str, Any]]:
    """Each event with its room and how many it is behind the head; nothing for an empty text."""
    rows: list[dict[str, Any]] = []
    last: dict[int, int] = {}
    for room, of_room in events:
        nth = last.get(room, 0)
        for type, payload, actor, request_id in of_room:
            nth += 1
            row = {"room": room, "nth": nth, "type": type, "payload": payload}
            if actor:
                row["actor"] = actor
            if request_id:
                row["request_id"] = request_id
            rows.append(row)
        last[room] = nth
    return rows


def _at_once(ids: str, events: str, now: str) -> str:
    """Rooms are locked in the order of their ids, as everywhere, before the rest begins."""
    columns = ", ".join(f'"{column}"' for column in EVENT_COLUMNS)
    return f"""\
WITH found AS MATERIALIZED ({_HEADS} WHERE id IN ({ids}) ORDER BY id FOR NO KEY UPDATE),
event AS (SELECT * FROM json_to_recordset({events})
    AS (room bigint, nth bigint, type text, payload text, actor text, request_id text)),
moved AS (UPDATE {Room._meta.db_table} AS room SET head = found.head + count
    FROM found JOIN (SELECT room AS id, max(nth) AS count FROM event GROUP BY room) new USING (id)
    WHERE room.id = found.id AND found.status = '{OPEN}'),
added AS (INSERT INTO {RoomEvent._meta.db_table} ({columns})
    SELECT room, head + nth, type, payload, coalesce(actor, ''), coalesce(request_id, ''), '{now}'
    FROM event JOIN found ON room = id WHERE status = '{OPEN}')
SELECT * FROM found"""  # noqa: S608  own names, numbers of ours, and a text that is quoted


# -- step by step ---------------------------------------------------------------------------------


def lock_rooms(
    connection: BaseDatabaseWrapper,
    rooms: set[int],
    *,
    with_state: bool,
    held: dict[int, float] | None,
) -> tuple[dict[int, Head], set[int]]:
    """The rooms, locked until the transaction ends, and the ids of those that others hold."""
    columns = f"{_HEAD}, state" if with_state else _HEAD
    if connection.vendor == "sqlite":  # the transaction has the lock
        return _heads_as_one(connection, columns, rooms), set()
    select = f"SELECT {columns} FROM {Room._meta.db_table} WHERE id IN"  # noqa: S608
    # One order everywhere: no deadlock. Who only refers to a room (a member) is not kept waiting.
    strength = "NO KEY UPDATE" if connection.vendor == "postgresql" else "UPDATE"
    if held is None or connection.vendor != "postgresql":
        return _heads(connection, f"{select} ({_ids(rooms)}) ORDER BY id FOR {strength}"), set()
    # Those are tried last and without waiting: else all others would wait for them all the time.
    doubtful = rooms & _held_now(held)
    heads: dict[int, Head] = {}
    others = f"{select} ({_ids(rooms - doubtful)}) ORDER BY id FOR {strength}"
    if doubtful != rooms:
        found = _in_time(connection, others)
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
    _hold(held, locked - doubtful)
    return heads, locked


def _held_now(held: dict[int, float]) -> Set[int]:
    now = time.monotonic()
    for room in [room for room, until in held.items() if until <= now]:
        del held[room]
    return held.keys()


def _hold(held: dict[int, float], rooms: Iterable[int]) -> None:
    until = time.monotonic() + HELD
    held.update((room, until) for room in rooms)


def _ids(rooms: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(rooms)))  # integers of ours


def _in_time(connection: BaseDatabaseWrapper, statement: str) -> dict[int, Head] | None:
    """The heads that the statement finds and locks, in one round trip; None, and nothing is done,
    when it would have to wait too long for one of them."""
    begin = end = ""
    if connection.in_atomic_block:
        begin = "SAVEPOINT mashin_rooms; "
        wait = int(settings.LEDGER.WAIT * 1000)
        end = f"; SET LOCAL lock_timeout = {wait}; RELEASE SAVEPOINT mashin_rooms"
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"{begin}SET LOCAL lock_timeout = {PATIENCE}; {statement}{end}")
            if begin:
                cursor.nextset()
            cursor.nextset()
            return _made(cursor.fetchall())
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) not in OUT_OF_TIME:
            raise
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK TO SAVEPOINT mashin_rooms; RELEASE SAVEPOINT mashin_rooms")
    return None


def _heads(connection: BaseDatabaseWrapper, statement: str) -> dict[int, Head]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return _made(cursor.fetchall())


def _heads_as_one(
    connection: BaseDatabaseWrapper, columns: str, rooms: Collection[int]
) -> dict[int, Head]:
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


def _made(rows: Iterable[Sequence[Any]]) -> dict[int, Head]:
    return {row[0]: Head(*row) for row in rows}


def insert_events(connection: BaseDatabaseWrapper, heads: dict[int, Head], now: datetime) -> None:
    at = time_text(connection, now)
    rows = [
        (room, offset, type, payload, actor, request_id, at)
        for room, head in heads.items()
        for offset, type, payload, actor, request_id, _ in head.events
    ]
    if rows:
        insert_rows(connection, RoomEvent._meta.db_table, EVENT_COLUMNS, rows)


def move_heads(connection: BaseDatabaseWrapper, heads: dict[int, Head]) -> None:
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
