"""Arithmetic and bits. Numbers stay integers as long as they are whole, decimals stay decimals.

An integer with an integer gives an integer (``/`` too, when it comes out even), with a float a
float, with a decimal a decimal of at most 34 digits. What is too large for that is an error:
there is no infinity and no NaN.
"""

from __future__ import annotations

import decimal
import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from .scope import EvaluationError
from .values import (
    MAX_INTEGER,
    MIN_INTEGER,
    NUMBERS,
    a_kind,
    as_decimal,
    need_integer,
)

Operation = Callable[[Any, Any], Any]

#: Decimals are calculated as IEEE 754 decimal128 does.
DECIMALS: Final = decimal.Context(
    prec=34,
    Emax=6144,
    Emin=-6143,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
_LARGEST_SHIFT: Final = 63
_LARGEST_POWER: Final = 64


def bounded(number: Any) -> Any:
    """``number`` when it is one that the language has."""
    if type(number) is int:
        if MIN_INTEGER <= number <= MAX_INTEGER:
            return number
        raise EvaluationError("The number is too large: integers go up to 9223372036854775807.")
    if number - number == 0.0:
        return number
    raise EvaluationError("The number is too large.")


def add(left: Any, right: Any) -> Any:
    """``+`` of two numbers; joining texts is the compiler's part."""
    left_type, right_type = type(left), type(right)
    if (left_type is int or left_type is float) and (right_type is int or right_type is float):
        return bounded(left + right)
    return _add_exactly(left, right)


def _arithmetic(sign: str, plain: Operation, exact: Operation) -> Operation:
    def operate(left: Any, right: Any) -> Any:
        left_type, right_type = type(left), type(right)
        if (left_type is int or left_type is float) and (right_type is int or right_type is float):
            try:
                return bounded(plain(left, right))
            except OverflowError:
                raise EvaluationError("The number is too large.") from None
        if left_type not in NUMBERS or right_type not in NUMBERS:
            hint = " Use concat to join lists." if left_type is list is right_type else ""
            raise EvaluationError(
                f'"{sign}" needs two numbers, not {a_kind(left)} and {a_kind(right)}.{hint}'
            )
        try:
            return exact(as_decimal(left), as_decimal(right))
        except decimal.DivisionByZero:
            raise EvaluationError(f'"{sign}" by zero has no result.') from None
        except decimal.DecimalException:
            raise EvaluationError("The number is too large, or has no value.") from None

    return operate


def _divide(left: Any, right: Any) -> Any:
    if right == 0:
        raise EvaluationError("A division by zero has no result.")
    if type(left) is int and type(right) is int and left % right == 0:
        return left // right
    return left / right


def _divide_exactly(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise EvaluationError("A division by zero has no result.")
    return DECIMALS.divide(left, right)


def _modulo(left: Any, right: Any) -> Any:
    """What is left over; it has the sign of the left side, as in JavaScript."""
    if right == 0:
        raise EvaluationError("A division by zero has no remainder.")
    if type(left) is int and type(right) is int:
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


def _modulo_exactly(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise EvaluationError("A division by zero has no remainder.")
    return DECIMALS.remainder(left, right)


def _power(left: Any, right: Any) -> Any:
    if left == 0 and right < 0:
        raise EvaluationError("A division by zero has no result.")
    if type(left) is int and type(right) is int and right >= 0:
        if abs(left) > 1 and right >= _LARGEST_POWER:  # known to be too large without trying
            raise EvaluationError("The number is too large.")
        return left ** min(right, _LARGEST_POWER + right % 2)  # beyond that -1, 0 and 1 repeat
    try:
        return math.pow(left, right)
    except ValueError:
        raise EvaluationError('"**" of a negative number needs a whole exponent.') from None


def _power_exactly(left: Decimal, right: Decimal) -> Decimal:
    return DECIMALS.power(left, right)


def _bits(sign: str, operation: Callable[[int, int], int]) -> Operation:
    who = f'"{sign}"'

    def operate(left: Any, right: Any) -> Any:
        return bounded(operation(need_integer(left, who), need_integer(right, who)))

    return operate


def _shift_left(left: int, right: int) -> int:
    return left << _checked_shift(right)


def _shift_right(left: int, right: int) -> int:
    return left >> _checked_shift(right)


def _checked_shift(count: int) -> int:
    if not 0 <= count <= _LARGEST_SHIFT:
        raise EvaluationError(f"Bits are shifted by 0 to {_LARGEST_SHIFT} places, not {count}.")
    return count


_add_exactly: Final = _arithmetic("+", operator.add, DECIMALS.add)
#: Binary operators on numbers; comparison, joining and logic are the compiler's.
ARITHMETIC: Final[dict[str, Operation]] = {
    "-": _arithmetic("-", operator.sub, DECIMALS.subtract),
    "*": _arithmetic("*", operator.mul, DECIMALS.multiply),
    "/": _arithmetic("/", _divide, _divide_exactly),
    "%": _arithmetic("%", _modulo, _modulo_exactly),
    "**": _arithmetic("**", _power, _power_exactly),
    "&": _bits("&", operator.and_),
    "|": _bits("|", operator.or_),
    "^": _bits("^", operator.xor),
    "<<": _bits("<<", _shift_left),
    ">>": _bits(">>", _shift_right),
}
ORDERS: Final[dict[str, Operation]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def negate(value: Any) -> Any:
    if type(value) is Decimal:
        return value.copy_negate()
    if type(value) not in NUMBERS:
        raise EvaluationError(f'"-" needs a number, not {a_kind(value)}.')
    return bounded(-value)


def invert(value: Any) -> Any:
    return bounded(~need_integer(value, '"~"'))
