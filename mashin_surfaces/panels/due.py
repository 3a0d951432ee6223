"""Tools that fire by themselves: when they are due, and which fire after others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim

from .definition import Cron, Interval, OnChange, OnEvent, PanelTool, Trigger
from .models import Due

#: A trigger that stands so many others behind the first one fires nothing any more.
MOST_DEPTH = 16
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
