"""What the page of an incubator shows, read in a bounded number of queries.

Synchronous, on a thread that may query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..dialects import incubator as dialect
from ..exceptions import Code, Refusal
from ..incubators import metrics, store
from ..incubators.models import Incubator, StateEntry
from ..machines.definition import Field, Type
from ..machines.schemas import Schema
from ..rooms.events import Event
from ..rooms.log import database, read
from ..rooms.models import Room
from .forms import fresh_form, sent_form
from .log_lines import line_of
from .presentation import present_value
from .requests import number_of
from .words import live_words, marked_fields

#: Entries of the log that a page shows, and how many are read to find them behind a filter.
MOST_LINES: Final = 50
MOST_READ: Final = 5_000
CHUNK: Final = 500
#: Keys of the state, claims, agents and types of events that a page shows.
MOST_ROWS: Final = 200
MOST_POSITION: Final = 2**62

#: What the form for an event takes; ``_asked`` says it in the language of the request.
PUBLISHED: Final = Schema.of(
    (
        Field(
            name="event",
            type=Type(name="text"),
            required=True,
            min_length=1,
            max_length=dialect.MOST_NAME,
        ),
        Field(name="data", type=Type(name="any")),
    )
)

#: The room's status → its colour, and its word.
_STATUSES: Final = {
    Room.Status.OPEN: ("good", _("open")),
    Room.Status.PAUSED: ("warn", _("paused")),
    Room.Status.HALTED: ("bad", _("halted")),
    Room.Status.CLOSED: ("quiet", _("closed")),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form sent; ``do`` says which one it was."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.fields.get(name, [""])[-1]

    @property
    def inputs(self) -> dict[str, Sequence[str]]:
        """What was typed."""
        return {name: texts for name, texts in self.fields.items() if name != "do"}


@dataclass(frozen=True, slots=True)
class Look:
    """Which part of the log is looked at. ``before``: entries up to this one; None: the newest.
    ``glob``: only events of these types, "" for the whole log."""

    glob: str = ""
    before: int | None = None

    @classmethod
    def of(cls, request: HttpRequest) -> Look:
        """``?type=&before=``; raises ``Refusal`` (invalid_input)."""
        glob = request.GET.get("type", "").strip()
        if glob and not dialect.is_glob(glob):
            raise Refusal(
                Code.INVALID_INPUT,
                "The filter is a type of events, like task.started; * stands for one part between "
                "dots, like task.*.",
            )
        text = request.GET.get("before", "")
        before = number_of(request, "before", 0, MOST_POSITION) if text else None
        return cls(glob, before)

    def wants(self, event: Event) -> bool:
        if not self.glob:
            return True
        if event.type != "event":
            return False
        return dialect.matches((self.glob,), orjson.loads(event.payload)["event_type"])


def page_of(room: int, look: Look, sent: Sent, refusal: Refusal | None) -> dict[str, Any]:
    """The context of the page; raises ``Refusal`` when the namespace is gone."""
    row = Incubator.objects.using(database()).select_related("room").filter(pk=room).first()
    if row is None:
        raise Refusal(Code.NOT_FOUND, "This namespace is gone.", subject="namespace")
    floor, head = row.room.floor, row.room.head
    events, reached = _entries(room, look, floor, head)
    states = StateEntry.objects.using(database()).filter(room=room, is_deleted=False)
    entries = list(states.order_by("key")[: MOST_ROWS + 1])
    claims, agents = store.claims(room), store.agents(room)
    counted = metrics.snapshot(room)
    types = sorted(counted["eventCounts"].items(), key=lambda each: (-each[1], each[0]))
    look_of_status, word = _STATUSES[Room.Status(row.room.status)]
    is_published = refusal is not None and sent.text("do") == "publish"
    form = (
        sent_form(_asked(), sent.fields, refusal, "publish")
        if is_published
        else fresh_form(_asked(), {}, "publish")
    )
    problem = "" if refusal is None else refusal.message
    return {
        "bus": row,
        "namespace": row.room.key,
        "status": {"look": look_of_status, "word": word, "name": row.room.status},
        "look": look,
        "is_newest": look.before is None,
        "lines": [line_of(event) for event in events],
        "older": reached if reached > floor else None,
        "head": head,
        "reached": head if look.before is None else min(look.before, head),
        "kept_from": floor + 1,
        "epoch": row.room.epoch,
        "agents": agents[:MOST_ROWS],
        "claims": claims[:MOST_ROWS],
        "entries": [
            (entry.key, present_value(entry.value), entry.version, entry.set_by)
            for entry in entries[:MOST_ROWS]
        ],
        "are_more_entries": len(entries) > MOST_ROWS,
        "metrics": counted,
        "types": types[:MOST_ROWS],
        "form": form,
        "problem": marked_fields() if form.has_marks else problem,
        "typed_reason": sent.text("reason"),
        "words": live_words(),
    }


def _asked() -> tuple[Field, ...]:
    event, data = PUBLISHED.fields
    said = {"label": gettext("Event"), "description": gettext("Its type, like task.started.")}
    return event.model_copy(update=said), data.model_copy(update={"label": gettext("Data")})


def _entries(room: int, look: Look, floor: int, head: int) -> tuple[list[Event], int]:
    """The newest wanted entries, the newest first, and the offset up to which nothing was read."""
    top = head if look.before is None else min(look.before, head)
    found: list[Event] = []
    lowest = max(floor, top - MOST_READ)
    while top > lowest and len(found) < MOST_LINES:
        after = max(lowest, top - (CHUNK if look.glob else MOST_LINES))
        for event in reversed(read(room, after, top - after)):
            top = event.offset - 1
            if look.wants(event):
                found.append(event)
                if len(found) == MOST_LINES:
                    return found, top
        top = after
    return found, top
