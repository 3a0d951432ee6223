"""Topics of machines: rooms to which results are published, from any code.

publish("live_metrics", {"value": 42}, topic="cpu")     # a view, a task, a command, a signal
await apublish("live_metrics", {"value": 42}, topic="cpu")
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import Any

from django.db import DatabaseError, connections

from ..commit import CommitFailed
from ..exceptions import Code, Refusal
from ..machines.registry import CompiledMachine, Snapshot, registry
from ..machines.schemas import dumps
from . import doorbell
from .appending import RoomIsGone
from .events import Bell, Event, NewEvent
from .log import aappend, append, database, room_of, room_threads
from .models import Room

#: Most characters of a topic's name.
MOST_CHARACTERS = 100
#: The type of a topic's events.
RESULT = "result"
#: Rooms whose ids are remembered, and for how many seconds: a topic that nobody needed may be
#: trimmed and made anew, and who publishes without a log would never notice.
MOST_KNOWN = 10_000
KNOWN = 60.0

_known: dict[tuple[str, str], tuple[int, float]] = {}


def publish(machine: str, value: Any, topic: str = "", *, durable: bool = True) -> int | None:
    """Give ``value``, as ``responds with`` declares it, to everyone who is subscribed.

    Returns its offset in the topic's log, once it is committed; inside ``atomic()`` it is told
    after that transaction's commit, if there is one. Not ``durable``: it is in no log, costs no
    transaction, and who is not connected at this moment never gets it; returns None.

    Raises ``Refusal`` (not_found: no such machine; invalid_output; invalid_input: the topic's
    name) and ``CommitFailed``.
    """
    event = _event(_machine(machine, registry.current()), value)
    room = room_of_topic(machine, topic)
    if not durable:
        _ring(room, event)
        return None
    try:
        return append(room, [event]).last
    except RoomIsGone:  # trimmed, since nobody needed it for long
        forget_room(machine, topic)
        return append(room_of_topic(machine, topic), [event]).last


async def apublish(
    machine: str, value: Any, topic: str = "", *, durable: bool = True
) -> int | None:
    """``publish`` on an event loop. It is not part of any transaction of the caller."""
    event = _event(_machine(machine, await registry.acurrent()), value)
    room = await aroom_of_topic(machine, topic)
    if not durable:
        _ring(room, event)
        return None
    try:
        return (await aappend(room, [event])).last
    except RoomIsGone:
        forget_room(machine, topic)
        return (await aappend(await aroom_of_topic(machine, topic), [event])).last


def room_of_topic(machine: str, topic: str) -> int:
    """The id of a topic's room; one query, once in a while."""
    known = _remembered(machine, topic)
    if known is None:
        check_topic(topic)
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        known = room_of(Room.Kind.TOPIC, f"{machine}:{topic}", machine).id
        if not connections[database()].in_atomic_block:  # else it may be rolled back
            _known[machine, topic] = known, monotonic() + KNOWN
    return known


async def aroom_of_topic(machine: str, topic: str) -> int:
    """``room_of_topic`` on an event loop; raises ``CommitFailed`` when the database is away."""
    known = _remembered(machine, topic)
    if known is None:
        try:
            known = await room_threads.run(room_of_topic, machine, topic)
        except DatabaseError as error:
            if (machine, topic) in _known:  # most likely it is still the same
                return _known[machine, topic][0]
            raise CommitFailed("The topic's room can't be found now.") from error
    return known


def _remembered(machine: str, topic: str) -> int | None:
    known, until = _known.get((machine, topic), (None, 0.0))
    return known if monotonic() < until else None


def forget_room(machine: str, topic: str) -> None:
    """The room that was known is gone: look, or make it, anew."""
    _known.pop((machine, topic), None)


def check_topic(topic: str) -> None:
    """Raise ``Refusal`` (invalid_input) for a name that no topic can have."""
    if len(topic) > MOST_CHARACTERS or (topic and not topic.isprintable()):
        raise Refusal(
            Code.INVALID_INPUT,
            f"A topic is a text of at most {MOST_CHARACTERS} printable characters.",
        )


def _machine(name: str, snapshot: Snapshot) -> CompiledMachine:
    compiled = snapshot.machines.get(name)
    if compiled is None or not compiled.enabled:
        raise Refusal(Code.NOT_FOUND, f'There is no machine "{name}".')
    return compiled


def _event(machine: CompiledMachine, value: Any) -> NewEvent:
    return NewEvent(RESULT, dumps(machine.responds.check_output(value)).decode())


def _ring(room: int, event: NewEvent) -> None:
    doorbell.ring([Bell(room, "", 0, 0, [Event(0, *event, datetime.now(UTC))])])
