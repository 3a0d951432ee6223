"""Who wants in, and whether they may: asked once at a connect, recorded either way."""

from __future__ import annotations

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous


async def enter(door: Door, presented: Presented, *, event: str) -> tuple[Answer, Caller]:
    """The caller; ``answer.refusal`` says why they may not come in, if they may not."""
    caller = Caller(anonymous(()), presented.client)
    refusal = None
    try:
        principal = await authenticate(presented, door.accepted, door.grant)
        caller = Caller(principal, presented.client)
        if not door.admits(principal):
            raise Refusal(Code.FORBIDDEN, door.wants)
    except Refusal as caught:
        refusal = caught
    return await note(door, caller, event=event, refusal=refusal), caller
