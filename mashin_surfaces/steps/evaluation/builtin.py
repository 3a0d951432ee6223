"""Functions that the language brings, and the tables they stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from .scope import EvaluationError, Scope, did_you_mean, quote
from .values import Function, kind

_F = TypeVar("_F", bound=Callable[..., Any])


class Builtin:
    """``function(scope, *values)`` for ``least`` to ``most`` values; ``most`` None: any number."""

    __slots__ = ("function", "least", "most", "name")

    def __init__(
        self, name: str, function: Callable[..., Any], least: int, most: int | None
    ) -> None:
        self.name = name
        self.function = function
        self.least = least
        self.most = most

    def call(self, scope: Scope, values: list[Any], *, hidden: int = 0) -> Any:
        """The result; ``hidden`` values in front are not counted in messages: a method's target."""
        given = len(values)
        if given < self.least or (self.most is not None and given > self.most):
            raise EvaluationError(self._wrong_number(given - hidden, hidden))
        scope.operations -= 1
        if scope.operations < 0:
            scope.spend(0)
        return self.function(scope, *values)

    def _wrong_number(self, given: int, hidden: int) -> str:
        least = self.least - hidden
        if self.most is None:
            wanted = f"at least {least}"
        elif self.most - hidden == least:
            wanted = str(least) if least else "no"
        else:
            wanted = f"{least} to {self.most - hidden}"
        unit = "value" if wanted in ("1", "at least 1") else "values"
        return f"{self.name} takes {wanted} {unit}, not {given}."

    def as_function(self, scope: Scope) -> Function:
        """The function as a value, to be given to ``map`` and the like."""

        def apply(*values: Any) -> Any:
            return self.call(scope, list(values))

        return Function(apply, None if self.most is None else max(self.least, 1))


Table: TypeAlias = dict[str, Builtin]


def entry(
    table: Table, name: str, least: int = 0, most: int | None = -1, *aliases: str, prefix: str = ""
) -> Callable[[_F], _F]:
    """Put the decorated function into ``table``; without ``most`` it takes exactly ``least``."""
    if most == -1:
        most = least

    def register(function: _F) -> _F:
        for word in (name, *aliases):
            table[word] = Builtin(prefix + word, function, least, most)
        return function

    return register


def method(
    table: Table, name: str, least: int = 0, most: int | None = -1, *aliases: str
) -> Callable[[_F], _F]:
    """Put a method into ``table``: a function whose first value is not counted."""
    if most == -1:
        most = least
    return entry(table, name, least + 1, None if most is None else most + 1, *aliases)


def unknown_method(value: Any, name: str, methods: Mapping[str, Builtin]) -> EvaluationError:
    hint = did_you_mean(name, methods)
    return EvaluationError(f"A {kind(value)} has no method {quote(name)}.{hint}")
