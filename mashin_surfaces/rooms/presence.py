"""Who is in a room, since when and how many: cluster-wide, and right after a crash.

What this process's members are in stands here in memory; rows follow it through the group commit,
many at a time. A member counts while its process beats (``timers.process``): whoever dies with all
its connections needs nobody to take its rows away. What could not be written is written with a
later beat, and so is everything when the process was taken for dead and comes back.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, QuerySet

from ..commit import CommitFailed, writer
from ..conf import settings
from ..timers import process
from ..timers.clock import clock
from ..timers.moments import before
from .appending import RoomIsGone
from .log import database, room_threads
from .models import Room, RoomMember

#: Seconds between two tries to enter a room that somebody's transaction holds.
RETRY = 0.01
#: Pairs of room and connection that one statement takes away.
MOST_PAIRS = 250

#: A room's id and a connection's.
Key = tuple[int, str]


class Present(NamedTuple):
    """A member: who, since when, through which connection."""

    principal: str
    since: datetime
    connection: str


class _Entry:
    """A member of this process; ``problem``: why the last try to write it did not."""

    __slots__ = ("principal", "problem", "since")

    def __init__(self, principal: str, since: datetime) -> None:
        self.principal = principal
        self.since = since
        self.problem: str | None = None


class MemberSink:
    """An item is a key whose row is to be as it is here at that moment: there or not.

    The item None stands for all that is still to be mended.
    """

    turn = 2

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked child has none of these connections."""
        self.entries: dict[Key, _Entry] = {}
        self.unwritten: set[Key] = set()
        self._written: dict[Key, _Entry | None] = {}

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Key | None]) -> None:
        keys = {key for key in items if key is not None}
        if None in items:
            keys |= self.unwritten.copy()
        present = {key: entry for key in keys if (entry := self.entries.get(key)) is not None}
        absent = keys - present.keys()
        if present and process.ensure(connection):
            # We were swept, or are new: whatever was written before is gone.
            present |= self.entries.copy()
            absent -= present.keys()
        held = _delete(connection, absent) if absent else set()
        if present:
            self._insert(connection, present)
        self._written = {**present, **dict.fromkeys(absent - held)}
        self.unwritten |= held

    def _insert(self, connection: BaseDatabaseWrapper, entries: dict[Key, _Entry]) -> None:
        here, held = _hold_rooms(connection, {room for room, _connection in entries})
        rows: list[RoomMember] = []
        for (room, id), entry in entries.items():
            entry.problem = None if room in here else "locked" if room in held else "gone"
            if entry.problem is None:
                rows.append(
                    RoomMember(
                        room_id=room,
                        process_id=process.process_id(),
                        connection=id,
                        principal=entry.principal,
                        since=entry.since,
                    )
                )
        RoomMember.objects.using(connection.alias).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=("room", "connection"),
            update_fields=("process", "principal"),
        )

    def settle(self, committed: bool) -> None:
        written, self._written = self._written, {}
        if not committed:
            return
        for key, entry in written.items():
            if entry is not None and entry.problem == "gone":
                self.drop(key, entry)
            elif entry is not None and entry.problem is not None:
                self.unwritten.add(key)
            elif self.entries.get(key) is entry:  # nobody changed it meanwhile
                self.unwritten.discard(key)

    def drop(self, key: Key, entry: _Entry) -> None:
        """Its room is gone."""
        if self.entries.get(key) is entry:
            del self.entries[key]
        self.unwritten.discard(key)


sink = MemberSink()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sink.forget)


# -- coming and going -----------------------------------------------------------------------------


async def enter(room: int, connection: str, principal: str) -> None:
    """Be in a room, from now on; returns when others can see it. Twice is as good as once.

    Raises ``RoomIsGone``, and nothing of the database: when that can't be written to, one is in
    all the same, and seen once it can. Whoever was cancelled here is in, too, and has to leave.
    """
    clock.start()
    key = (room, connection)
    before = sink.entries.get(key)
    since = datetime.now(UTC) if before is None else before.since
    entry = sink.entries[key] = _Entry(principal.replace("\0", "")[:200], since)
    deadline = time.monotonic() + settings.LEDGER.WAIT
    await _write(key)
    while entry.problem == "locked" and time.monotonic() < deadline:
        await asyncio.sleep(RETRY)
        await _write(key)
    if entry.problem == "gone":
        sink.drop(key, entry)
        raise RoomIsGone()


async def leave(room: int, connection: str) -> None:
    """Be in it no more; returns when others can see that. Raises nothing of the database.

    Whoever is not in a room may leave it. While somebody else's transaction holds one's row, it is
    a later beat that takes it away.
    """
    key = (room, connection)
    sink.entries.pop(key, None)
    await _write(key)


async def _write(key: Key) -> None:
    try:
        await writer(database()).put(sink, key)
    except CommitFailed:  # the writer has said why; a later beat mends it
        sink.unwritten.add(key)
    except BaseException:  # cancelled: nobody will hear what becomes of it
        sink.unwritten.add(key)
        raise


def _mend(was_gone: bool) -> None:
    """After a beat: write what could not be; everything, when the process had been swept."""
    if was_gone:
        sink.unwritten.update(sink.entries.copy())
    if sink.unwritten:
        writer(database()).put_soon(sink, None)


process.on_beat.append(_mend)


# -- looking --------------------------------------------------------------------------------------


def members(room: int, limit: int = 1000) -> list[Present]:
    """Who is there now, the longest first; at most ``limit``. One query.

    Somebody with two connections is there twice. Raises the database's errors.
    """
    rows = _present([room]).order_by("since", "pk").values_list("principal", "since", "connection")
    return [Present(*row) for row in rows[:limit]]


async def amembers(room: int, limit: int = 1000) -> list[Present]:
    """``members`` on a thread of the rooms."""
    return await room_threads.run(members, room, limit)


def count(room: int) -> int:
    """How many are there now, counted by the database."""
    return _present([room]).count()


async def acount(room: int) -> int:
    """``count`` on a thread of the rooms."""
    return await room_threads.run(count, room)


def counts(rooms: Iterable[int]) -> dict[int, int]:
    """How many are in each of these rooms, by one query; empty rooms are left out."""
    found = _present(list(rooms)).order_by().values("room").annotate(members=Count("pk"))
    return dict(found.values_list("room", "members"))


def _present(rooms: Collection[int]) -> QuerySet[RoomMember]:
    """The members whose processes beat."""
    return RoomMember.objects.using(database()).filter(
        room__in=rooms, process__beat_at__gt=before(process.ALIVE)
    )


# -- statements -----------------------------------------------------------------------------------


def _hold_rooms(connection: BaseDatabaseWrapper, rooms: set[int]) -> tuple[set[int], set[int]]:
    """The rooms that are there until the transaction ends, and those that somebody holds.

    Without it a room that goes meanwhile would be found out at COMMIT, and take down the whole
    batch; nor does the batch wait for anybody who might wait for it.
    """
    found = Room.objects.using(connection.alias).filter(pk__in=rooms).order_by()
    if connection.vendor != "postgresql":  # SQLite: the transaction has the lock
        return set(found.values_list("pk", flat=True)), set()
    ids = ", ".join(map(str, sorted(rooms)))  # integers of ours
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {Room._meta.db_table} WHERE id IN ({ids}) "  # noqa: S608
            "FOR KEY SHARE SKIP LOCKED"
        )
        here = {id for (id,) in cursor.fetchall()}
    if len(here) == len(rooms):
        return here, set()
    return here, set(found.values_list("pk", flat=True)) - here


def _delete(connection: BaseDatabaseWrapper, keys: Iterable[Key]) -> set[Key]:
    """Take rows away, but for those that somebody holds, which are returned: most likely they go
    with their room or process. Who deletes those takes their rows in another order, and we would
    wait for each other."""
    pairs = list(keys)
    held: set[Key] = set()
    table = RoomMember._meta.db_table
    skip = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for start in range(0, len(pairs), MOST_PAIRS):
            part = pairs[start : start + MOST_PAIRS]
            places = ", ".join(["(%s, %s)"] * len(part))
            values = [value for pair in part for value in pair]
            these = f"FROM {table} WHERE (room_id, connection) IN (VALUES {places})"
            cursor.execute(f"DELETE FROM {table} WHERE id IN (SELECT id {these}{skip})", values)  # noqa: S608
            if skip and cursor.rowcount < len(part):
                cursor.execute(f"SELECT room_id, connection {these}", values)
                held.update(cursor.fetchall())
    return held
