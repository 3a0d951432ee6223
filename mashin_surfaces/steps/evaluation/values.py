"""The values of the language: their kinds, truth, equality, order, and how they read as text.

Values are what JSON has (``None bool int float str list dict``), ``Decimal``, and ``Function``.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import orjson

from .scope import ENTRY_SIZE, ITEM_SIZE, MAX_NESTING, EvaluationError, Scope

#: The largest integer: 64 bits with a sign, as in most databases and JSON readers.
MAX_INTEGER: Final = 2**63 - 1
MIN_INTEGER: Final = -(2**63)
EXACT: Final = 2**53  # whole floats up to here are integers without doubt
NUMBERS: Final = frozenset({int, float, Decimal})
_SCALARS: Final = frozenset({str, int, float, bool, type(None), Decimal})


class Function:
    """A function as a value. ``apply`` takes exactly ``arity`` values; any number when None."""

    __slots__ = ("apply", "arity")

    def __init__(self, apply: Callable[..., Any], arity: int | None) -> None:
        self.apply = apply
        self.arity = arity

    def taking(self, given: int) -> Callable[..., Any]:
        """The function for a caller with ``given`` values: some are dropped, or null is added."""
        apply, arity = self.apply, self.arity
        if arity is None or arity == given:
            return apply
        if arity < given:
            if arity == 1:
                return lambda value, *_: apply(value)
            return lambda *values: apply(*values[:arity])
        missing = (None,) * (arity - given)
        return lambda *values: apply(*values, *missing)


_KINDS: Final[dict[type, str]] = {
    str: "text",
    int: "number",
    float: "number",
    Decimal: "number",
    bool: "boolean",
    list: "list",
    dict: "map",
    type(None): "null",
    Function: "function",
}


def kind(value: Any) -> str:
    """``text number boolean list map null function``: what ``typeof`` gives."""
    return _KINDS.get(type(value), "unknown value")


def a_kind(value: Any) -> str:
    """The kind with its article, for sentences."""
    word = kind(value)
    return word if word == "null" else f"a {word}"


def is_true(value: Any) -> bool:
    """As JavaScript has it: null, false, 0 and "" are not; empty lists and maps are."""
    return bool(value) or type(value) in (list, dict)


def as_decimal(number: Any) -> Decimal:
    """A number as a decimal; a float counts as the digits that it is written with."""
    return Decimal(repr(number)) if type(number) is float else Decimal(number)


def equal(scope: Scope, left: Any, right: Any, depth: int = 0) -> bool:
    """Deep and typed: ``1 == 1.0``, but ``"1"`` and ``true`` are no numbers."""
    left_type, right_type = type(left), type(right)
    if left_type is not right_type:
        if left_type not in NUMBERS or right_type not in NUMBERS:
            return False
        if Decimal in (left_type, right_type):
            return as_decimal(left) == as_decimal(right)
        return bool(left == right)
    if left_type is str:
        if len(left) == len(right):
            scope.read(left)
        return bool(left == right)
    if left_type is list or left_type is dict:
        return len(left) == len(right) and _same_parts(scope, left, right, depth)
    return bool(left == right)


def _same_parts(scope: Scope, left: Any, right: Any, depth: int) -> bool:
    if depth >= MAX_NESTING:
        raise too_deep()
    scope.spend(len(left) + 1)
    depth += 1
    if type(left) is list:
        return all(equal(scope, one, other, depth) for one, other in zip(left, right, strict=True))
    return all(
        key in right and equal(scope, value, right[key], depth) for key, value in left.items()
    )


def identity(scope: Scope, value: Any, depth: int = 0) -> Any:
    """A hashable key: two values have the same one exactly when they are ``equal``."""
    value_type = type(value)
    if value_type is str or value_type is int or value is None or value_type is Function:
        return value
    if value_type is bool:
        return (bool, value)
    if value_type is float:
        return int(value) if value.is_integer() else as_decimal(value)
    if value_type is Decimal:
        return value
    if depth >= MAX_NESTING:
        raise too_deep()
    scope.spend(len(value) + 1)
    if value_type is list:
        return (list, tuple(identity(scope, item, depth + 1) for item in value))
    return (
        dict,
        frozenset((key, identity(scope, item, depth + 1)) for key, item in value.items()),
    )


def comparable(left: Any, right: Any, sign: str) -> tuple[Any, Any]:
    """Two values that Python may order; raises ``EvaluationError`` when they have no order."""
    left_type, right_type = type(left), type(right)
    if left_type is str and right_type is str:
        return left, right
    if left_type in NUMBERS and right_type in NUMBERS:
        if Decimal in (left_type, right_type):
            return as_decimal(left), as_decimal(right)
        return left, right
    raise EvaluationError(
        f'"{sign}" compares two numbers or two texts, not {a_kind(left)} with {a_kind(right)}.'
    )


def number_text(number: Any) -> str:
    """A number as JSON writes it; ``3.0`` is ``3``, decimals keep their digits."""
    if type(number) is float:
        return orjson.dumps(number).decode().removesuffix(".0")
    return str(number)


def key_text(key: Any) -> str:
    """A map's key: a text, or a number as text."""
    if type(key) is str:
        return key
    if type(key) in NUMBERS:
        return number_text(key)
    raise EvaluationError(f"A key is a text, not {a_kind(key)}.")


def to_text(scope: Scope, value: Any) -> str:
    """How a value reads within a text: lists and maps as JSON."""
    value_type = type(value)
    if value_type is str:
        return str(value)
    if value_type in NUMBERS:
        return number_text(value)
    if value_type is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    return stringify(scope, value)


def stringify(scope: Scope, value: Any, indent: bool = False) -> str:
    """The value's JSON text."""
    size = measure(value)
    scope.spend(size // ITEM_SIZE + 1)
    scope.grow(2 * size)
    try:
        text = orjson.dumps(
            value, default=_write_decimal, option=orjson.OPT_INDENT_2 if indent else 0
        ).decode()
    except orjson.JSONEncodeError as error:
        raise EvaluationError("The value has no JSON text.") from error
    scope.grow_text(len(text))
    return text


def _write_decimal(value: Any) -> orjson.Fragment:
    return orjson.Fragment(str(value).encode())


def measure(value: Any) -> int:
    """The size of a value as ``Scope.grow`` counts, each part as often as it is met.

    Raises ``EvaluationError`` for what cannot leave an expression: more than 1 MiB, more than 64
    levels, a function, anything that JSON does not have.
    """
    total = 0
    pending = [(value, 0)]
    while pending:
        value, depth = pending.pop()
        value_type = type(value)
        if value_type is str:
            total += len(value)
        elif value_type is dict:
            if depth >= MAX_NESTING:
                raise too_deep()
            total += len(value) * ENTRY_SIZE
            depth += 1
            for key, item in value.items():
                total += len(key)
                if type(item) is str:
                    total += len(item)
                elif type(item) not in _SCALARS:
                    pending.append((item, depth))
        elif value_type is list:
            if depth >= MAX_NESTING:
                raise too_deep()
            total += len(value) * ITEM_SIZE
            depth += 1
            pending.extend([(item, depth) for item in value if type(item) not in _NUMERIC])
        elif value_type is Function:
            raise EvaluationError("A function is no result; call it.")
        elif value_type not in _SCALARS:
            raise EvaluationError(f"{value_type.__name__} is no value that an expression can have.")
        if total > _MAX_SIZE:
            raise EvaluationError("The expression makes more than 1 MiB of data.")
    return total


_MAX_SIZE: Final = 1024 * 1024
_NUMERIC: Final = _SCALARS - {str}


def too_deep() -> EvaluationError:
    return EvaluationError(f"The value is nested deeper than {MAX_NESTING} levels.")


# -- arguments ----------------------------------------------------------------------------------


def wrong_argument(who: str, wanted: str, value: Any) -> EvaluationError:
    return EvaluationError(f"{who} needs {wanted}, not {a_kind(value)}.")


def need_text(value: Any, who: str) -> str:
    if type(value) is not str:
        raise wrong_argument(who, "a text", value)
    return value


def need_number(value: Any, who: str) -> Any:
    if type(value) not in NUMBERS:
        raise wrong_argument(who, "a number", value)
    return value


def need_integer(value: Any, who: str) -> int:
    """A whole number, also one written ``3.0``."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    if type(value) is Decimal and abs(value) <= EXACT and value == value.to_integral_value():
        return int(value)
    if type(value) in NUMBERS:
        raise EvaluationError(f"{who} needs a whole number, not {number_text(value)}.")
    raise wrong_argument(who, "a whole number", value)


def need_list(value: Any, who: str) -> list[Any]:
    if type(value) is not list:
        raise wrong_argument(who, "a list", value)
    return value


def need_map(value: Any, who: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise wrong_argument(who, "a map", value)
    return value


def need_function(value: Any, who: str) -> Function:
    if type(value) is not Function:
        raise wrong_argument(who, "a function", value)
    return value
