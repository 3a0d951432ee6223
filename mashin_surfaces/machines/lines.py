"""A source as lines: what is indented below a line belongs to it.

A line goes on while a bracket is open. What is wrong here (tabs, texts and brackets that are not
closed) is told, and the line goes on repaired, so that the rest of the source is still read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from .scanning import MAX_DEPTH, one_line_end, text_end, without_comments

#: ``(message, offset)``: how a problem is told.
Tell = Callable[[str, int], object]

ENOUGH: Final = 100  # problems with texts and brackets, after which nothing more is read
MAX_BLOCKS: Final = 32  # in one another
SECTIONS: Final = (
    "accepts", "responds with", "achieves", "ensures", "implements", "tools", "verifies",
    "expresses",
)  # fmt: skip

_OPENS: Final = {"(": ")", "[": "]", "{": "}"}
_SIGN: Final = re.compile(r"[\"'()\[\]{}\n]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufdd0-\ufdd2\ufeff]")
_LINE_START: Final = re.compile(r"^([ \t]*)(?=[^ \t\n])", re.MULTILINE)
_CLOSER: Final = re.compile(r"[)\]}]")
SECTION_START: Final = re.compile(
    rf"[ \t]*(?:{'|'.join(name.replace(' ', '[ ]+') for name in SECTIONS)})"
    r"(?![\w.]|[ \t]*(?::|as\b|,))"
)


@dataclass(slots=True)
class Line:
    """A logical line. ``text`` is without comments; its character i stands at ``start + i``.

    ``end``: where it ends in the source (without the comment behind it).
    """

    text: str
    start: int
    end: int
    indent: int
    children: list[Line] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Where the last line of this line's block ends."""
        line = self
        while line.children:
            line = line.children[-1]
        return max(line.end, self.end)


class Source:
    """The text with one kind of line end, and where an offset stands in it."""

    def __init__(self, text: str) -> None:
        self.text = one_line_end(text.removeprefix("\ufeff"))
        self.clean = without_comments(self.text)
        self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    @property
    def is_flat(self) -> bool:
        """Whether no line is indented deeper than the first: as web pages copy machines."""
        indents = [len(match[1]) for match in _LINE_START.finditer(self.clean)]
        return len(indents) > 1 and len(set(indents)) == 1


def logical_lines(source: Source, tell: Tell) -> list[Line]:
    """The lines that are not empty, in order, without their blocks."""
    for match in islice(_CONTROL.finditer(source.text), ENOUGH):
        code = ord(match.group())
        tell(f"Found the character U+{code:04X}, which has no place in a source.", match.start())
    return list(_Lines(source, tell).read())


class _Lines:
    def __init__(self, source: Source, tell: Tell) -> None:
        self.source = source
        self.clean = source.clean
        self._tell = tell
        self._told = 0
        self.is_flat = source.is_flat

    def read(self) -> Iterator[Line]:
        position = 0
        while match := _LINE_START.search(self.clean, position):
            if self._told > ENOUGH:
                return
            start = match.end()
            indent = len(match[1])
            if "\t" in match[1]:
                self.tell("Found a tab, expected spaces: indent with two spaces.", match.start())
                indent = len(match[1].expandtabs(2))
            end, missing = self._end_of_line(start, indent)
            text = self.clean[start:end].rstrip()
            yield Line(text + missing, start, start + len(text), indent)
            position = self._physical_end(end)

    def tell(self, message: str, offset: int) -> None:
        self._told += 1
        self._tell(message, offset)

    def _end_of_line(self, start: int, indent: int) -> tuple[int, str]:
        """Where the logical line ends, and what must be added to close what is open."""
        clean = self.clean
        open_: list[tuple[str, int]] = []
        position = start
        while match := _SIGN.search(clean, position):
            sign, here = match.group(), match.start()
            position = here + 1
            if sign in "\"'":
                end = text_end(clean, here)
                if end is None:
                    return self._unclosed_text(here, sign, open_)
                position = end
            elif sign in _OPENS:
                if len(open_) == MAX_DEPTH:
                    self.tell(f"Brackets are nested deeper than {MAX_DEPTH} levels.", here)
                    return self._physical_end(here), self._closers(open_)
                open_.append((sign, here))
            elif sign != "\n":
                if not open_ or _OPENS[open_[-1][0]] != sign:
                    expected = (
                        f'expected "{_OPENS[open_[-1][0]]}"' if open_ else "nothing opened it"
                    )
                    self.tell(f'Found "{sign}", {expected}.', here)
                    return here, self._closers(open_)
                open_.pop()
            elif not open_:
                return here, ""
            elif not self._goes_on(position, indent):
                opened, offset = open_[-1]
                line = self.source.place(here)[0]
                self.tell(
                    f'The "{opened}" is not closed where its line ends (line {line}); what is '
                    "inside stands deeper than the line that opens it.",
                    offset,
                )
                return here, self._closers(open_)
        if open_:
            opened, offset = open_[-1]
            self.tell(f'The "{opened}" that opens here is never closed.', offset)
        return len(clean), self._closers(open_)

    def _unclosed_text(
        self, start: int, quote: str, open_: list[tuple[str, int]]
    ) -> tuple[int, str]:
        end = self._physical_end(start)
        hole = self.clean.find("${", start, end)
        if hole >= 0 and quote in self.clean[hole:end]:
            self.tell(
                'The "${" is not closed by "}" in its text; write \\${ for the characters alone.',
                hole,
            )
        else:
            self.tell(f"The text that begins here has no closing {quote} on its line.", start)
        return start, f'"…"{self._closers(open_)}'

    def _physical_end(self, start: int) -> int:
        end = self.clean.find("\n", start)
        return len(self.clean) if end < 0 else end

    @staticmethod
    def _closers(open_: list[tuple[str, int]]) -> str:
        return "".join(_OPENS[sign] for sign, _ in reversed(open_))

    def _goes_on(self, position: int, indent: int) -> bool:
        """Whether the next line that is not empty belongs to the open bracket."""
        match = _LINE_START.search(self.clean, position)
        if match is None:
            return True  # never closed: told at the end
        if _CLOSER.match(self.clean, match.end()):
            return True
        if self.is_flat:
            return SECTION_START.match(self.clean, match.end()) is None
        return len(match[1].expandtabs(2)) > indent


def nested(lines: list[Line], tell: Tell) -> list[Line]:
    """The lines with their blocks: a line belongs to the last line that stands less deep."""
    roots: list[Line] = []
    above: list[Line] = []
    for line in lines:
        while above and above[-1].indent >= line.indent:
            above.pop()
        if len(above) > MAX_BLOCKS:
            tell(f"Blocks are nested deeper than {MAX_BLOCKS} levels.", line.start)
            continue
        (above[-1].children if above else roots).append(line)
        above.append(line)
    return roots
