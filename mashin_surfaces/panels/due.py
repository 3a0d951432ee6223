"""Tools that fire by themselves: when they are due, and which fire after others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim

from .definition import Cron, Interval, OnChange, OnEvent, PanelTool, Trigger
from .models import Due

#: A trigger that stands so many others behind the first one fires nothing any more.
MOST_DEPTH = 16


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
