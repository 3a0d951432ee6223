"""What pydantic-core found wrong, in our words: ``{"path", "code", "message"}`` for each error.

``path`` is a JSON Pointer (RFC 6901); ``code`` is one of a few stable words; the message names
what was expected and the type of what was found, never the value: it may be a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from pydantic_core import ErrorDetails, ValidationError

#: More errors than a person can use, fewer than a message full of them.
MAX_ERRORS: Final = 50
_LONGEST_PART: Final = 100

Detail = dict[str, Any]


def pointer(parts: tuple[str | int, ...]) -> str:
    """A JSON Pointer; very long names are cut."""
    return "".join(
        "/" + str(part)[:_LONGEST_PART].replace("~", "~0").replace("/", "~1") for part in parts
    )


def details(error: ValidationError) -> list[Detail]:
    """The errors of one validation, at most ``MAX_ERRORS``."""
    found = error.errors(include_url=False, include_context=True, include_input=True)
    return [_detail(each) for each in found[:MAX_ERRORS]]


def _detail(error: ErrorDetails) -> Detail:
    code, message = _TRANSLATED.get(error["type"], _other)(error)
    return {"path": pointer(error["loc"]), "code": code, "message": message}


def found(value: Any) -> str:
    """The JSON type of a value, for messages."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN or infinity"
    for types, word in _WORDS:
        if isinstance(value, types):
            return word
    return type(value).__name__


_WORDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (type(None), "null"),
    (bool, "a boolean"),
    (str, "a text"),
    ((int, float, Decimal), "a number"),
    ((list, tuple), "a list"),
    (dict, "an object"),
)

_Translation = Callable[[ErrorDetails], tuple[str, str]]


def _wrong(what: str) -> _Translation:
    return lambda error: ("wrong_type", f"Expected {what}, found {found(error['input'])}.")


def _wrong_type(error: ErrorDetails) -> tuple[str, str]:
    code, message = _wrong(error["ctx"]["expected"])(error)
    if message == "Expected an integer, found a number.":
        message = "Expected an integer, found a number that is not whole or too large to be exact."
    return code, message


def _length(code: str, limit: str, words: str, unit: str) -> _Translation:
    def translate(error: ErrorDetails) -> tuple[str, str]:
        wanted = error["ctx"][limit]
        return code, f"Expected {words} {wanted} {unit}, found {len(error['input'])}."

    return translate


def _other(error: ErrorDetails) -> tuple[str, str]:
    return error["type"], error["msg"]


_TRANSLATED: Final[dict[str, _Translation]] = {
    "missing": lambda _: ("missing", "This field is required."),
    "extra_forbidden": lambda _: ("extra_forbidden", "There is no such field."),
    "wrong_type": _wrong_type,
    "string_type": _wrong("a text"),
    "string_unicode": _wrong("a text in Unicode"),
    "bool_type": _wrong("true or false"),
    "list_type": _wrong("a list"),
    "dict_type": _wrong("an object"),
    "invalid_key": lambda _: ("wrong_type", "Expected keys that are texts."),
    "literal_error": lambda error: (
        "not_a_choice",
        f"Expected one of {error['ctx']['expected'].replace(chr(39), chr(34))}.",
    ),
    "string_too_short": _length("too_short", "min_length", "at least", "characters"),
    "string_too_long": _length("too_long", "max_length", "at most", "characters"),
    "too_short": _length("too_short", "min_length", "at least", "items"),
    "too_long": _length("too_long", "max_length", "at most", "items"),
    "string_pattern_mismatch": lambda error: (
        "bad_pattern",
        f"Expected text that matches the pattern {error['ctx']['pattern']}.",
    ),
}
