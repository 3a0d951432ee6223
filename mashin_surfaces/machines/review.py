"""What is wrong with a definition that needs more than one place to judge.

``review`` judges a definition, however it was written; ``examine`` reads a source and reviews it,
and tells everything at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from ..exceptions import DefinitionError
from .definition import MachineDefinition
from .parser import MAX_PROBLEMS, Parsed, read_source
from .problems import Path, Problem
from .review_fields import review_fields
from .review_graph import review_graph
from .review_steps import review_steps
from .review_surfaces import review_limits, review_surfaces
from .review_tools import review_tools
from .support import unsupported

#: Which part of a definition a section makes, where the names differ.
_PARTS: Final = {"responds with": "responds"}
#: What can't be kept as JSON in every database.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def review(
    definition: MachineDefinition,
    effects: Collection[str] | None = None,
    generators: Collection[str] = (),
    *,
    unread: Collection[str] = (),
) -> list[Problem]:
    """All that is wrong (errors) or will surprise (warnings), with paths, without positions.

    ``effects``: the names of the registered effects; None when nobody knows them.
    ``generators``: those of them that yield. ``unread``: parts of the definition that hold less
    than what was written, so that what others say of them can't be judged.
    """
    problems = [
        *_texts(definition.as_json(), ()),
        *review_fields(definition),
        *review_limits(definition),
        *review_steps(definition, effects, generators, unread),
        *review_graph(definition, unread),
        *_tests(definition, unread),
        *review_tools(definition),
        *review_surfaces(definition, unread),
        *unsupported(definition),
    ]
    does_nothing = not definition.implements.steps and not definition.tools
    if does_nothing and not {"implements", "tools"} & set(unread):
        problems.append(
            Problem(
                f'The machine "{definition.name}" has no implements: it answers {{}}.',
                severity="warning",
            )
        )
    return list(dict.fromkeys(problems))


def examine(
    source: str, effects: Collection[str] | None = None, generators: Collection[str] = ()
) -> Parsed:
    """Read a source and review it. The warnings of both are in what comes back.

    Raises ``DefinitionError`` with up to 20 problems of both, each with its place.
    """
    reading = read_source(source)
    found: list[Problem] = []
    if reading.definition is not None:
        unread = {_PARTS.get(name, name) for name in reading.unread}
        for problem in review(reading.definition, effects, generators, unread=unread):
            placed = problem.at(reading.source_map)
            if placed.message.startswith("not supported yet"):
                placed = replace(placed, message=f"{placed.message} (line {placed.line})")
            found.append(placed)
    errors = [problem for problem in found if problem.severity == "error"]
    problems = sorted(
        [*reading.problems, *errors], key=lambda problem: (problem.line or 0, problem.column or 0)
    )
    if problems or reading.definition is None:
        raise DefinitionError(problems[:MAX_PROBLEMS])
    warnings = [problem for problem in found if problem.severity == "warning"]
    return Parsed(reading.definition, reading.source_map, [*reading.warnings, *warnings])


def _texts(value: Any, path: Path) -> Iterator[Problem]:
    """Characters that no database keeps, wherever they stand."""
    if isinstance(value, str):
        if match := _UNSTORABLE.search(value):
            yield Problem(
                f"Found the character U+{ord(match.group()):04X}, which can't be kept.", path
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key, path)
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _tests(definition: MachineDefinition, unread: Collection[str]) -> Iterator[Problem]:
    """Each test once, about fields and steps that are there."""
    from .places import steps_of

    steps = {step.name for step, _ in steps_of(definition)}
    seen: set[str] = set()
    parts = [
        (("verifies", index), test.given, test.expect)
        for index, test in enumerate(definition.verifies)
    ] + [
        (("achieves", "examples", index), example.given, example.expect)
        for index, example in enumerate(definition.achieves.examples)
    ]
    for path, given, expect in parts:
        for key, values, fields, part in (
            ("given", given, definition.accepts, "accepts"),
            ("expect", expect, definition.responds, "responds"),
        ):
            names = {field.name for field in fields}
            if part in unread or (part == "responds" and not names):
                continue
            title = "responds with" if part == "responds" else part
            for name in values:
                if name not in names:
                    yield Problem(f'"{name}" is no field of {title}.', (*path, key, name))
    for index, test in enumerate(definition.verifies):
        if test.name in seen:
            yield Problem(f'A second test "{test.name}".', ("verifies", index))
        seen.add(test.name)
        for name in test.assuming:
            if name not in steps and "implements" not in unread:
                yield Problem(
                    f'The test assumes a step "{name}", which is not there.',
                    ("verifies", index, "assuming", name),
                )
