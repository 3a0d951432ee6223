"""JSON text to Python values and back: strict in, and everything that Python code gives out."""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from ..exceptions import Code, Refusal
from .formats import scalar_text

MAX_DEPTH: Final = 64  # objects and lists in one another
SMALLEST: Final = -(2**63)
LARGEST: Final = 2**64 - 1  # what orjson reads and writes as an integer
EXACT: Final = 2**53  # whole floats up to here are the integers they look like
LARGEST_EXPONENT: Final = 6144  # of a decimal: IEEE 754 decimal128


class NotJsonError(ValueError):
    """A Python value that JSON does not have; ``path`` leads to it."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def dumps(value: Any) -> bytes:
    """Compact JSON. A ``Decimal`` is a number with all its digits."""
    return orjson.dumps(value, default=_write)


def _write(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value).encode())
    raise TypeError(f"{type(value).__name__} is no JSON value")


def parse(text: str | bytes, *, decimals: bool = False) -> Any:
    """Strict JSON: UTF-8 without BOM, no NaN, nothing deeper than 64. Raises ``Refusal``.

    ``decimals``: numbers with a fraction or an exponent become ``Decimal``.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not _is_text(text):
            raise Refusal(Code.INVALID_JSON, "This is not text in UTF-8.") from None
        raise Refusal(Code.INVALID_JSON, f"This is not valid JSON: {error}.") from None
    if len(text) > 2 * MAX_DEPTH and _brackets(text) > MAX_DEPTH and is_too_deep(value):
        raise Refusal(Code.INVALID_JSON, f"The JSON is nested deeper than {MAX_DEPTH} levels.")
    if not decimals:
        return value
    try:
        return json.loads(text, parse_float=_decimal)
    except (ValueError, decimal.DecimalException):
        raise Refusal(Code.INVALID_JSON, "The JSON has a number that is out of range.") from None


def _is_text(text: str | bytes) -> bool:
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except UnicodeError:
        return False
    return True


def _brackets(text: str | bytes) -> int:
    if isinstance(text, str):
        return text.count("[") + text.count("{")
    return text.count(b"[") + text.count(b"{")


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > LARGEST_EXPONENT:
        raise ValueError("out of range")
    return number


def is_too_deep(value: Any) -> bool:
    """Whether lists and objects are nested deeper than ``MAX_DEPTH``."""
    level = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                deeper.extend(each.values())
            elif isinstance(each, list):
                deeper.extend(each)
        if not deeper:
            return False
        level = deeper
    return any(isinstance(each, dict | list) for each in level)


def plain_number(number: int | float | Decimal) -> int | float:
    """A number as orjson reads it: 64-bit integers, else floats, whole ones as integers.

    Raises ``ValueError`` when it is out of range.
    """
    if isinstance(number, int):
        return number if SMALLEST <= number <= LARGEST else float(number)
    plain = float(number)
    if not math.isfinite(plain):
        raise ValueError("out of range")
    return int(plain) if plain.is_integer() and abs(plain) <= EXACT else plain


def undecimal(value: Any) -> Any:
    """``value`` as it would be without ``decimals``: for open values next to decimal fields."""
    if isinstance(value, dict):
        return {key: undecimal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [undecimal(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    if type(value) is int:
        return plain_number(value)
    return value


def json_ready(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """A Python value as JSON has it: dates and UUIDs as text, tuples as lists, decimals as they
    are. Raises ``NotJsonError``."""
    value_type = type(value)
    if value is None or value_type is bool:
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int | float | Decimal):
        return _number(value, path)
    if isinstance(value, date | UUID):
        try:
            return scalar_text(value)
        except ValueError as error:
            raise NotJsonError(f"Expected {error}.", path) from None
    if len(path) >= MAX_DEPTH:
        raise NotJsonError(f"The value is nested deeper than {MAX_DEPTH} levels.", path[:3])
    if isinstance(value, list | tuple):
        return [json_ready(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, path): json_ready(item, (*path, key)) for key, item in value.items()}
    raise NotJsonError(f"{value_type.__name__} is no JSON value.", path)


def _text(value: str, path: tuple[str | int, ...]) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotJsonError("The text has half a surrogate pair.", path) from None
    return value if type(value) is str else str.__str__(value)


def _number(value: int | float | Decimal, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, int):
        if not SMALLEST <= value <= LARGEST:
            raise NotJsonError("The integer has more than 64 bits.", path)
        return int(value)
    if not math.isfinite(value):
        raise NotJsonError("NaN and infinity are no JSON values.", path)
    return value if isinstance(value, Decimal) else float(value)


def _key(key: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(key, str):
        raise NotJsonError(f"Keys are texts, not {type(key).__name__}.", path)
    return _text(key, path)
