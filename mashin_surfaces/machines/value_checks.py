"""What pydantic-core leaves to Python: whole floats, decimals, forms of text, limits, choices.

Each check takes a value and gives it back, perhaps written in another way, or raises
``PydanticCustomError``; its type is the ``code`` of the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from pydantic_core import PydanticCustomError

from .formats import FORMATS, date_text, datetime_text, scalar_text, uuid_text
from .json_values import EXACT, LARGEST_EXPONENT, NotJsonError, json_ready, plain_number

Check: TypeAlias = Callable[[Any], Any]


def expected(what: str) -> PydanticCustomError:
    """The error of a value that is not of its type; the translation adds what was found."""
    return PydanticCustomError("wrong_type", "{expected}", {"expected": what})


def without_nulls(optional: frozenset[str]) -> Check:
    """A function that takes ``null`` of optional fields for absent."""

    def drop(value: Any) -> Any:
        if type(value) is dict and None in value.values():
            return {
                key: item for key, item in value.items() if item is not None or key not in optional
            }
        return value

    return drop


def whole(number: float) -> int:
    """3.0 is 3; a float so large that it may have lost digits is no integer."""
    if number.is_integer() and abs(number) <= EXACT:
        return int(number)
    raise expected("an integer")


def plain(value: Any) -> Any:
    """A decimal where a plain number is wanted, as a plain number."""
    if isinstance(value, Decimal):
        try:
            return plain_number(value)
        except (ValueError, OverflowError):
            raise expected("a number") from None
    return value


def exact(value: Any) -> Decimal:
    if type(value) is int or isinstance(value, Decimal):
        number = Decimal(value)
    elif type(value) is float and math.isfinite(value):
        number = Decimal(repr(value))
    else:
        raise expected("a number")
    if not number.is_finite() or abs(number.adjusted()) > LARGEST_EXPONENT:
        raise expected("a number")
    return number


FORMS: Final[dict[str, Callable[[str], str]]] = {
    "datetime": datetime_text,
    "date": date_text,
    "uuid": uuid_text,
}


def formed(form: Callable[[str], str]) -> Check:
    def check(text: str) -> str:
        try:
            return form(text)
        except ValueError as error:
            raise _bad_format(str(error)) from None

    return check


def with_format(name: str) -> Check:
    check_format = FORMATS[name]

    def check(text: str) -> str:
        try:
            check_format(text)
        except ValueError as error:
            raise _bad_format(str(error)) from None
        return text

    return check


def _bad_format(what: str) -> PydanticCustomError:
    return PydanticCustomError("bad_format", "Expected {expected}.", {"expected": what})


def within(least: float | None, most: float | None) -> Check:
    def check(number: Any) -> Any:
        if least is not None and number < least:
            raise PydanticCustomError(
                "too_small", "Expected {limit} or more.", {"limit": f"{least:g}"}
            )
        if most is not None and number > most:
            raise PydanticCustomError(
                "too_big", "Expected {limit} or less.", {"limit": f"{most:g}"}
            )
        return number

    return check


def one_of(choices: Sequence[Any]) -> Check:
    def check(value: Any) -> Any:
        is_bool = isinstance(value, bool)
        if any(choice == value and isinstance(choice, bool) is is_bool for choice in choices):
            return value
        raise PydanticCustomError(
            "not_a_choice",
            "Expected one of {choices}.",
            {"choices": ", ".join(map(_shown, choices))},
        )

    return check


def _shown(choice: Any) -> str:
    return f'"{choice}"' if isinstance(choice, str) else str(choice)


def python_text(value: Any) -> Any:
    try:
        return scalar_text(value)
    except ValueError as error:
        raise _bad_format(str(error)) from None


def output_text(value: Any) -> Any:
    if type(value) is str and value.isascii():  # the most, and as it should be
        return value
    value = python_text(value)
    return ready(value) if isinstance(value, str) else value


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def ready(value: Any) -> Any:
    try:
        return json_ready(value)
    except NotJsonError as error:
        where = "".join(f"/{part}" for part in error.path)
        raise PydanticCustomError(
            "not_json", "{message}", {"message": f"{where}: {error}" if where else str(error)}
        ) from None
