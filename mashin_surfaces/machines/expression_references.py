"""Which names an expression takes from outside."""

from __future__ import annotations

from typing import Any, Final

from .expression_nodes import (
    Arrow,
    Body,
    Call,
    Index,
    ListPattern,
    Literal,
    MapPattern,
    Member,
    Name,
    NamePattern,
    Node,
    Pattern,
    Pipe,
)

#: Names that belong to the language: they are no references.
GLOBAL_NAMES: Final = frozenset(
    {"Math", "String", "Object", "JSON", "DateTime", "Set", "UUID", "now"}
)


def references(node: Node) -> set[tuple[str, ...]]:
    """The paths of names that ``node`` takes from outside, such as ``("input", "metric_name")``.

    A path goes on as long as its members are written out. What ``let`` lines and parameters
    define and what belongs to the language (``GLOBAL_NAMES``) is left out; the name of a method
    that is called is no part of a path.
    """
    found: set[tuple[str, ...]] = set()
    _collect(node, GLOBAL_NAMES, found)
    return found


def bound_names(pattern: Pattern) -> list[str]:
    """The names that a pattern gives a value to, in the order of the source."""
    match pattern:
        case NamePattern(name):
            return [name]
        case ListPattern(items, rest):
            names = [name for item in items for name in bound_names(item)]
        case MapPattern(entries, rest):
            names = [name for _, item in entries for name in bound_names(item)]
    return [*names, rest] if rest else names


def _path(node: Node) -> tuple[str, ...] | None:
    """``a.b["c"]`` as ``("a", "b", "c")``; None when anything in it is computed."""
    names: list[str] = []
    while True:
        match node:
            case Name(name):
                return (name, *reversed(names))
            case Member(target, name):
                names.append(name)
                node = target
            case Index(target, Literal(str() as name)):
                names.append(name)
                node = target
            case _:
                return None


def _collect(node: Any, bound: frozenset[str], found: set[tuple[str, ...]]) -> None:
    match node:
        case Name() | Member() | Index() if path := _path(node):
            if path[0] not in bound:
                found.add(path)
        case Call(function, arguments):
            _collect(function.target if isinstance(function, Member) else function, bound, found)
            _collect(arguments, bound, found)
        case Pipe(left, right):
            _collect((left, _without_method(right)), bound, found)
        case Arrow(parameters, body):
            names = [name for pattern in parameters for name in bound_names(pattern)]
            _collect(body, bound.union(names), found)
        case Body(lets, result):
            for line in lets:
                inside = bound.union(bound_names(line.pattern))
                calls_itself = isinstance(line.value, Arrow) and isinstance(
                    line.pattern, NamePattern
                )
                _collect(line.value, inside if calls_itself else bound, found)
                bound = inside
            _collect(result, bound, found)
        case tuple():
            for part in node:
                _collect(part, bound, found)
        case str() | int() | float() | None:
            pass
        case _:
            for slot in node.__slots__:
                _collect(getattr(node, slot), bound, found)


def _without_method(right: Node) -> Any:
    """The right side of ``|>`` without a plain name: that is a method's, or bound."""
    if isinstance(right, Name):
        return ()
    if isinstance(right, Call) and isinstance(right.function, Name):
        return right.arguments
    return right
