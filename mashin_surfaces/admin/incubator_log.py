"""The log of a namespace as its page shows it: the newest first, of a type, of an agent.

No index finds a type or an agent: so many entries are looked through for one page and no more,
and the page says where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from ..dialects.incubator import is_glob, matches
from ..rooms import log
from ..rooms.events import Event
from ..rooms.models import Room
from .tables import MOST_SHOWN, moment

#: Entries that one page shows, looks through, and reads at once.
MOST_ENTRIES: Final = 50
MOST_LOOKED: Final = 5_000
CHUNK: Final = 500
#: Characters that a filter has at most.
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What is asked for. ``type``: a glob as in ``types`` of a socket, for entries that are no
    events the entry's own type; ``since`` and ``before``: offsets, neither of them included."""

    type: str = ""
    agent: str = ""
    since: int = 0
    before: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> LogFilter:
        """Out of the page's address; what can't be read asks for nothing."""
        return cls(
            str(query.get("type", "")).strip()[:_LONGEST],
            str(query.get("agent", "")).strip()[:_LONGEST],
            _number(query.get("since")) or 0,
            _number(query.get("before")),
        )

    @property
    def problem(self) -> str:
        """What is wrong with it, as a sentence."""
        if self.type and not is_glob(self.type):
            return _("%s can't be a type: * stands for one part between dots.") % self.type
        return ""

    @property
    def is_chosen(self) -> bool:
        return bool(self.type or self.agent or self.since)

    def address(self, before: int | None = None) -> str:
        """The query string of the same page, and of the one before that offset."""
        asked = {"type": self.type, "agent": self.agent, "since": self.since, "before": before}
        return urlencode({name: value for name, value in asked.items() if value})

    def wants(self, type: str, agent: str) -> bool:
        if self.agent and agent != self.agent:
            return False
        return not self.type or matches((self.type,), type)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table."""

    offset: str
    at: SafeString
    type: str
    agent: str
    payload: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """``older``: the query string of the entries before these; ``stopped_at``: the offset at which
    looking ended before the page was full."""

    entries: list[Entry]
    older: str = ""
    stopped_at: str = ""


def log_page(room: Room, wanted: LogFilter) -> LogPage:
    """The entries that are asked for, of those that are kept."""
    if wanted.problem:
        return LogPage([])
    first = max(room.floor, wanted.since)
    end = room.head if wanted.before is None else min(room.head, wanted.before - 1)
    last_look = max(first, end - MOST_LOOKED)
    found: list[Entry] = []
    while end > last_look:
        begin = max(last_look, end - CHUNK)
        for event in reversed(log.read(room.pk, begin, end - begin)):
            type = _type_of(event)
            if wanted.wants(type, event.actor):
                found.append(_entry(event, type))
                if len(found) == MOST_ENTRIES:
                    is_last = event.offset <= first + 1
                    return LogPage(found, "" if is_last else wanted.address(event.offset))
        end = begin
    if end <= first:
        return LogPage(found)
    return LogPage(found, wanted.address(end + 1), str(end + 1))


def _type_of(event: Event) -> str:
    if event.type != "event":
        return event.type
    return str(orjson.loads(event.payload)["event_type"])


def _entry(event: Event, type: str) -> Entry:
    payload = event.payload
    if event.type == "event":
        payload = orjson.dumps(orjson.loads(payload)["data"]).decode()
    return Entry(
        str(event.offset),
        moment(event.at),
        type,
        event.actor or "–",
        Truncator(payload).chars(MOST_SHOWN),
    )


def _number(text: Any) -> int | None:
    text = str(text or "").strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None
