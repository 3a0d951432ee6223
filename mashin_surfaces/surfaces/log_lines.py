"""Entries of a panel's or a bus's log as lines that people read, all of one shape.

The page's scripts make the same lines of what comes over the socket (``log.js``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from ..machines.json_values import dumps, parse
from ..rooms.events import Event

#: Characters of a line's text; what is longer is cut off.
MOST_TEXT: Final = 400

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. ``name``: of the event, or what else it is; ``by``: who did it, if that counts."""

    offset: int
    at: datetime
    look: str
    name: str
    text: str
    by: str = ""


def line_of(event: Event) -> Line:
    """The line of an entry."""
    payload = parse(event.payload, decimals=False)
    make = _LINES.get(event.type)
    look, name, text = make(payload) if make else ("quiet", event.type, compact(payload))
    by = payload.get("agent_id") or payload.get("owner") or payload.get("by") or ""
    if event.type == "PATCH":
        by = event.actor
    return Line(event.offset, event.at, look, name, _cut(text), str(by))


def compact(value: Any) -> str:
    """JSON in one line; nothing for nothing."""
    return "" if value is None else dumps(value).decode()


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _patch(payload: Payload) -> tuple[str, str, str]:
    changes = [
        f"{each['key']} = {dumps(each.get('value')).decode()}"
        if each["op"] == "set"
        else _("%s deleted") % each["key"]
        for each in payload["mutations"]
    ]
    return "busy", _("state"), ", ".join(changes)


def _emitted(payload: Payload) -> tuple[str, str, str]:
    return "", payload["name"], compact(payload.get("payload"))


def _published(payload: Payload) -> tuple[str, str, str]:
    return "", payload["event_type"], compact(payload.get("data"))


def _changed(payload: Payload) -> tuple[str, str, str]:
    key = payload["key"]
    if payload.get("deleted"):
        return "busy", _("state"), _("%s deleted") % key
    return "busy", _("state"), f"{key} = {dumps(payload['value']).decode()}"


def _claimed(payload: Payload) -> tuple[str, str, str]:
    return "good", _("claim"), f"{payload['resource']}: {payload['status']}"


def _controlled(payload: Payload) -> tuple[str, str, str]:
    reason = payload.get("reason") or ""
    return "warn", payload["command"], reason


_LINES: Final[Mapping[str, Callable[[Payload], tuple[str, str, str]]]] = {
    "PATCH": _patch,
    "EVENT": _emitted,
    "event": _published,
    "state_changed": _changed,
    "claim_changed": _claimed,
    "control": _controlled,
}
