"""What is done to a bus from outside of it: halted, paused, resumed, reset, a claim freed.

Admitted at the doors of ``doors.py``, done as ``bus.py`` and ``store.py`` do it for sockets and
HTTP, and recorded. Each raises ``Recorded``: what is refused has its row, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from ..dialects.incubator import Control
from ..exceptions import Code, Recorded, Refusal
from ..governance.door import Door
from ..governance.govern import Caller, admit, note
from ..machines.json_values import dumps
from ..rooms.appending import RoomIsGone
from ..rooms.log import room_threads
from . import bus, store
from .doors import Verb, bus_door
from .models import Incubator

T = TypeVar("T")


async def control(incubator: Incubator, command: Control, caller: Caller) -> None:
    """Halt, pause or resume the namespace, or one agent of it."""
    by = caller.principal.name
    given = {"command": command.command, "reason": command.reason, "target": command.target}
    await _act(incubator, caller, given, lambda writer: writer.control(command, by=by))


async def free(incubator: Incubator, resource: str, fence: int, caller: Caller) -> None:
    """Take a resource from its owner. ``fence``: of the claim that is meant; a later one stays."""
    given = {"free": resource, "fence": fence}
    await _act(incubator, caller, given, lambda writer: writer.free(resource, fence))


async def reset(incubator: Incubator, caller: Caller) -> str:
    """Clear log, state, claims and the account; the new epoch."""
    door = _door("reset", incubator)
    by = caller.principal.name
    work = partial(clear, incubator.pk, door, caller, by)
    return await _admitted(door, caller, "reset", {"reset": True}, work)


async def clear(room: int, door: Door, caller: Caller, by: str) -> str:
    """``reset`` of a caller who was admitted at the door; ``by``: who is told to have done it.

    Raises ``Refusal`` when the namespace is gone, ``Recorded`` when it can't be recorded.
    """
    try:
        epoch = await room_threads.run(store.reset, room, by)
    except RoomIsGone:
        raise Refusal(Code.NOT_FOUND, "This namespace is gone.", subject="namespace") from None
    answer = await note(door, caller, event="reset", raw=b'{"reset":true}')
    if answer.refusal is not None:
        raise Recorded(answer.refusal, answer.request_id)
    return epoch


async def _act(
    incubator: Incubator, caller: Caller, given: dict[str, Any], do: Callable[[bus.Writer], Any]
) -> None:
    door = _door("control", incubator)
    actor = bus.Actor(caller, caller.principal.name)

    async def work() -> None:
        await bus.act(incubator.pk, door, actor, given, do)

    await _admitted(door, caller, "message", given, work)


async def _admitted(
    door: Door,
    caller: Caller,
    event: str,
    given: dict[str, Any],
    work: Callable[[], Awaitable[T]],
) -> T:
    try:
        admit(door, caller.principal)
        return await work()
    except Recorded:
        raise
    except Refusal as refusal:
        answer = await note(door, caller, event=event, refusal=refusal, raw=dumps(given))
        raise Recorded(answer.refusal or refusal, answer.request_id) from None


def _door(verb: Verb, incubator: Incubator) -> Door:
    return bus_door(verb, incubator.room.key, incubator.machine)
