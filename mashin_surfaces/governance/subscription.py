"""Subscribing to a topic: governed and recorded like every access, without an execution."""

from __future__ import annotations

from typing import Any

from ..exceptions import Refusal
from ..machines.schemas import Schema, dumps
from .door import Door
from .govern import Answer, Caller, admit, note


async def govern_subscription(
    door: Door,
    caller: Caller,
    topic: str,
    *,
    field: str | None = None,
    refusal: Refusal | None = None,
    request_id: str | None = None,
) -> tuple[Answer, dict[str, Any]]:
    """Whether the caller may follow ``topic``, and the input with which the machine feeds it.

    Rate, principal and scopes count as for a message. ``field``: the one of ``accepts`` of which
    the topic is a value; it is refused (invalid_input) when it can't be one. ``refusal``: why it
    can't be followed for another reason.
    """
    value: dict[str, Any] = {}
    try:
        admit(door, caller.principal)
        if refusal is not None:
            raise refusal
        if field is not None:
            value = _value(door.machine.compiled.accepts, field, topic)
    except Refusal as caught:
        refusal = caught
    raw = dumps({"subscribe": topic})
    answer = await note(
        door, caller, event="subscribe", refusal=refusal, raw=raw, request_id=request_id
    )
    return answer, value


def _value(accepts: Schema, field: str, topic: str) -> dict[str, Any]:
    """The topic as input. What else ``accepts`` requires is no fault of the topic: a machine that
    is fed does not require it (it would not load), to others the topic is a name alone."""
    try:
        return accepts.coerce({field: [topic]})
    except Refusal as refusal:
        place = f"/{field.replace('~', '~0').replace('/', '~1')}"
        wrong = [item for item in refusal.details or () if item["path"].startswith(place)]
        if wrong:
            raise Refusal(refusal.code, refusal.message, details=wrong) from None
        return {field: topic}
