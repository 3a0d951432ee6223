"""Closures of the operators, from the closures of their operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from .frames import Closure, Frame
from .operators import ARITHMETIC, ORDERS, add, invert, negate
from .scope import SMALL_TEXT, EvaluationError, Scope
from .values import (
    a_kind,
    comparable,
    equal,
    is_true,
    key_text,
    kind,
    need_integer,
    need_text,
    to_text,
)


def join(parts: Sequence[str | Closure]) -> Closure:
    """Constant texts and computed values, one after the other, as one text."""

    def run(scope: Scope, frame: Frame) -> str:
        pieces = []
        length = 0
        for part in parts:
            if type(part) is str:
                piece = part
            else:
                value = part(scope, frame)  # type: ignore[operator] # told apart by type()
                piece = value if type(value) is str else to_text(scope, value)
            pieces.append(piece)
            length += len(piece)
        if length > SMALL_TEXT:
            scope.grow(length)
        return "".join(pieces)

    return run


def sum_of(operands: Sequence[Closure]) -> Closure:
    """``a + b + c`` of numbers or texts, from the left."""
    first, *others = operands

    def run(scope: Scope, frame: Frame) -> Any:
        value = first(scope, frame)
        for operand in others:
            right = operand(scope, frame)
            if type(value) is str or type(right) is str:
                left_text, right_text = to_text(scope, value), to_text(scope, right)
                scope.grow_text(len(left_text) + len(right_text))
                value = left_text + right_text
            else:
                value = add(value, right)
        return value

    return run


def logic(sign: str, operands: Sequence[Closure]) -> Closure:
    """``&&``, ``||`` and ``??``: the first operand that decides, else the last."""
    decides = _DECIDES[sign]
    *others, last = operands

    def run(scope: Scope, frame: Frame) -> Any:
        for operand in others:
            value = operand(scope, frame)
            if decides(value):
                return value
        return last(scope, frame)

    return run


_DECIDES: Final[dict[str, Callable[[Any], bool]]] = {
    "&&": lambda value: not is_true(value),
    "||": is_true,
    "??": lambda value: value is not None,
}


def binary(sign: str, left: Closure, right: Closure) -> Closure:
    if sign == "==":
        return lambda scope, frame: equal(scope, left(scope, frame), right(scope, frame))
    if sign == "!=":
        return lambda scope, frame: not equal(scope, left(scope, frame), right(scope, frame))
    if sign == "in":
        return lambda scope, frame: contains(scope, right(scope, frame), left(scope, frame))
    if sign in ORDERS:
        return _order(sign, left, right)
    operate = ARITHMETIC[sign]
    return lambda scope, frame: operate(left(scope, frame), right(scope, frame))


def _order(sign: str, left: Closure, right: Closure) -> Closure:
    compare = ORDERS[sign]

    def run(scope: Scope, frame: Frame) -> bool:
        one, other = comparable(left(scope, frame), right(scope, frame), sign)
        if type(one) is str:
            scope.read(one)
        return bool(compare(one, other))

    return run


def contains(scope: Scope, whole: Any, part: Any) -> bool:
    """``part in whole``: an item of a list, a key of a map, a piece of a text."""
    whole_type = type(whole)
    if whole_type is list:
        scope.spend(len(whole))
        return any(equal(scope, part, item) for item in whole)
    if whole_type is dict:
        return key_text(part) in whole
    if whole_type is str:
        scope.read(whole)
        return need_text(part, '"in" a text') in whole
    raise EvaluationError(f'"in" looks into a list, a map or a text, not into {a_kind(whole)}.')


def unary(sign: str, operand: Closure) -> Closure:
    operate = _UNARY[sign]
    return lambda scope, frame: operate(operand(scope, frame))


_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "-": negate,
    "~": invert,
    "!": lambda value: not is_true(value),
    "typeof": kind,
}


def choose(condition: Closure, then: Closure, otherwise: Closure) -> Closure:
    def run(scope: Scope, frame: Frame) -> Any:
        if is_true(condition(scope, frame)):
            return then(scope, frame)
        return otherwise(scope, frame)

    return run


def interval(start: Closure, end: Closure, step: Closure | None) -> Closure:
    """``start..end by step``, both ends included; empty when it leads nowhere."""

    def run(scope: Scope, frame: Frame) -> list[int]:
        first = need_integer(start(scope, frame), '".."')
        last = need_integer(end(scope, frame), '".."')
        pace = 1 if step is None else need_integer(step(scope, frame), '"by"')
        if pace == 0:
            raise EvaluationError('A range cannot go on "by 0".')
        scope.grow_list(max(0, (last - first) // pace + 1))
        return list(range(first, last + (1 if pace > 0 else -1), pace))

    return run
