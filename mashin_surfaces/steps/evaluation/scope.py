"""What one run's expressions see, and what each of them may still spend."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

MAX_OPERATIONS: Final = 100_000  # calls and items gone through, per expression
MAX_DATA: Final = 1024 * 1024  # bytes, roughly: see ``Scope.grow``
MAX_CALLS: Final = 64  # functions that call one another
MAX_NESTING: Final = 64  # lists and maps in one another

#: Texts up to this length are not counted: the operations that make them are.
SMALL_TEXT: Final = 64
ITEM_SIZE: Final = 8
ENTRY_SIZE: Final = 16
#: Characters that a text method may go through for the price of one operation.
_CHARACTERS_PER_OPERATION: Final = 256


class EvaluationError(Exception):
    """An expression that has no value; the message is a sentence for the machine's author."""


class Scope:
    """The names of a run (``input steps state error``), its time and its chance.

    ``now`` (an aware datetime) and ``random`` are the same for all expressions of the run; give
    them to repeat a run. Both are made at first use when they are not given. ``now`` is the same
    until ``pass_time``.
    ``operations``, ``data`` and ``calls`` count down during one expression.
    """

    __slots__ = (
        "_now",
        "_random",
        "calls",
        "data",
        "error",
        "input",
        "operations",
        "state",
        "steps",
    )

    def __init__(
        self,
        input: dict[str, Any] | None = None,
        *,
        steps: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        now: datetime | None = None,
        random: random.Random | None = None,
    ) -> None:
        self.input = {} if input is None else input
        self.steps: dict[str, Any] = {} if steps is None else steps
        self.state: dict[str, Any] = {} if state is None else state
        self.error = error
        self._now = now
        self._random = random
        self.renew()

    @property
    def now(self) -> datetime:
        if self._now is None:
            self._now = datetime.now(UTC)
        return self._now

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random()  # noqa: S311 - documented as not for secrets
        return self._random

    def pass_time(self) -> None:
        """Another moment: what ``now`` is, is asked anew."""
        self._now = None

    def renew(self) -> None:
        """A full budget, for the next expression."""
        self.operations = MAX_OPERATIONS
        self.data = MAX_DATA
        self.calls = MAX_CALLS

    def spend(self, operations: int) -> None:
        """Count work before it is done; raises ``EvaluationError`` when it is too much."""
        self.operations -= operations
        if self.operations < 0:
            raise EvaluationError(f"The expression takes more than {MAX_OPERATIONS:,} operations.")

    def read(self, text: str) -> None:
        """Count going through ``text`` once."""
        if len(text) > _CHARACTERS_PER_OPERATION:
            self.spend(len(text) // _CHARACTERS_PER_OPERATION)

    def grow(self, size: int) -> None:
        """Count data before it is made: a character is 1, an item 8, an entry of a map 16."""
        self.data -= size
        if self.data < 0:
            raise EvaluationError("The expression makes more than 1 MiB of data.")

    def grow_text(self, length: int) -> None:
        """Count a text of ``length`` characters before it is made."""
        if length > SMALL_TEXT:
            self.grow(length)

    def grow_list(self, length: int) -> None:
        """Count a list of ``length`` items before it is made: its memory and the work."""
        self.spend(length)
        self.grow(length * ITEM_SIZE)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean "…"?`` with a space before it, or nothing."""
    near = difflib.get_close_matches(name[:64], list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    return " Did you mean " + " or ".join(f'"{word}"' for word in near) + "?"


def quote(name: str) -> str:
    """A name as messages show it: not longer than a line."""
    return f'"{name[:60]}…"' if len(name) > 60 else f'"{name}"'
