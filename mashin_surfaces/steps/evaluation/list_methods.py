"""Methods of lists. None of them changes its list; those that make one count it first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from functools import reduce as fold
from typing import Any, Final

from .builtin import Table, method
from .operators import add
from .scope import ITEM_SIZE, MAX_NESTING, EvaluationError, Scope
from .values import (
    NUMBERS,
    a_kind,
    comparable,
    equal,
    identity,
    is_true,
    need_function,
    need_integer,
    need_number,
    need_text,
    to_text,
)

LIST: Final[Table] = {}
_MISSING: Final = object()


def _each(scope: Scope, items: list[Any], function: Any, who: str) -> Iterator[tuple[Any, Any]]:
    """Each item with what ``function(item, index)`` gives for it, one at a time."""
    wanted = need_function(function, who)
    if wanted.arity is None or wanted.arity > 1:
        apply = wanted.taking(2)
        return ((item, apply(item, index)) for index, item in enumerate(items))
    apply = wanted.taking(1)
    return ((item, apply(item)) for item in items)


@method(LIST, "map", 1)
def _map(scope: Scope, items: list[Any], function: Any) -> list[Any]:
    scope.grow(len(items) * ITEM_SIZE)
    return [result for _, result in _each(scope, items, function, "map")]


@method(LIST, "filter", 1)
def _filter(scope: Scope, items: list[Any], function: Any) -> list[Any]:
    scope.grow(len(items) * ITEM_SIZE)
    return [item for item, result in _each(scope, items, function, "filter") if is_true(result)]


@method(LIST, "find", 1)
def _find(scope: Scope, items: list[Any], function: Any) -> Any:
    for item, result in _each(scope, items, function, "find"):
        if is_true(result):
            return item
    return None


@method(LIST, "findIndex", 1)
def _find_index(scope: Scope, items: list[Any], function: Any) -> int:
    for index, (_, result) in enumerate(_each(scope, items, function, "findIndex")):
        if is_true(result):
            return index
    return -1


@method(LIST, "some", 1)
def _some(scope: Scope, items: list[Any], function: Any) -> bool:
    return any(is_true(result) for _, result in _each(scope, items, function, "some"))


@method(LIST, "every", 1)
def _every(scope: Scope, items: list[Any], function: Any) -> bool:
    return all(is_true(result) for _, result in _each(scope, items, function, "every"))


@method(LIST, "flatMap", 1)
def _flat_map(scope: Scope, items: list[Any], function: Any) -> list[Any]:
    made: list[Any] = []
    for _, result in _each(scope, items, function, "flatMap"):
        parts = result if type(result) is list else [result]
        scope.grow_list(len(parts))
        made.extend(parts)
    return made


@method(LIST, "reduce", 1, 2)
def _reduce(scope: Scope, items: list[Any], function: Any, start: Any = _MISSING) -> Any:
    wanted = need_function(function, "reduce")
    numbered = enumerate(items)
    if start is _MISSING:
        if not items:
            raise EvaluationError("reduce of an empty list needs a value to start with.")
        start = next(numbered)[1]
    if wanted.arity == 3:
        return fold(lambda result, pair: wanted.apply(result, pair[1], pair[0]), numbered, start)
    apply = wanted.taking(2)
    return fold(lambda result, pair: apply(result, pair[1]), numbered, start)


@method(LIST, "sort", 0, 1)
def _sort(scope: Scope, items: list[Any], comparator: Any = None) -> list[Any]:
    """Stable; without a comparator numbers by size, texts by their characters."""
    scope.grow_list(len(items))
    if comparator is not None:
        return sorted(items, key=cmp_to_key(_comparison(comparator)))
    for item in items:
        if type(item) is str:
            scope.read(item)
        comparable(items[0], item, "sort")
    return sorted(items, key=cmp_to_key(_in_order)) if _has_decimals(items) else sorted(items)


def _comparison(comparator: Any) -> Callable[[Any, Any], Any]:
    compare = need_function(comparator, "sort").taking(2)

    def compared(left: Any, right: Any) -> Any:
        result = compare(left, right)
        if type(result) not in NUMBERS:
            raise EvaluationError(
                "The function that sort is given answers with a number (below 0: the first value "
                f"comes first), not with {a_kind(result)}."
            )
        return result

    return compared


def _has_decimals(items: list[Any]) -> bool:
    return any(type(item) not in (int, float, str) for item in items)


def _in_order(left: Any, right: Any) -> int:
    left, right = comparable(left, right, "sort")
    return int(left > right) - int(left < right)


@method(LIST, "slice", 0, 2)
def _slice(scope: Scope, items: list[Any], start: Any = 0, end: Any = None) -> list[Any]:
    """From ``start`` up to before ``end``; negative places count from the end."""
    first = need_integer(start, "slice")
    last = len(items) if end is None else need_integer(end, "slice")
    scope.grow_list(len(range(*slice(first, last).indices(len(items)))))
    return items[first:last]


@method(LIST, "join", 0, 1)
def _join(scope: Scope, items: list[Any], separator: Any = ",") -> str:
    between = need_text(separator, "join")
    scope.spend(len(items))
    texts = []
    length = 0
    for item in items:
        text = to_text(scope, item)
        length += len(text) + len(between)
        if length > scope.data:
            scope.grow(length)
        texts.append(text)
    scope.grow_text(length)
    return between.join(texts)


@method(LIST, "includes", 1)
def _includes(scope: Scope, items: list[Any], wanted: Any) -> bool:
    scope.spend(len(items))
    return any(equal(scope, item, wanted) for item in items)


@method(LIST, "indexOf", 1)
def _index_of(scope: Scope, items: list[Any], wanted: Any) -> int:
    scope.spend(len(items))
    return next((index for index, item in enumerate(items) if equal(scope, item, wanted)), -1)


@method(LIST, "reverse")
def _reverse(scope: Scope, items: list[Any]) -> list[Any]:
    scope.grow_list(len(items))
    return items[::-1]


@method(LIST, "concat", 0, None)
def _concat(scope: Scope, items: list[Any], *others: Any) -> list[Any]:
    """Lists are added item by item, anything else as one item."""
    parts = [other if type(other) is list else [other] for other in others]
    scope.grow_list(len(items) + sum(map(len, parts)))
    return [*items, *(item for part in parts for item in part)]


@method(LIST, "push", 1, None)
def _push(scope: Scope, items: list[Any], *others: Any) -> list[Any]:
    """A new list with the values at its end."""
    scope.grow_list(len(items) + len(others))
    return [*items, *others]


@method(LIST, "flat", 0, 1)
def _flat(scope: Scope, items: list[Any], depth: Any = 1) -> list[Any]:
    levels = need_integer(depth, "flat")
    for _ in range(min(levels, MAX_NESTING)):
        if not any(type(item) is list for item in items):
            break
        scope.grow_list(sum(len(item) if type(item) is list else 1 for item in items))
        items = [part for item in items for part in (item if type(item) is list else [item])]
    scope.grow_list(len(items))
    return list(items)


@method(LIST, "first")
def _first(scope: Scope, items: list[Any]) -> Any:
    return items[0] if items else None


@method(LIST, "last")
def _last(scope: Scope, items: list[Any]) -> Any:
    return items[-1] if items else None


@method(LIST, "unique")
def unique(scope: Scope, items: list[Any]) -> list[Any]:
    """Each value once, in the order of its first appearance."""
    scope.grow_list(len(items))
    found: dict[Any, Any] = {}
    for item in items:
        found.setdefault(identity(scope, item), item)
    return list(found.values())


@method(LIST, "sum")
def _sum(scope: Scope, items: list[Any]) -> Any:
    scope.spend(len(items))
    return fold(add, (need_number(item, "sum") for item in items), 0)


@method(LIST, "min")
def _min(scope: Scope, items: list[Any]) -> Any:
    return extreme(scope, items, "min", -1)


@method(LIST, "max")
def _max(scope: Scope, items: list[Any]) -> Any:
    return extreme(scope, items, "max", 1)


def extreme(scope: Scope, items: list[Any], who: str, direction: int) -> Any:
    """The smallest (-1) or largest (1) of numbers or texts; null when there is none."""
    scope.spend(len(items))
    if not items:
        return None
    best = items[0]
    comparable(best, best, who)
    for item in items:
        if _in_order(item, best) * direction > 0:
            best = item
    return best
