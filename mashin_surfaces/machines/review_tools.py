"""Reviews the tools of a definition: names once, triggers that can fire.

Where a tool comes from is judged by who knows the Python tools and the machines that there are:
``unknown_sources``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

from .definition import MachineDefinition, Tool
from .places import has_incubator
from .problems import Path, Problem
from .quantities import parse_duration
from .wording import similar

#: Milliseconds between two runs of a tool at least.
SHORTEST_INTERVAL: Final = 100
MOST_TOOLS: Final = 100
MOST_SOURCE: Final = 64
#: Characters of a glob on event names, and of a key or JSON Pointer; of a capability.
MOST_TRIGGER: Final = 200
MOST_NEED: Final = 200


def review_tools(definition: MachineDefinition) -> Iterator[Problem]:
    if len(definition.tools) > MOST_TOOLS:
        yield Problem(f"A machine has at most {MOST_TOOLS} tools.", ("tools",))
    seen: set[str] = set()
    for index, tool in enumerate(definition.tools):
        here: Path = ("tools", index)
        if tool.name in seen:
            yield Problem(f'A second tool "{tool.name}".', (*here, "name"))
        seen.add(tool.name)
        if not 0 < len(tool.source) <= MOST_SOURCE:
            yield Problem(
                f"A tool comes from a name of 1 to {MOST_SOURCE} characters.", (*here, "source")
            )
        if tool.parallel and not has_incubator(definition):
            yield Problem(
                f'The tool "{tool.name}" is parallel in incubators alone, and this machine has no '
                "such door: on a panel tools run one after the other.",
                (*here, "parallel"),
                severity="warning",
            )
        if problem := _trigger(tool):
            yield Problem(f'The tool "{tool.name}": {problem}', (*here, "trigger_value"))
        for need in tool.needs:
            if not need or len(need) > MOST_NEED or re.search(r"\s", need):
                yield Problem(
                    f'"{need}" is no capability; one is like state:write:count or events:emit:*.',
                    (*here, "needs"),
                )


def unknown_sources(definition: MachineDefinition, known: Collection[str]) -> Iterator[Problem]:
    """Warnings: such a tool can't be run until somebody registers or loads what it comes from.

    ``known``: the names of the registered Python tools, and of the machines that there are.
    """
    for index, tool in enumerate(definition.tools):
        if tool.source not in known and tool.source != definition.name:
            yield Problem(
                f'The tool "{tool.name}" comes from "{tool.source}", which is neither a registered '
                f"Python tool nor a machine.{similar(tool.source, known)}",
                ("tools", index, "source"),
                severity="warning",
            )


def _trigger(tool: Tool) -> str:
    """What is wrong with the value of a trigger; "" when nothing is."""
    value = tool.trigger_value or ""
    match tool.trigger:
        case "manual":
            return "" if tool.trigger_value is None else "a trigger by hand has no value."
        case "every":
            try:
                seconds = parse_duration(value)
            except ValueError as error:
                return f'"every" can\'t be read: {error}'
            if round(1000 * seconds) < SHORTEST_INTERVAL:
                return f'"every" is at least {SHORTEST_INTERVAL}ms.'
        case "cron":
            return cron_problem(value)
        case "on" | "changes":
            if not 0 < len(value) <= MOST_TRIGGER:
                what = "a name or glob of events" if tool.trigger == "on" else "a key of the state"
                return f'"{tool.trigger}" is {what}, of 1 to {MOST_TRIGGER} characters.'
    return ""


def cron_problem(expression: str) -> str:
    """Why it is no cron expression of five fields that ever fires; "" when it is one."""
    if len(expression.split()) != 5:
        return f'"{expression[:50]}" is no cron expression: it has five fields, like "*/5 * * * *".'
    try:
        next(CronSim(expression, datetime.now(UTC)))
    except CronSimError as error:
        return f'"{expression[:50]}" is no cron expression: {error}.'
    except StopIteration:
        return f'"{expression[:50]}" is no cron expression that ever fires.'
    return ""
