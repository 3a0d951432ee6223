"""Tools that fire by themselves: when they are due, and which fire after others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cronsim import CronSim

from ..exceptions import Code, Refusal
from ..rooms.log import database
from ..rooms.storable import has_nul
from .definition import Cron, Interval, OnChange, OnEvent, PanelTool, Trigger
from .models import Due

#: A trigger that stands so many others behind the first one fires nothing any more.
MOST_DEPTH = 16
#: The kind of a row that somebody made, and nothing that happened on the panel.
BY_HAND = "hand"
#: Kinds of rows that stay, and say when a tool fires next.
CLOCKS = ("interval", "cron")
#: By how much a row may be later than its tool says, before it counts as another tool's: the clocks
#: of two hosts are never quite the same.
TOLERANCE = timedelta(seconds=1)


def next_time(trigger: Trigger, after: datetime, planned: datetime | None = None) -> datetime:
    """When an interval or a cron expression fires next. What was missed is not made up for.

    ``planned``: when it should have fired; an interval keeps its rhythm as long as it can.
    """
    if isinstance(trigger, Interval):
        step = timedelta(milliseconds=trigger.ms)
        due = (planned or after) + step
        return due if due > after else after + step
    if isinstance(trigger, Cron):
        moment: datetime = next(CronSim(trigger.expression, after.astimezone(UTC)))
        return moment
    raise TypeError(f"{trigger!r} does not fire by the clock.")


@dataclass(frozen=True, slots=True)
class Clockwork:
    """How rows have to change so that each tool that fires by the clock has one, with its time."""

    made: list[Due] = field(default_factory=list)
    moved: list[Due] = field(default_factory=list)
    gone: list[Due] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.made or self.moved or self.gone)


def clockwork(
    room: int, tools: Iterable[PanelTool], rows: Iterable[Due], now: datetime
) -> Clockwork:
    """What is to be done to ``rows``: the panel's, of the kinds ``CLOCKS``."""
    timed = {
        tool.name: tool.definition.trigger
        for tool in tools
        if isinstance(tool.definition.trigger, Interval | Cron)
    }
    found = Clockwork()
    seen: set[str] = set()
    for row in rows:
        trigger = timed.get(row.tool)
        if trigger is None or row.tool in seen or row.kind != trigger.type:
            found.gone.append(row)
            continue
        seen.add(row.tool)
        first = next_time(trigger, now)
        is_early = isinstance(trigger, Cron) and now < row.due_at < first
        if row.due_at > first + TOLERANCE or is_early:
            row.due_at = first
            found.moved.append(row)
    for name, trigger in timed.items():
        if name not in seen:
            due_at = next_time(trigger, now)
            found.made.append(Due(panel_id=room, kind=trigger.type, tool=name, due_at=due_at))
    return found


def fired(
    tools: Iterable[PanelTool],
    events: Sequence[dict[str, Any]],
    before: dict[str, Any],
    after: dict[str, Any],
) -> list[tuple[str, str, Any]]:
    """``(kind, tool, payload)`` of the tools that events and changes of the state fire."""
    found: list[tuple[str, str, Any]] = []
    for tool in tools:
        trigger = tool.definition.trigger
        if isinstance(trigger, OnEvent):
            found += [
                ("event", tool.name, event["payload"])
                for event in events
                if trigger.matches(event["name"])
            ]
        elif isinstance(trigger, OnChange) and trigger.value(before) != trigger.value(after):
            found.append(("change", tool.name, None))
    return found


def rows(room: int, depth: int, fires: Iterable[tuple[str, str, Any]], now: datetime) -> list[Due]:
    """The rows of what is fired now, one behind the other."""
    return [
        Due(panel_id=room, kind=kind, tool=tool, payload=payload, depth=depth, due_at=now)
        for kind, tool, payload in fires
    ]


def by_hand(room: int, tool: str, args: Any, principal: str) -> str:
    """Have a tool run in the name of somebody who has no socket: by whatever server looks first.

    Its result is remembered under the request id that comes back, as for any trigger. Raises
    ``Refusal`` (invalid_input).
    """
    if has_nul(args):
        raise Refusal(Code.INVALID_INPUT, "Text with NUL characters can't be kept.")
    request_id = uuid4().hex
    asked = {"args": args, "principal": principal, "requestId": request_id}
    Due.objects.using(database()).create(
        panel_id=room, kind=BY_HAND, tool=tool, payload=asked, due_at=datetime.now(UTC)
    )
    return request_id


def is_queued(room: int, request_id: str) -> bool:
    """Whether nobody has carried out yet what ``by_hand`` asked for."""
    asked = Due.objects.using(database()).filter(panel=room, kind=BY_HAND)
    return asked.filter(payload__requestId=request_id).exists()
