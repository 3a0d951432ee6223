"""mashinTalk into a ``MachineDefinition``, with the place of each of its parts.

The way: text → lines (``lines``) → blocks (``layout``) → parts (``reader`` and the readers of the
sections, by the rules of ``mashintalk.lark``). What needs more than one place to judge is in
``review``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..exceptions import DefinitionError
from .definition import MachineDefinition
from .layout import lay_out
from .lines import SECTIONS, Line, Source, logical_lines, nested
from .problems import Problem, SourceMap
from .reader import Reader
from .sections import first_words, read_achieves, read_ensures, read_tools, read_verifies
from .step_lines import read_implements
from .surface_lines import read_expresses

MAX_SOURCE: Final = 256 * 1024  # bytes
MAX_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True)
class Parsed:
    """A source that could be read. ``source_map``: where each part of the definition stands."""

    definition: MachineDefinition
    source_map: SourceMap
    warnings: list[Problem]
    #: Lines of expressions on several lines; comments there are part of them.
    expression_lines: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of a source, and what is wrong with the rest.

    ``unread``: the sections with something wrong in them; the definition has the rest of them.
    """

    definition: MachineDefinition | None
    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)
    source_map: SourceMap = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    expression_lines: frozenset[int] = frozenset()


def parse(source: str) -> Parsed:
    """Read a machine. Raises ``DefinitionError`` with up to 20 problems, each with its place."""
    reading = read_source(source)
    if reading.definition is None or reading.problems:
        raise DefinitionError(reading.problems[:MAX_PROBLEMS])
    return Parsed(
        reading.definition, reading.source_map, reading.warnings, reading.expression_lines
    )


def read_source(text: str) -> Reading:
    """Read as much of a machine as can be read."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SOURCE:
        message = f"A source has at most {MAX_SOURCE // 1024} KiB, this has {size // 1024} KiB."
        return Reading(None, [Problem(message, line=1, column=1)])
    source = Source(text)
    reader = Reader(source)
    lines = lay_out(nested(logical_lines(source, reader.tell), reader.tell), source, reader.tell)
    definition = _read_machine(reader, lines)
    reader.problems.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
    return Reading(
        definition,
        reader.problems,
        reader.warnings,
        reader.source_map,
        _unread(reader, lines[0].children if lines else []),
        frozenset(reader.expression_lines),
    )


def _unread(reader: Reader, sections: list[Line]) -> frozenset[str]:
    """The sections that hold a problem."""
    wrong = {problem.line or 0 for problem in reader.problems}
    places = [
        (reader.source.place(line.start)[0], first_words(line, SECTIONS)) for line in sections
    ]
    places.sort(key=lambda place: place[0])
    ends = [*(place[0] for place in places), 1 << 60][1:]
    return frozenset(
        name
        for (first, name), end in zip(places, ends, strict=True)
        if name and any(first <= line < max(end, first + 1) for line in wrong)
    )


def _read_machine(reader: Reader, lines: list[Line]) -> MachineDefinition | None:
    if not lines:
        reader.tell('Found nothing, expected "machine NAME" and its sections.', 0)
        return None
    machine, *others = lines
    for line in others[:1]:
        if first_words(line, ("machine",)):
            reader.tell("Found a second machine; each is a source of its own.", line.start)
        else:
            reader.unexpected(line, "a section of the machine, indented", SECTIONS)
    if first_words(machine, ("machine",)) is None:
        reader.unexpected(machine, '"machine NAME" first', ("machine",))
        return None
    values: dict[str, Any] = {"name": "machine"}
    reader.mark((), machine.start)
    parts = reader.read("machine", machine)
    if parts is not None:
        name, *title = parts
        values["name"] = name.text
        reader.mark(("name",), machine.start + name.at)
        if title:
            values["title"] = reader.text_of(title[0], machine) or ""
            reader.mark(("title",), machine.start + title[0].at)
    if parts is not None:
        _read_sections(reader, machine.children, values)
    else:
        _read_sections(reader, machine.children, values)
    given = {key: value for key, value in values.items() if value is not None}
    return reader.build(MachineDefinition, (), given, machine.start)


def _read_sections(reader: Reader, sections: list[Line], values: dict[str, Any]) -> None:
    seen: dict[str, int] = {}
    for line in sections:
        name = first_words(line, SECTIONS)
        if name is None:
            reader.unexpected(line, f"a section ({', '.join(SECTIONS)})", SECTIONS)
            continue
        if name in seen:
            reader.tell(
                f'A second section "{name}"; the first is on line {seen[name]}.', line.start
            )
            continue
        seen[name] = reader.source.place(line.start)[0]
        reader.no_rest(line, reader.rest(line, name))
        key, read = _SECTIONS[name]
        reader.mark((key,), line.start)
        values[key] = read(reader, line)


_SECTIONS: Final[Mapping[str, tuple[str, Callable[[Reader, Line], Any]]]] = {
    "accepts": ("accepts", lambda reader, line: reader.fields(line.children, ("accepts",))),
    "responds with": (
        "responds",
        lambda reader, line: reader.fields(line.children, ("responds",)),
    ),
    "achieves": ("achieves", read_achieves),
    "ensures": ("ensures", read_ensures),
    "implements": ("implements", read_implements),
    "tools": ("tools", read_tools),
    "verifies": ("verifies", read_verifies),
    "expresses": ("expresses", read_expresses),
}
