"""Appending to logs: head, events and state of all rooms of a batch by a few statements, or by one.

In the transaction of the group commit the rooms are locked in the order of their ids; offsets
follow each room's head. What can't be appended (the room is gone, closed, elsewhere than expected)
is told to its own caller and holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..exceptions import Code, Refusal
from .doorbell import MOST_RUNG
from .events import Appended, Bell, Event, Mutation, NewEvent, Note
from .models import Room
from .state import applied
from .statements import (
    OPEN,
    Head,
    append_at_once,
    insert_events,
    is_for_one_statement,
    lock_rooms,
    move_heads,
)


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

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked of its room but that it is open, and nothing else is written."""
        return self.expect is None and not self.mutations and self.also is None and not self.despite

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

    def write_at_once(self, connection: BaseDatabaseWrapper, items: Sequence[Append]) -> bool:
        bells = write_at_once(connection, items, self._held)
        self._bells = bells or []
        return bells is not None

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Append]) -> None:
        self._bells = write(connection, items, held=self._held)

    def settle(self, committed: bool) -> None:
        bells, self._bells = self._bells, []
        if committed and bells:
            self._ring(bells)


def write(
    connection: BaseDatabaseWrapper, items: Sequence[Append], *, held: dict[int, float] | None
) -> list[Bell]:
    """Append what can be, inside the caller's transaction; what to ring once it is committed.

    ``held``: rooms that others hold, and until when they are not waited for; it is kept up to
    date. Without, every room is waited for as long as the database does.
    """
    bells = write_at_once(connection, items, held)
    if bells is not None:
        return bells
    with_state = any(item.mutations for item in items)
    rooms = {item.room for item in items}
    heads, locked = lock_rooms(connection, rooms, with_state=with_state, held=held)
    now = datetime.now(UTC)
    _append_all(connection, items, heads, locked, now)
    insert_events(connection, heads, now)
    move_heads(connection, heads)
    return _bells(heads)


def write_at_once(
    connection: BaseDatabaseWrapper, items: Sequence[Append], held: dict[int, float] | None
) -> list[Bell] | None:
    """``write`` by one statement, which needs no transaction around it; None, and nothing is done,
    when that can't be."""
    if not is_for_one_statement(connection) or not all(item.is_plain for item in items):
        return None
    now = datetime.now(UTC)
    heads = append_at_once(connection, [(item.room, item.events) for item in items], now, held)
    if heads is None:
        return None
    _append_all(connection, items, heads, (), now)  # as the statement did
    return _bells(heads)


def _append_all(
    connection: BaseDatabaseWrapper,
    items: Sequence[Append],
    heads: dict[int, Head],
    locked: Collection[int],
    now: datetime,
) -> None:
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


def _bells(heads: dict[int, Head]) -> list[Bell]:
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


def _append(connection: BaseDatabaseWrapper, item: Append, head: Head, now: datetime) -> None:
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


def append_here(
    items: Iterable[Append], alias: str, ring: Callable[[Sequence[Bell]], None]
) -> None:
    """Append inside the caller's own transaction; it is rung when that commits, if it does."""
    with transaction.atomic(using=alias):
        bells = write(connections[alias], list(items), held=None)
    transaction.on_commit(lambda: ring(bells), using=alias)
