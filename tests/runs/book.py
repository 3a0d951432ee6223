"""A run's book: a file in which its effects write down what they begin and end, whatever process
they are in, and a test which of them may go on.

Who waits looks into it every now and then: nothing else is shared by servers, workers and tests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

Word = Literal["begins", "ends", "may_go_on"]


class Line(NamedTuple):
    """``name``: what the effect was called with. ``process``: the id of who wrote it."""

    word: Word
    name: str
    process: int


class Book:
    """The book at a path; an effect gets the path as an input."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, word: Word, name: str) -> None:
        """A line, whole and on the disk when it returns."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{word} {name} {os.getpid()}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)

    def lines(self, word: Word) -> list[Line]:
        """Those with this word, in the order in which they were written."""
        found = (line.split() for line in self.path.read_text().splitlines())
        return [Line(word, name, int(id)) for kind, name, id in found if kind == word]

    # -- what tests ask -------------------------------------------------------------------------

    def begun(self) -> list[str]:
        return [line.name for line in self.lines("begins")]

    def ended(self) -> list[str]:
        return [line.name for line in self.lines("ends")]

    def let(self, *names: str) -> None:
        """The effects called so go on."""
        for name in names:
            self.write("may_go_on", name)

    def executor(self, name: str) -> int:
        """The process that has begun with it last."""
        return next(line.process for line in reversed(self.lines("begins")) if line.name == name)
