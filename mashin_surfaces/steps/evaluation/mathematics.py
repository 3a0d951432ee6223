"""``Math``. What has no real, finite result is an ``EvaluationError``."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from .builtin import Table, entry
from .list_methods import extreme
from .number_methods import round_number
from .operators import ARITHMETIC, bounded, negate
from .scope import EvaluationError, Scope
from .values import MAX_INTEGER, need_number, number_text

MATH: Final[Table] = {}
MATH_CONSTANTS: Final = {"PI": math.pi, "E": math.e}


def _real(name: str, count: int, function: Callable[..., float]) -> None:
    """A function of ``count`` floats."""
    who = f"Math.{name}"

    def call(scope: Scope, *values: Any) -> Any:
        numbers = [float(need_number(value, who)) for value in values]
        try:
            return bounded(function(*numbers))
        except (ValueError, OverflowError):
            given = ", ".join(map(number_text, values))
            raise EvaluationError(f"{who}({given}) has no result.") from None

    entry(MATH, name, count, prefix="Math.")(call)


for _name in ("sqrt", "log2", "log10", "log", "exp", "sin", "cos", "tan", "asin", "acos", "atan"):
    _real(_name, 1, getattr(math, _name))
_real("atan2", 2, math.atan2)


def _whole(name: str, rounding: str, function: Callable[[float], int]) -> None:
    """A function to the next whole number in one direction."""
    who = f"Math.{name}"

    def call(scope: Scope, value: Any) -> Any:
        number = need_number(value, who)
        if type(number) is int:
            return number
        if type(number) is Decimal:
            return number.to_integral_value(rounding)
        return function(number) if abs(number) <= MAX_INTEGER // 2 else number

    entry(MATH, name, 1, prefix="Math.")(call)


_whole("floor", decimal.ROUND_FLOOR, math.floor)
_whole("ceil", decimal.ROUND_CEILING, math.ceil)
_whole("trunc", decimal.ROUND_DOWN, math.trunc)


@entry(MATH, "abs", 1, prefix="Math.")
def _abs(scope: Scope, value: Any) -> Any:
    return negate(value) if need_number(value, "Math.abs") < 0 else value


@entry(MATH, "sign", 1, prefix="Math.")
def _sign(scope: Scope, value: Any) -> int:
    number = need_number(value, "Math.sign")
    return int(number > 0) - int(number < 0)


@entry(MATH, "round", 1, 2, prefix="Math.")
def _round(scope: Scope, value: Any, places: Any = 0) -> Any:
    return round_number(scope, need_number(value, "Math.round"), places)


@entry(MATH, "pow", 2, prefix="Math.")
def _pow(scope: Scope, base: Any, exponent: Any) -> Any:
    return ARITHMETIC["**"](base, exponent)


@entry(MATH, "max", 1, None, prefix="Math.")
def _max(scope: Scope, *values: Any) -> Any:
    return extreme(scope, [need_number(value, "Math.max") for value in values], "Math.max", 1)


@entry(MATH, "min", 1, None, prefix="Math.")
def _min(scope: Scope, *values: Any) -> Any:
    return extreme(scope, [need_number(value, "Math.min") for value in values], "Math.min", -1)


@entry(MATH, "random", prefix="Math.")
def _random(scope: Scope) -> float:
    """From 0 up to before 1, from the run's own chance."""
    return scope.random.random()
