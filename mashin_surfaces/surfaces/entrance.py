"""Who wants in, and whether they may: asked once at a connect, recorded either way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, note
from ..identity.presented import Presented, answer_subprotocol
from ..identity.principal import Principal, anonymous
from .connection import MOST_WAITING_BYTES, Message, Send, most_bytes
from .denial import deny
from .identify import identify
from .routes import Route

#: What somebody comes to by a socket that belongs to a room: a panel, a run.
T = TypeVar("T")
#: What the principal may come to, and the route of its sockets; or a ``Refusal``.
Find = Callable[[Principal], Awaitable[tuple[T, Route]]]


class Entered(NamedTuple):
    """An upgrade that was accepted. ``door``: by which it goes on."""

    route: Route
    door: Door
    caller: Caller


async def enter(door: Door, presented: Presented, *, event: str) -> tuple[Answer, Caller]:
    """The caller; ``answer.refusal`` says why they may not come in, if they may not."""
    caller = Caller(anonymous(()), presented.client)
    refusal = None
    try:
        caller = await identify(presented, door.accepted, door.grant)
        must_admit(door, caller.principal)
    except Refusal as caught:
        refusal = caught
    return await note(door, caller, event=event, refusal=refusal), caller


async def enter_socket(
    door: Door, find: Find[T], scope: Message, send: Send
) -> tuple[T, Entered] | None:
    """Authenticate, find, record, accept; None when the upgrade was refused (and said so)."""
    presented = Presented.from_scope(scope)
    caller = Caller(anonymous(()), presented.client)
    found: tuple[T, Route] | None = None
    refusal: Refusal | None = None
    try:
        caller = await identify(presented, door.accepted, door.grant)
        found = await find(caller.principal)
        door = found[1].door or door
    except Refusal as caught:
        refusal = caught
    answer = await note(door, caller, event="connect", refusal=refusal)
    if answer.refusal is not None or found is None:
        told = answer.refusal or Refusal(Code.NOT_FOUND, "There is nothing here.")
        await deny(scope, send, told, answer.request_id, door.accepted)
        return None
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": answer_subprotocol(scope.get("subprotocols") or [], []),
            "max_message": max(MOST_WAITING_BYTES, 2 * most_bytes(door)),
        }
    )
    return found[0], Entered(found[1], door, caller)


def must_admit(door: Door, principal: Principal) -> None:
    """Raises ``Refusal`` (forbidden) when the principal lacks a scope of the door."""
    if not door.admits(principal):
        raise Refusal(Code.FORBIDDEN, door.wants)
