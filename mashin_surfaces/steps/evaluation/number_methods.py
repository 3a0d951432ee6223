"""Methods of numbers, and rounding."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any, Final

from .builtin import Table, method
from .scope import EvaluationError, Scope
from .values import MAX_INTEGER, MIN_INTEGER, as_decimal, need_integer, number_text

NUMBER: Final[Table] = {}
_MOST_PLACES: Final = 20
#: Room for every digit of every number, so that only the wanted place is rounded.
_ROUNDING: Final = decimal.Context(prec=12_400, Emax=6144 * 2, Emin=-6144 * 2)


def rounded(number: Any, places: int, who: str) -> Decimal:
    """Halves go away from zero; a float counts as the digits that it is written with."""
    if not 0 <= places <= _MOST_PLACES:
        raise EvaluationError(f"{who} takes 0 to {_MOST_PLACES} places, not {places}.")
    try:
        return as_decimal(number).quantize(
            Decimal(1).scaleb(-places), decimal.ROUND_HALF_UP, _ROUNDING
        )
    except decimal.InvalidOperation:
        raise EvaluationError(f"{who}: the number is too large.") from None


def narrow(number: Decimal) -> Any:
    """A whole decimal as an integer, or as it is when it is too large for one."""
    return int(number) if MIN_INTEGER <= number <= MAX_INTEGER else number


@method(NUMBER, "round", 0, 1)
def round_number(scope: Scope, number: Any, places: Any = 0) -> Any:
    digits = need_integer(places, "round")
    if type(number) is int:
        return number
    result = rounded(number, digits, "round")
    if type(number) is Decimal:
        return result
    return narrow(result) if digits == 0 and abs(result) <= MAX_INTEGER else float(result)


@method(NUMBER, "toFixed", 0, 1)
def _to_fixed(scope: Scope, number: Any, places: Any = 0) -> str:
    text = format(rounded(number, need_integer(places, "toFixed"), "toFixed"), "f")
    scope.grow_text(len(text))
    return text


@method(NUMBER, "toString")
def _to_string(scope: Scope, number: Any) -> str:
    return number_text(number)
