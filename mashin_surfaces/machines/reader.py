"""What all readers of mashinTalk share: telling problems, remembering places, reading values.

A line that is wrong is told once and left out; the lines around it are still read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from .definition import Field, Part
from .expressions import ExpressionError, parse_expression, parse_template
from .grammar import read
from .line_parts import Constant, FieldLine, LineError, Quoted, Word, make_field
from .lines import Line, Source
from .problems import Path, Problem
from .scanning import on_lines, text_end
from .validation import problems_of
from .wording import found_at, similar

PartType = TypeVar("PartType", bound=Part)

_KEY: Final = re.compile(r"[^\W\d]\w*(?:\.\w+)*(?=\s*:)")
_COMMENT_LINE: Final = re.compile(r"\n(?:[ \t]*\n)*([ ]*)//")
_COLON: Final = re.compile(r"\s*:\s*")


@dataclass(frozen=True, slots=True)
class Key:
    """``key: `` at the beginning of a line; ``at`` is where its value begins."""

    name: str
    is_quoted: bool
    at: int


@dataclass(frozen=True, slots=True)
class Captured:
    """The source of an expression; ``places``: line and column of each of its lines."""

    text: str
    places: tuple[tuple[int, int], ...]


class Reader:
    """One source being read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.source_map: dict[Path, tuple[int, int]] = {}
        #: The lines of expressions on several lines, whose comments are part of them.
        self.expression_lines: set[int] = set()
        self._told: set[int] = set()

    # -- telling ---------------------------------------------------------------------------

    def tell(self, message: str, offset: int) -> None:
        """Note a problem; one for each line of the source, the first that is found."""
        self.tell_at(message, *self.source.place(min(offset, len(self.source.text))))

    def tell_at(self, message: str, line: int, column: int) -> None:
        if line not in self._told:
            self._told.add(line)
            self.problems.append(Problem(message, line=line, column=column))

    def mark(self, path: Path, offset: int) -> None:
        """Remember where a part of the definition stands."""
        self.source_map[path] = self.source.place(offset)

    def unexpected(self, line: Line, expected: str, known: Iterable[str] = (), at: int = 0) -> None:
        """Tell that a line is none of those that can stand in its block."""
        while at < len(line.text) and line.text[at].isspace():
            at += 1
        words = " ".join(line.text[at:].split()[:2])
        hint = similar(words, known) or similar(words.partition(" ")[0], known)
        self.tell(f"Found {found_at(line.text, at)}, expected {expected}.{hint}", line.start + at)

    # -- reading ---------------------------------------------------------------------------

    def read(self, rule: str, line: Line, at: int = 0) -> Any:
        """The parts of a line behind ``at``, by a rule of the grammar; None when it is wrong."""
        try:
            return read(rule, line.text[at:])
        except LineError as wrong:
            self.tell(wrong.message, line.start + at + wrong.at)
            return None

    def text_of(self, quoted: Quoted, line: Line, at: int = 0) -> str | None:
        try:
            return quoted.text()
        except LineError as wrong:
            self.tell(wrong.message, line.start + at + wrong.at)
            return None

    def build(
        self, part: type[PartType], path: Path, values: Mapping[str, Any], offset: int
    ) -> PartType | None:
        """A part of the definition; what pydantic refuses is told where it stands."""
        self.source_map.setdefault(path, self.source.place(offset))
        try:
            return part(**values)
        except ValidationError as error:
            problems = problems_of(error, path)
        for problem in problems:
            placed = problem.at(self.source_map)
            line, column = placed.line, placed.column
            if line is None or column is None:
                line, column = self.source.place(offset)
            self.tell_at(problem.message, line, column)
        # What is left is still worth a review: other lines may speak of it.
        wrong = {problem.path[len(path)] for problem in problems if len(problem.path) > len(path)}
        try:
            return part(**{key: value for key, value in values.items() if key not in wrong})
        except ValidationError:
            return None

    def rest(self, line: Line, words: str) -> int:
        """Where a line goes on behind its first words (``"responds with"``)."""
        match = re.match(words.replace(" ", r"\s+") + r"\s*", line.text)
        return match.end() if match else len(line.text)

    def no_rest(self, line: Line, at: int) -> None:
        """Tell what stands behind a line that should have ended."""
        if at < len(line.text):
            self.tell(
                f"Found {found_at(line.text, at)}, expected the end of the line.", line.start + at
            )

    def no_block(self, line: Line) -> None:
        """Tell what stands below a line that has no block."""
        for child in line.children[:1]:
            self.tell(
                f"Found {found_at(child.text, 0)} deeper than the line above, which has no block.",
                child.start,
            )

    # -- key: value ------------------------------------------------------------------------

    def key(self, line: Line, expected: str = '"key: value"') -> Key | None:
        """The key of a line, in quotes or not; None (and told) when there is none."""
        text = line.text
        name, end, is_quoted = "", 0, text.startswith('"')
        if is_quoted:
            end = text_end(text, 0) or 0
            name = self.text_of(Quoted(text[1 : end - 1], 0), line) or ""
        elif match := _KEY.match(text):
            name, end = match.group(), match.end()
        colon = _COLON.match(text, end) if end else None
        if colon is None:
            self.unexpected(line, expected)
            return None
        return Key(name, is_quoted, colon.end())

    def keys(
        self, lines: Iterable[Line], what: str, known: Iterable[str] | None = None
    ) -> Iterator[tuple[Key, Line]]:
        """The lines of a block of ``key: value``, each key once and known."""
        names = None if known is None else tuple(known)
        seen: dict[str, int] = {}
        for line in lines:
            key = self.key(line)
            if key is None:
                continue
            if names is not None and key.name not in names:
                self.tell(
                    f'{what} has no "{key.name}"; it takes {", ".join(names)}.'
                    f"{similar(key.name, names)}",
                    line.start,
                )
            elif key.name in seen:
                self.tell(
                    f'A second "{key.name}"; the first is on line {seen[key.name]}.', line.start
                )
            else:
                seen[key.name] = self.source.place(line.start)[0]
                yield key, line

    # -- constants -------------------------------------------------------------------------

    def constant(self, line: Line, at: int) -> tuple[Any] | None:
        """The JSON value behind ``at``, in brackets or as lines below, as a tuple of one."""
        if line.text[at:].strip() == "" and line.children:
            if _KEY.match(line.children[0].text) or line.children[0].text.startswith('"'):
                return (self.constants(line.children),)
            first = line.children[0]
            line = Line(self.source.clean[first.start : line.last], first.start, line.last, 0)
            at = 0
        elif line.children:
            self.no_block(line)
        try:
            return (read("constant", line.text[at:]),)
        except LineError as wrong:
            self.tell(wrong.message, line.start + at + wrong.at)
            return None

    def constants(self, lines: Iterable[Line], path: Path | None = None) -> dict[str, Any]:
        """A block of ``key: constant`` lines as an object."""
        values: dict[str, Any] = {}
        for key, line in self.keys(lines, "This block"):
            if path is not None:
                self.mark((*path, key.name), line.start)
            if value := self.constant(line, key.at):
                values[key.name] = value[0]
        return values

    def object(self, line: Line, at: int, path: Path) -> dict[str, Any]:
        """What ``given``, ``expect`` and ``assuming`` hold: ``{…}`` behind, or lines below."""
        self.mark(path, line.start)
        if at >= len(line.text):
            return self.constants(line.children, path)
        self.no_block(line)
        if not line.text.startswith("{", at):
            self.unexpected(line, '"{" or lines with key: value below', at=at)
            return {}
        value = self.read("constant", line, at)
        return value if isinstance(value, dict) else {}

    def values(self, line: Line, at: int) -> list[Constant | Word]:
        """``a, b`` or ``"a"`` behind ``at``; empty (and told) when that is wrong."""
        self.no_block(line)
        return self.read("values", line, at) or []

    # -- fields ----------------------------------------------------------------------------

    def fields(self, lines: Iterable[Line], path: Path) -> tuple[Field, ...]:
        """The fields of a block, each name once."""
        fields: list[Field] = []
        seen: dict[str, int] = {}
        for line in lines:
            field = self.field(line, (*path, len(fields)))
            if field is None:
                continue
            if field.name in seen:
                self.tell(
                    f'A second field "{field.name}"; the first is on line {seen[field.name]}.',
                    line.start,
                )
                continue
            seen[field.name] = self.source.place(line.start)[0]
            fields.append(field)
        return tuple(fields)

    def field(self, line: Line, path: Path) -> Field | None:
        self.mark(path, line.start)
        parts: FieldLine | None = self.read("field", line)
        if parts is None:
            return None
        try:
            field = make_field(parts)
        except LineError as wrong:
            self.tell(wrong.message, line.start + wrong.at)
            return None
        if line.children:
            if field.type.name not in {"map", "object"} or field.type.fields:
                self.no_block(line)
                return field
            inner = self.fields(line.children, (*path, "type", "fields"))
            made = field.type.model_copy(update={"name": "object", "fields": inner})
            field = field.model_copy(update={"type": made})
        return field

    # -- expressions -----------------------------------------------------------------------

    def capture(self, line: Line, at: int) -> Captured:
        """The source of what stands behind ``at`` and in the lines below."""
        while at < len(line.text) and line.text[at].isspace() and line.text[at] != "\n":
            at += 1
        first = line.text[at:].rstrip()
        start = line.start + at
        if not line.children and "\n" not in first:
            return Captured(first, (self.source.place(start),))
        if not first.strip() and line.children:
            start = self.source.text.index("\n", line.end) + 1
        raw = self.source.text[start : self._end_of_block(line)].split("\n")
        row, column = self.source.place(start)
        shifts = [column - 1]
        if first.strip() and not first.startswith("\n"):
            tail = raw[1:]
            margin = _margin(tail)
            raw = [raw[0], *(text[margin:] for text in tail)]
            shifts += [margin] * len(tail)
        else:
            margin = _margin(raw)
            raw = [text[margin:] for text in raw]
            shifts = [margin] * len(raw)
        places = [(row + index, shift + 1) for index, shift in enumerate(shifts)]
        self.expression_lines.update(place[0] for place in places)
        while len(raw) > 1 and not raw[0].strip():
            del raw[0], places[0]
        return Captured(on_lines("\n".join(raw)), tuple(places))

    def _end_of_block(self, line: Line) -> int:
        """Where a block ends with the comments in and behind it, if they stand as deep."""
        text, clean = self.source.text, self.source.clean
        end = line.last
        while True:
            stop = text.find("\n", end)
            stop = len(text) if stop < 0 else stop
            if clean[end:stop].strip():
                return end  # something else goes on behind it, on its line
            following = _COMMENT_LINE.match(text, stop)
            if not line.children or not following or len(following[1]) <= line.indent:
                return stop
            end = following.end()

    def expression(
        self,
        captured: Captured,
        path: Path,
        parse: Callable[[str], Any] = parse_expression,
    ) -> str | None:
        """The text of an expression that can be read; None (and told) otherwise."""
        if captured.places:
            self.source_map[path] = captured.places[0]
        if not captured.text:
            line, column = captured.places[0]
            self.tell_at("Found nothing, expected an expression.", line, column)
            return None
        try:
            parse(captured.text)
        except ExpressionError as error:
            row = min(error.line, len(captured.places)) - 1
            line, column = captured.places[row]
            self.tell_at(error.message, line, column + error.column - 1)
            return None
        return captured.text

    def template(self, line: Line, at: int, path: Path) -> str | None:
        """``"text with ${expression}"``; another expression becomes ``${…}``."""
        text = line.text[at:].rstrip()
        self.mark(path, line.start + at)
        if not (text.startswith('"') and text_end(text, 0) == len(text)) or line.children:
            expression = self.expression(self.capture(line, at), path)
            return None if expression is None else f"${{{expression}}}"
        try:
            template = Quoted(text[1:-1], 0).template()
            parse_template(template)
        except LineError as wrong:
            self.tell(wrong.message, line.start + at + wrong.at)
            return None
        except ExpressionError as error:
            self.tell(error.message, line.start + at + _offset_in(text, error))
            return None
        return template


def _margin(lines: list[str]) -> int:
    return min((len(text) - len(text.lstrip(" ")) for text in lines if text.strip()), default=0)


def _offset_in(quoted: str, error: ExpressionError) -> int:
    """Where in a text in quotes an error of its template stands: escapes count twice."""
    column, position = 1, 1
    line = 1
    while position < len(quoted) and (line, column) != (error.line, error.column):
        is_escape = quoted[position] == "\\" and quoted[position + 1 : position + 3] != "${"
        if is_escape and quoted[position + 1 : position + 2] == "n":
            line, column = line + 1, 0
        position += 2 if is_escape else 1
        column += 1
    return position
