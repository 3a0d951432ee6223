"""The fields and steps of a definition, each with its path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .definition import (
    Action,
    AskEffect,
    AskModel,
    Decide,
    Field,
    MachineDefinition,
    Retry,
    Step,
    WaitFor,
    WebsocketSurface,
)
from .problems import Path


def has_incubator(definition: MachineDefinition) -> bool:
    """Whether one of its doors is an incubator's."""
    return any(
        isinstance(surface, WebsocketSurface) and surface.dialect == "incubator"
        for surface in definition.expresses
    )


def steps_of(definition: MachineDefinition) -> Iterator[tuple[Step, Path]]:
    """Every step, nested ones and those of flows too, in the order of the source."""
    implements = definition.implements
    yield from nested_steps(implements.steps, ("implements", "steps"))
    yield from nested_steps(implements.on_failure, ("implements", "on_failure"))
    for index, flow in enumerate(implements.flows):
        path: Path = ("implements", "flows", index)
        yield from nested_steps(flow.steps, (*path, "steps"))
        yield from nested_steps(flow.on_failure, (*path, "on_failure"))


def nested_steps(steps: Sequence[Step], path: Path) -> Iterator[tuple[Step, Path]]:
    """The steps of a list and those within them."""
    for index, step in enumerate(steps):
        yield from steps_within(step, (*path, index))


def steps_within(step: Step, here: Path) -> Iterator[tuple[Step, Path]]:
    """The step itself, which stands ``here``, and those within it."""
    yield step, here
    if isinstance(step, Decide):
        for number, branch in enumerate(step.branches):
            yield from nested_steps(branch.steps, (*here, "branches", number, "steps"))
    elif isinstance(step, Retry):
        yield from steps_within(step.step, (*here, "step"))


def field_lists(definition: MachineDefinition) -> Iterator[tuple[Sequence[Field], Path]]:
    """Every list of fields, those of object types too."""
    lists: list[tuple[Sequence[Field], Path]] = [
        (definition.accepts, ("accepts",)),
        (definition.responds, ("responds",)),
    ]
    for step, path in steps_of(definition):
        if isinstance(step, AskModel | AskEffect | Action):
            lists.append((step.returns, (*path, "returns")))
        elif isinstance(step, WaitFor):
            lists.append((step.fields, (*path, "fields")))
    for fields, path in lists:
        yield from _with_nested(fields, path)


def _with_nested(fields: Sequence[Field], path: Path) -> Iterator[tuple[Sequence[Field], Path]]:
    yield fields, path
    for index, field in enumerate(fields):
        kind, here = field.type, (*path, index, "type")
        while kind.item is not None:
            kind, here = kind.item, (*here, "item")
        if kind.fields:
            yield from _with_nested(kind.fields, (*here, "fields"))


def fields_of(definition: MachineDefinition) -> Iterator[tuple[Field, Path]]:
    """Every field, those within object types too."""
    for fields, path in field_lists(definition):
        for index, field in enumerate(fields):
            yield field, (*path, index)
