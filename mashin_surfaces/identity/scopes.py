"""Scopes: what a credential may be used for, as a set of strings with globs.

``machines:run`` covers ``machines:run:echo``; ``*`` stands for any run of characters, colons too.
What a surface wants, and what a Django user may do, is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Answers that one set remembers; the wanted scopes of a site's surfaces are far fewer.
MOST_ANSWERS = 1024


class Scopes:
    """A frozen, hashable set of held scopes.

    Raises ``ValueError`` for what is no scope: a scope is text without spaces, at least one
    character long.
    """

    __slots__ = ("_answers", "_globs", "_hash", "names")

    names: frozenset[str]

    def __init__(self, names: Iterable[object] = ()) -> None:
        held = []
        for name in (names,) if isinstance(names, str) else names:
            if not isinstance(name, str) or not name or any(map(str.isspace, name)):
                raise ValueError(f"{name!r} is no scope: write text without spaces.")
            held.append(name)
        self.names = frozenset(held)
        self._globs = tuple(name.split("*") for name in self.names if "*" in name)
        self._hash = hash(self.names)
        self._answers: dict[str, bool] = {}

    def covers(self, wanted: str) -> bool:
        """Whether one of the held scopes covers the wanted one."""
        answer = self._answers.get(wanted)
        if answer is None:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            answer = self._answers[wanted] = self._judge(wanted)
        return answer

    def _judge(self, wanted: str) -> bool:
        if wanted in self.names:
            return True
        end = wanted.find(":")
        while end != -1:
            if wanted[:end] in self.names:
                return True
            end = wanted.find(":", end + 1)
        return any(_matches(parts, wanted) for parts in self._globs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scopes) and self.names == other.names

    def __repr__(self) -> str:
        return f"Scopes({sorted(self.names)!r})"


def _matches(parts: list[str], wanted: str) -> bool:
    """Glob match by the texts between the stars; linear, where a regex can be made to backtrack."""
    first, *middle, last = parts
    if len(wanted) < len(first) + len(last):
        return False
    if not (wanted.startswith(first) and wanted.endswith(last)):
        return False
    at, end = len(first), len(wanted) - len(last)
    for part in middle:
        found = wanted.find(part, at, end)
        if found == -1:
            return False
        at = found + len(part)
    return True


NOTHING = Scopes()
EVERYTHING = Scopes(("*",))
