"""A room's log: finding rooms, appending, reading, resetting.

Plain functions for any code (a view, a task, a command, a signal); those with an ``a`` in front
are for a running event loop. Appends of one process that wait at the same moment share a
transaction (``commit``). Inside ``transaction.atomic()`` an append belongs to that transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC
from functools import lru_cache
from typing import Any
from uuid import uuid4

from django.conf import settings as django_settings
from django.db import IntegrityError, connections, router, transaction
from django.db.models import DateTimeField, F, Func, QuerySet

from ..commit import CommitFailed, Companion, writer
from ..conf import settings
from ..threads import Threads
from ..timers.moments import exclusive
from . import doorbell
from .appending import Append, AppendSink, RoomIsGone, RoomIsLocked, append_here
from .events import Appended, Bell, Event, Mutation, NewEvent, RoomHead
from .models import Room, RoomEvent

#: Where rooms are read, apart from every other work.
room_threads = Threads("mashin-rooms", lambda: settings.ROOM_THREADS)
#: Seconds between two tries to append to a room that somebody's transaction holds.
RETRY = 0.01

_HEAD = RoomHead._fields
_EVENT = ("offset", "type", "payload", "actor", "request_id", "created_at")
_IN_UTC = Func(
    "created_at", template="%(expressions)s AT TIME ZONE 'UTC'", output_field=DateTimeField()
)


# -- rooms ----------------------------------------------------------------------------------------


def room_of(kind: str, key: str, machine: str = "") -> RoomHead:
    """The room with this kind and key, made when it is not there yet."""
    rooms = Room.objects.using(database())
    found = rooms.filter(kind=kind, key=key).values_list(*_HEAD).first()
    if found is None:
        try:
            with transaction.atomic(using=database()):
                rooms.create(kind=kind, key=key, machine=machine, epoch=uuid4().hex)
        except IntegrityError:  # another process was quicker
            pass
        found = rooms.values_list(*_HEAD).get(kind=kind, key=key)
    return RoomHead(*found)


async def aroom_of(kind: str, key: str, machine: str = "") -> RoomHead:
    """``room_of`` on a thread of the rooms."""
    return await room_threads.run(room_of, kind, key, machine)


def look(rooms: Iterable[int]) -> dict[int, RoomHead]:
    """The heads of these rooms, of those that are still there."""
    found = Room.objects.using(database()).filter(pk__in=list(rooms)).values_list(*_HEAD)
    return {head[0]: RoomHead(*head) for head in found}


async def alook(rooms: Iterable[int]) -> dict[int, RoomHead]:
    """``look`` on a thread of the rooms."""
    return await room_threads.run(look, list(rooms))


def reset(room: int) -> str:
    """Clear log and state and begin a new epoch, which is returned; offsets go on rising.

    Raises ``RoomIsGone``.
    """
    epoch = uuid4().hex
    with exclusive(database()):  # it looks before it writes
        locked = Room.objects.using(database()).select_for_update(no_key=True).filter(pk=room)
        head = locked.values_list("head", flat=True).first()
        if head is None:
            raise RoomIsGone()
        RoomEvent.objects.using(database()).filter(room_id=room).delete()
        Room.objects.using(database()).filter(pk=room).update(
            epoch=epoch, floor=F("head"), state={}
        )
        bell = Bell(room, epoch, head + 1, head)
        transaction.on_commit(lambda: doorbell.ring([bell]), using=database())
    return epoch


async def areset(room: int) -> str:
    """``reset`` on a thread of the rooms."""
    return await room_threads.run(reset, room)


# -- appending ------------------------------------------------------------------------------------


def aappend(
    room: int,
    events: Sequence[NewEvent],
    mutations: Sequence[Mutation] = (),
    *,
    expect: int | None = None,
) -> Coroutine[Any, Any, Appended]:
    """Append events and change the state, together; returns when it is committed.

    ``expect``: only when the head is still at this offset. Raises ``Refusal`` (conflict; not_found
    when the room is closed), ``RoomIsGone``, ``ValueError`` for a mutation that does not fit, and
    ``CommitFailed`` when the database can't take it: then nobody is told.
    """
    return aput(Append(room, events, mutations, expect))


async def aput(item: Append, *companions: Companion) -> Appended:
    """``aappend`` of a request, with other sinks' items in its transaction."""
    deadline = time.monotonic() + settings.LEDGER.WAIT
    while True:
        await writer(database()).put_together(sink, item, *companions)
        if not isinstance(item.problem, RoomIsLocked):
            return item.outcome()
        if time.monotonic() > deadline:
            raise CommitFailed("Somebody's transaction holds this room for too long.")
        await asyncio.sleep(RETRY)


def append(
    room: int,
    events: Sequence[NewEvent],
    mutations: Sequence[Mutation] = (),
    *,
    expect: int | None = None,
) -> Appended:
    """``aappend`` for synchronous code. Inside ``atomic()`` it is part of that transaction: told
    after its commit, undone with it."""
    return put(Append(room, events, mutations, expect))


def put(item: Append) -> Appended:
    """``append`` of a request."""
    if connections[database()].in_atomic_block:
        append_here([item], database(), doorbell.ring)
        return item.outcome()
    deadline = time.monotonic() + settings.LEDGER.WAIT
    while True:
        writer(database()).put_now(sink, item)
        if not isinstance(item.problem, RoomIsLocked):
            return item.outcome()
        if time.monotonic() > deadline:
            raise CommitFailed("Somebody's transaction holds this room for too long.")
        time.sleep(RETRY)


# -- reading --------------------------------------------------------------------------------------


def read(room: int, after: int, limit: int = 500) -> list[Event]:
    """Up to ``limit`` events with offsets above ``after``, in order."""
    after = max(after, 0)
    found = RoomEvent.objects.using(database()).filter(room_id=room, offset__gt=after)
    # There are no holes, so it is known where the part ends. PostgreSQL must be told: until it has
    # heard how long a log has become, it may read and sort all that follows for each part.
    events = _events(found.filter(offset__lte=after + limit), limit)
    if events and events[0].offset == after + 1:
        return events
    return _events(found, limit)  # the beginning is trimmed, or there is no more


def read_kept(room: int, after: int, limit: int = 500) -> tuple[list[Event], RoomHead | None]:
    """``read``, and the room as it is behind that, None when it is gone: what is trimmed meanwhile
    is not read, and stands below the floor that is told."""
    return read(room, after, limit), look([room]).get(room)


def _events(found: QuerySet[RoomEvent], limit: int) -> list[Event]:
    found = found.order_by("offset")
    if connections[database()].vendor != "postgresql" or not django_settings.USE_TZ:
        return [Event(*row) for row in found.values_list(*_EVENT)[:limit]]
    # A time with its zone is read by Django's own code: 10 µs each, five times all the rest of it.
    rows = found.annotate(at=_IN_UTC).values_list(*_EVENT[:-1], "at")[:limit]
    return [
        Event(offset, type, payload, actor, request_id, at.replace(tzinfo=UTC))
        for offset, type, payload, actor, request_id, at in rows
    ]


async def aread(room: int, after: int, limit: int = 500) -> list[Event]:
    """``read`` on a thread of the rooms."""
    return await room_threads.run(read, room, after, limit)


@lru_cache(maxsize=1)
def database() -> str:
    """The alias of the database that has the rooms."""
    return router.db_for_write(Room)


sink = AppendSink(doorbell.ring)
