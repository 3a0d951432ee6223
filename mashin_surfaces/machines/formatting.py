"""A source written anew in its canonical form, with its comments.

A comment behind something goes with the first part of the definition on its line; one that has a
line of its own goes above what follows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..exceptions import DefinitionError
from .lines import Source
from .parser import Parsed, parse
from .problems import Path, Problem, SourceMap
from .renderer import render

_COMMENT: Final = re.compile(r"//[^\n]*")


@dataclass(frozen=True, slots=True)
class _Comment:
    text: str
    line: int
    column: int
    is_alone: bool  # on its line


def reformat(source: str) -> str:
    """The canonical form of a source. Raises ``DefinitionError``: also for a comment that stands
    where the canonical form has no place for it."""
    parsed = parse(source)
    rendered = render(parsed.definition)
    comments = _comments_of(source, parsed)
    if comments:
        rendered = _with_comments(rendered, comments, parsed.source_map)
        written = parse(rendered)
        kept = sorted(comment.text for comment in _comments_of(rendered, written))
        if written.definition != parsed.definition or kept != sorted(
            comment.text for comment in comments
        ):
            first = comments[0]
            raise DefinitionError(
                [
                    Problem(
                        "The comments of this source can't all be kept in the canonical form; "
                        "put each on a line of its own.",
                        line=first.line,
                        column=first.column,
                    )
                ]
            )
    return rendered


def _comments_of(text: str, parsed: Parsed) -> list[_Comment]:
    """The comments that are not part of an expression, in order."""
    source = Source(text)
    found: list[_Comment] = []
    position = 0
    while match := _COMMENT.search(source.text, position):
        position = match.start() + 2
        line, column = source.place(match.start())
        # Where a comment stands there are blanks in the clean text; a text keeps its slashes.
        if source.clean.startswith("//", match.start()) or line in parsed.expression_lines:
            continue
        position = match.end()
        before = source.text[match.start() - column + 1 : match.start()]
        found.append(_Comment(match.group().rstrip(), line, column, not before.strip()))
    return found


def _with_comments(rendered: str, comments: list[_Comment], places: SourceMap) -> str:
    lines = rendered.removesuffix("\n").split("\n")
    written = parse(rendered).source_map
    order = sorted((place, len(path), path) for path, place in places.items())
    above: dict[int, list[str]] = {}
    behind: dict[int, list[str]] = {}
    for comment in comments:
        line = _line_of(comment, order, written)
        if line is None:
            above.setdefault(len(lines) + 1, []).append(comment.text)
        elif comment.is_alone:
            above.setdefault(line, []).append(comment.text)
        else:
            behind.setdefault(line, []).append(comment.text)
    result: list[str] = []
    for number, line_text in enumerate([*lines, ""], 1):
        margin = " " * (len(line_text) - len(line_text.lstrip(" ")))
        result += [f"{margin}{text}" for text in above.get(number, ())]
        if number <= len(lines):
            result.append("  ".join([line_text, *behind.get(number, ())]))
    return "\n".join(result) + "\n"


def _line_of(
    comment: _Comment, order: list[tuple[tuple[int, int], int, Path]], written: SourceMap
) -> int | None:
    """The line, in the new source, of what a comment is about; None at the end of the source."""
    for place, _, path in order:
        if place[0] > comment.line or (place[0] == comment.line and not comment.is_alone):
            known = path
            while known and known not in written:
                known = known[:-1]
            return written[known][0] if known in written else 1
    return None
