"""Where ``let`` names and parameters live while a compiled expression runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from ...machines.expression_nodes import ListPattern, MapPattern, NamePattern, Pattern
from .scope import EvaluationError, Scope, quote
from .values import a_kind

#: The values of local names, by place. Those of a function begin with those around it.
Frame: TypeAlias = Sequence[Any]
Closure: TypeAlias = Callable[[Scope, Frame], Any]
#: Puts a value's parts into a frame.
Binding: TypeAlias = Callable[[Scope, list[Any], Any], None]

#: The value of what follows ``?.`` on null, up to the end of the chain of members and calls.
SKIPPED: Final = object()


class Layout:
    """The places of local names in a frame, as known while compiling."""

    __slots__ = ("in_function", "places", "size")

    def __init__(self, outer: Layout | None = None) -> None:
        self.places: dict[str, int] = {} if outer is None else dict(outer.places)
        self.size: int = 0 if outer is None else outer.size
        self.in_function = outer is not None

    def add(self, name: str) -> int:
        """A place for ``name``, which from now on means this one."""
        place = self.places[name] = self.size
        self.size += 1
        return place


def bind(pattern: Pattern, layout: Layout) -> Binding:
    """A function that takes a value apart as ``pattern`` says."""
    match pattern:
        case NamePattern(name):
            place = layout.add(name)

            def bind_name(scope: Scope, frame: list[Any], value: Any) -> None:
                frame[place] = value

            return bind_name
        case ListPattern(items, rest):
            return _bind_list(items, rest, layout)
        case MapPattern(entries, rest):
            return _bind_map(entries, rest, layout)


def _bind_list(items: tuple[Pattern, ...], rest: str | None, layout: Layout) -> Binding:
    parts = [bind(item, layout) for item in items]
    rest_place = None if rest is None else layout.add(rest)

    def bind_list(scope: Scope, frame: list[Any], value: Any) -> None:
        if type(value) is not list:
            raise EvaluationError(f"[…] takes a list apart, not {a_kind(value)}.")
        for index, part in enumerate(parts):
            part(scope, frame, value[index] if index < len(value) else None)
        if rest_place is not None:
            scope.grow_list(len(value))
            frame[rest_place] = value[len(parts) :]

    return bind_list


def _bind_map(
    entries: tuple[tuple[str, Pattern], ...], rest: str | None, layout: Layout
) -> Binding:
    parts = [(key, bind(pattern, layout)) for key, pattern in entries]
    keys = frozenset(key for key, _ in entries)
    rest_place = None if rest is None else layout.add(rest)

    def bind_map(scope: Scope, frame: list[Any], value: Any) -> None:
        if type(value) is not dict:
            wanted = quote(parts[0][0])
            raise EvaluationError(f"{{…}} takes {wanted} out of a map, not {a_kind(value)}.")
        for key, part in parts:
            part(scope, frame, value.get(key))
        if rest_place is not None:
            scope.grow_list(2 * len(value))
            frame[rest_place] = {key: item for key, item in value.items() if key not in keys}

    return bind_map
