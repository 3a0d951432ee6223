"""What the page of a panel shows, read in a fixed number of queries.

Synchronous, on a thread that may query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from django.utils.translation import gettext as _

from ..exceptions import Refusal
from ..panels import store, suspensions
from ..panels.definition import Manual, PanelTool
from ..panels.models import Panel, Suspension
from ..panels.words import fires
from ..rooms.log import database, read
from .forms import Form, fresh_form, sent_form
from .log_lines import compact, line_of
from .presentation import Shown, present_value
from .tool_forms import input_of
from .words import live_words, marked_fields

#: Entries of the log, and suspensions, that a page shows.
MOST_LINES: Final = 50
MOST_WAITING: Final = 20


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form sent: to a tool, or to a suspension; neither at first."""

    tool: str = ""
    suspension: str = ""
    request_id: str = ""
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks, and what became of what they have sent. ``answered``: a suspension."""

    may_answer: bool
    answered: str = ""
    refusal: Refusal | None = None
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool answered. ``look``: good, warn or bad."""

    look: str
    word: str
    value: Shown | None
    error: str


@dataclass(frozen=True, slots=True)
class ToolCard:
    """A tool with its form. ``id``: in the page; ``request``: sent twice, it counts once."""

    id: str
    name: str
    description: str
    fires: str
    is_json: bool
    form: Form
    request: str
    problem: str
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class WaitingCard:
    """A tool that waits. ``asked``: in words where it is only words, else JSON."""

    row: Suspension
    asked: str
    given: str
    problem: str


def page_of(machine: str, title: str, reader: Reader, sent: Sent) -> dict[str, Any]:
    """The context of the page; the panel is made when nobody has come to it yet.

    Raises ``Refusal`` (conflict) when another panel has its name.
    """
    panel = store.panel_of(machine, title)
    head = panel.room.head
    waiting = suspensions.open_ones(panel.pk, MOST_WAITING + 1)
    events = read(panel.pk, max(0, head - MOST_LINES), MOST_LINES)
    tools = store.tools_of(panel)
    is_elsewhere = sent.tool not in tools and sent.suspension not in {row.pk for row in waiting}
    return {
        "panel": panel,
        "status": store.status_of(len(waiting)),
        "offset": head,
        "epoch": panel.room.epoch,
        "state": present_value(panel.room.state),
        "tools": [
            _tool(tool, f"tool-{number}", reader, sent)
            for number, tool in enumerate(tools.values(), start=1)
        ],
        "waiting": [_waiting(row, reader, sent) for row in waiting[:MOST_WAITING]],
        "are_more_waiting": len(waiting) > MOST_WAITING,
        "may_answer": reader.may_answer,
        "was_answered": bool(reader.answered) and _was_answered(panel, reader.answered),
        "problem": reader.refusal.message if reader.refusal and is_elsewhere else "",
        "lines": [line_of(event) for event in reversed(events)],
        "words": live_words(),
    }


def _was_answered(panel: Panel, id: str) -> bool:
    rows = Suspension.objects.using(database()).filter(panel=panel, pk=id[:32])
    return rows.filter(status=Suspension.Status.ANSWERED).exists()


def _tool(tool: PanelTool, id: str, reader: Reader, sent: Sent) -> ToolCard:
    wanted = input_of(tool)
    is_sent = sent.tool == tool.name
    refusal = reader.refusal if is_sent else None
    if is_sent:
        form = sent_form(wanted.fields, sent.fields, refusal, id)
    else:
        form = fresh_form(wanted.fields, {}, id)
    problem = "" if refusal is None else refusal.message
    return ToolCard(
        id,
        tool.name,
        tool.definition.description or _summary(tool),
        "" if isinstance(tool.definition.trigger, Manual) else fires(tool),
        wanted.is_json,
        form,
        uuid4().hex,
        marked_fields() if form.has_marks else problem,
        _outcome(reader.result) if is_sent and reader.result is not None else None,
    )


def _summary(tool: PanelTool) -> str:
    """The first line of its function's docstring."""
    if tool.definition.machine:
        return ""
    try:
        text = tool.function().function.__doc__ or ""
    except Refusal:
        return ""
    return text.strip().partition("\n")[0]


def _outcome(result: Mapping[str, Any]) -> Outcome:
    """What an ExecutionResult of the wire says to people."""
    match result["status"]:
        case "success":
            return Outcome("good", _("done"), present_value(result.get("returnValue")), "")
        case "suspended":
            return Outcome("warn", _("waits for an answer"), None, "")
        case _:
            return Outcome("bad", _("failed"), None, str(result["error"]["message"]))


def _waiting(row: Suspension, reader: Reader, sent: Sent) -> WaitingCard:
    is_sent = sent.suspension == row.pk
    given = sent.fields.get("given", [""])[-1] if is_sent else ""
    call = row.call if isinstance(row.call, list) else [row.call]
    are_words = all(isinstance(each, str) for each in call)
    asked = "\n".join(call) if are_words else compact(row.call)
    return WaitingCard(
        row, asked, given, reader.refusal.message if is_sent and reader.refusal else ""
    )
