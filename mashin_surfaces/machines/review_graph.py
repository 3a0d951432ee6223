"""Reviews the steps as a graph: circles, what can't stand where it stands, where gates lead to.

What an expression may read of a graph is judged with the expressions (``review_steps.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from .definition import Compute, Decide, Gate, MachineDefinition, Step, StepPart, WaitFor
from .places import steps_within
from .problems import Path, Problem
from .run_graph import RUN_STEPS, Needs, asks_approval, effect_of, in_order, needs_of
from .step_heads import SETTINGS
from .wording import similar

_FREE: Final = (Compute, Gate, WaitFor)


def review_graph(definition: MachineDefinition, unread: Collection[str]) -> Iterator[Problem]:
    needs = needs_of(definition)
    for index, step in enumerate(definition.implements.steps):
        here: Path = ("implements", "steps", index)
        yield from _nested(step, here)
        yield from _approval(definition, step, here)
        yield from _settings(step, here)
        if "implements" in unread:  # steps that were not understood may be named
            continue
        yield from _after(step, here, needs)
        if isinstance(step, Gate):
            yield from _gate(step, here, needs)
    if "implements" not in unread:
        yield from _circle(definition, needs)


def _nested(step: Step, here: Path) -> Iterator[Problem]:
    """What only a step of the list itself may be or say."""
    block = "decide" if isinstance(step, Decide) else "retry"
    for inner, path in steps_within(step, here):
        if inner is step:
            continue
        kind = inner.kind.replace("wait_for", "wait for")
        if isinstance(inner, RUN_STEPS):
            yield Problem(
                f"A {kind} can't stand inside a {block}: a run stops between its steps, not "
                'within one. Write it into the list itself, with when: "…".',
                path,
            )
        for key in SETTINGS:
            if getattr(inner, key) != StepPart.model_fields[key].default:
                yield Problem(
                    f'A step inside a {block} has no "{key}"; say it of the {block} itself.',
                    (*path, key),
                )


def _approval(definition: MachineDefinition, step: Step, here: Path) -> Iterator[Problem]:
    """Somebody is asked before a step, about what it will do: not before what may never come."""
    for inner, path in steps_within(step, here):
        effect = effect_of(inner)
        is_certain = path in (here, (*here, "step"))  # itself, or what it repeats
        if effect and not is_certain and asks_approval(definition, inner):
            yield Problem(
                f'"{effect}" needs approval, so it can\'t be asked inside "{step.name}". Write the '
                'ask into the list itself, with when: "…".',
                path,
            )


def _settings(step: Step, here: Path) -> Iterator[Problem]:
    """Settings that mean nothing for the kind of a step."""
    kind = step.kind.replace("wait_for", "wait for")
    if step.estimate is not None and isinstance(step, _FREE):
        yield Problem(f'A {kind} costs nothing: it has no "estimate".', (*here, "estimate"))
    if step.retry_on_crash is not None and isinstance(step, RUN_STEPS):
        yield Problem(
            f'A {kind} outlives a crash: it has no "retry_on_crash".', (*here, "retry_on_crash")
        )
    if isinstance(step, WaitFor) and step.on_timeout is not None and step.timeout is None:
        yield Problem('"on_timeout" never comes without "timeout".', (*here, "on_timeout"))


def _after(step: Step, here: Path, needs: Needs) -> Iterator[Problem]:
    for name in step.after or ():
        if name == step.name:
            yield Problem(f'The step "{name}" is after itself.', (*here, "after"))
        elif name not in needs:
            yield Problem(
                f'"after" names a step "{name}", which is not in the list.{similar(name, needs)}',
                (*here, "after"),
            )


def _circle(definition: MachineDefinition, needs: Needs) -> Iterator[Problem]:
    runnable = set(in_order(needs))
    stuck = [name for name in needs if name not in runnable and name not in needs[name]]
    if not stuck:
        return
    path = [stuck[0]]
    while path[-1] not in path[:-1]:
        following = [need for need in needs[path[-1]] if need in needs and need not in runnable]
        path.append(following[0])
    circle = path[path.index(path[-1]) :]
    if len(circle) == 2:  # a step after itself: told already
        return
    index = next(
        index for index, step in enumerate(definition.implements.steps) if step.name == circle[0]
    )
    told = ", which is after ".join(f'"{name}"' for name in circle)
    yield Problem(
        f"These steps wait for one another: {told}.", ("implements", "steps", index, "after")
    )


def _gate(step: Gate, here: Path, needs: Needs) -> Iterator[Problem]:
    place: Path = (*here, "options")
    for name, count in Counter(option.id for option in step.options).items():
        if count > 1:
            yield Problem(f'A second option "{name}" at the gate "{step.name}".', place)
    for target in {option.branch_to: None for option in step.options if option.branch_to}:
        if target not in needs:
            yield Problem(
                f'"branch_to" names a step "{target}", which is not in the list.'
                f"{similar(target, needs)}",
                place,
            )
        elif step.name not in needs[target]:
            yield Problem(
                f'"branch_to" leads to "{target}", which does not come after the gate; write '
                f"there: after: {step.name}.",
                place,
            )
