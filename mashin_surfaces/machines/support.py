"""What the language has and this version does not do yet: read, and refused at load by name.

A part that arrives takes its line out of ``NOT_YET``; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .definition import (
    FLOW_NAMED,
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    GotoFlow,
    MachineDefinition,
    OtherSurface,
    Recall,
    Remember,
    RunFlow,
    Step,
    Type,
    WaitFor,
    WebsocketSurface,
)
from .places import fields_of, has_incubator, steps_of
from .problems import Path, Problem

NOT_YET: Final = frozenset(
    {
        "on_timeout: flow",
        "wait for … channel",
        "on failure",
        "flows",
        "run flow",
        "goto flow",
        "state",
        "remember",
        "recall",
        "action",
        "ask … of",
        'ask … from "@…"',
        "ask … from …, to",
        "with tools",
        "authority",
        "guards",
        "needs",
        "max_tokens in limits without an incubator",
        "webhook",
        "a2a",
        "mcp",
        "publishes",
        "subscribes",
        "type file",
    }
)
_STEPS: Final[dict[type[object], str]] = {
    RunFlow: "run flow",
    GotoFlow: "goto flow",
    Remember: "remember",
    Recall: "recall",
    Action: "action",
    AskMachine: "ask … of",
}


def unsupported(definition: MachineDefinition) -> list[Problem]:
    """A problem for each part of a definition that is not supported yet."""
    return [
        Problem(f"not supported yet: {name}", path)
        for name, path in _features(definition)
        if name in NOT_YET
    ]


def _features(definition: MachineDefinition) -> Iterator[tuple[str, Path]]:
    """The names of what a definition uses, as ``NOT_YET`` has them."""
    yield from _rules(definition)
    implements = definition.implements
    for key, part in (
        ("on failure", implements.on_failure),
        ("flows", implements.flows),
        ("state", implements.state),
    ):
        if part:
            yield key, ("implements", key.replace(" ", "_"))
    for step, path in steps_of(definition):
        yield from _step(step, path)
    for index, surface in enumerate(definition.expresses):
        if isinstance(surface, OtherSurface):
            yield surface.kind, ("expresses", index)
        elif isinstance(surface, WebsocketSurface):
            yield f"dialect: {surface.dialect}", ("expresses", index, "dialect")
    for field, path in fields_of(definition):
        if _has_file(field.type):
            yield "type file", path


def _rules(definition: MachineDefinition) -> Iterator[tuple[str, Path]]:
    ensures = definition.ensures
    permissions, limits = ensures.permissions, ensures.limits
    counts_tokens = limits.max_tokens is None or has_incubator(definition)
    for name, present, path in (
        ("authority", bool(permissions.authority), ("permissions", "authority")),
        ("guards", bool(ensures.guards), ("guards",)),
        ("needs", bool(ensures.needs), ("needs",)),
        ("max_tokens in limits without an incubator", not counts_tokens, ("limits", "max_tokens")),
    ):
        if present:
            yield name, ("ensures", *path)


def _step(step: Step, path: Path) -> Iterator[tuple[str, Path]]:
    if type(step) in _STEPS:
        yield _STEPS[type(step)], path
    if isinstance(step, WaitFor) and FLOW_NAMED.fullmatch(step.on_timeout or ""):
        yield "on_timeout: flow", (*path, "on_timeout")
    if isinstance(step, WaitFor) and step.channel is not None:
        yield "wait for … channel", (*path, "channel")
    if isinstance(step, AskModel) and step.tools:
        yield "with tools", (*path, "tools")
    if isinstance(step, AskEffect):
        if step.source.startswith("@"):
            yield 'ask … from "@…"', (*path, "source")
        if step.mode is not None:
            yield "ask … from …, to", (*path, "mode")


def _has_file(kind: Type) -> bool:
    return (
        kind.name == "file"
        or (kind.item is not None and _has_file(kind.item))
        or any(_has_file(field.type) for field in kind.fields)
    )
