"""A machine's own steps as a graph: which needs which, in what order they can run, and whether
the machine is a *run*: one that waits for people or events, or starts others.

Only the list under ``implements`` is a graph; what stands inside a ``decide`` or a ``retry`` is
part of that step. What a graph may not be is said in ``review_graph.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from heapq import heapify, heappop, heappush
from typing import Final

from .definition import (
    AskEffect,
    AskModel,
    Gate,
    Launch,
    LaunchMany,
    MachineDefinition,
    Step,
    WaitFor,
    walk,
)

#: Name of a step → the names of those that are done before it.
Needs = Mapping[str, tuple[str, ...]]

#: Steps that only a run can take: it waits there, or starts another.
RUN_STEPS: Final = (Gate, WaitFor, Launch, LaunchMany)
#: What a model call is called among the permissions.
REASON: Final = "reason"


def needs_of(definition: MachineDefinition) -> dict[str, tuple[str, ...]]:
    """What each step of the list needs: what its ``after`` says, else the step before it."""
    needs: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for step in definition.implements.steps:
        needs[step.name] = before if step.after is None else step.after
        before = (step.name,)
    return needs


def ancestors(needs: Needs, name: str) -> set[str]:
    """All steps that are done before ``name`` starts."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in needs.get(waiting.pop(), ()):
            if need not in found:
                found.add(need)
                waiting.append(need)
    return found


def in_order(needs: Needs) -> list[str]:
    """The steps so that each comes after what it needs: in the order given, where that is so.

    Steps of a circle, and what needs them, are left out. A need that is no step holds up nothing.
    """
    names = list(needs)
    place = {name: index for index, name in enumerate(names)}
    dependants: dict[str, list[str]] = {name: [] for name in names}
    open_needs: dict[str, int] = {}
    for name in names:
        wanted = {need for need in needs[name] if need in place}
        open_needs[name] = len(wanted)
        for need in wanted:
            dependants[need].append(name)
    ready = [place[name] for name in names if not open_needs[name]]
    heapify(ready)
    order: list[str] = []
    while ready:
        order.append(names[heappop(ready)])
        for dependant in dependants[order[-1]]:
            open_needs[dependant] -= 1
            if not open_needs[dependant]:
                heappush(ready, place[dependant])
    return order


def steps_in_order(definition: MachineDefinition) -> tuple[Step, ...]:
    """The steps of the list as they run one after the other."""
    steps = {step.name: step for step in definition.implements.steps}
    return tuple(steps[name] for name in in_order(needs_of(definition)))


def ends_of(needs: Needs) -> tuple[str, ...]:
    """The steps that no other needs. The output of the last of them that ran is the machine's."""
    needed = {need for wanted in needs.values() for need in wanted}
    return tuple(name for name in needs if name not in needed)


# -- runs ---------------------------------------------------------------------------------------


def is_run(definition: MachineDefinition) -> bool:
    """Whether the machine can't be answered at once: somebody has to decide, or to come."""
    return waits(definition) or any(
        asks_approval(definition, step) for step in definition.implements.steps
    )


def waits(definition: MachineDefinition) -> bool:
    """Whether the machine waits by itself, or starts other runs: without any approval."""
    return any(isinstance(step, RUN_STEPS) for step in definition.implements.steps)


def asks_approval(definition: MachineDefinition, step: Step) -> bool:
    """Whether ``step``, or one within it, asks an effect that ``requires approval for`` names."""
    patterns = definition.ensures.permissions.requires_approval
    return bool(patterns) and any(
        covers(patterns, effect) for each in walk((step,)) if (effect := effect_of(each))
    )


def effect_of(step: Step) -> str:
    """The effect that a step itself asks, as the permissions call it; "" when it asks none."""
    if isinstance(step, AskModel):
        return REASON
    return step.source if isinstance(step, AskEffect) else ""


def covers(patterns: Sequence[str], effect: str) -> bool:
    """Whether one of the names or globs (``mail.*``) is the effect's."""
    return any(fnmatchcase(effect, pattern) for pattern in patterns)
