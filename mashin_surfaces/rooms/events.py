"""The values that rooms deal in: events, what was appended, a room's head."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict


class NewEvent(NamedTuple):
    """What is to be appended. ``payload``: JSON text, as members will get it."""

    type: str
    payload: str
    actor: str = ""
    request_id: str = ""


class Event(NamedTuple):
    """An entry of a log. An event that is not durable has the offset 0: it stands nowhere."""

    offset: int
    type: str
    payload: str
    actor: str
    request_id: str
    at: datetime


class Appended(NamedTuple):
    """Where it stands: offsets from ``first`` to ``last``; ``first > last`` when only the state
    changed."""

    room: int
    epoch: str
    first: int
    last: int


class RoomHead(NamedTuple):
    """A room without its log and state, as it was when somebody looked."""

    id: int
    kind: str
    key: str
    machine: str
    epoch: str
    floor: int
    head: int
    status: str


class Mutation(TypedDict):
    """A change of the state. ``key``: a top-level key, or a JSON Pointer (RFC 6901)."""

    op: Literal["set", "delete"]
    key: str
    value: NotRequired[Any]


class Note(NamedTuple):
    """What is told to some members alone, in no log: a text for everyone who goes by the name
    ``to`` (a connection, a principal), right behind the event with the offset ``after``."""

    to: str
    text: str
    after: int = 0
    #: Whether whoever it is for is in this process.
    is_local: bool = True


class Bell(NamedTuple):
    """What is told after a commit. Without ``events`` a listener reads the log itself.

    ``events``: those from ``first`` to ``last``, or one that is not durable (``first`` 0).
    """

    room: int
    epoch: str
    first: int
    last: int
    events: Sequence[Event] = ()
    notes: Sequence[Note] = ()
