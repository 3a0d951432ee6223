"""Methods of texts. What they search for is plain text: there are no patterns."""

from __future__ import annotations

import re
from typing import Any, Final

from .builtin import Table, method
from .scope import EvaluationError, Scope
from .values import MAX_INTEGER, need_integer, need_text

TEXT: Final[Table] = {}
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def _made(scope: Scope, text: str) -> str:
    """Count a text that is not longer than one that there was."""
    scope.grow_text(len(text))
    return text


@method(TEXT, "upper", 0, 0, "toUpperCase")
def _upper(scope: Scope, text: str) -> str:
    scope.grow_text(3 * len(text))  # one character may become three
    return text.upper()


@method(TEXT, "lower", 0, 0, "toLowerCase")
def _lower(scope: Scope, text: str) -> str:
    scope.grow_text(3 * len(text))
    return text.lower()


@method(TEXT, "trim")
def _trim(scope: Scope, text: str) -> str:
    return _made(scope, text.strip())


@method(TEXT, "trimStart")
def _trim_start(scope: Scope, text: str) -> str:
    return _made(scope, text.lstrip())


@method(TEXT, "trimEnd")
def _trim_end(scope: Scope, text: str) -> str:
    return _made(scope, text.rstrip())


@method(TEXT, "split", 1)
def _split(scope: Scope, text: str, separator: Any) -> list[str]:
    """Between each ``separator``; into characters when it is empty."""
    by = need_text(separator, "split")
    scope.read(text)
    count = text.count(by) + 1 if by else len(text)
    scope.grow_list(count)
    scope.grow(len(text))
    return text.split(by) if by else list(text)


@method(TEXT, "includes", 1)
def _includes(scope: Scope, text: str, part: Any) -> bool:
    scope.read(text)
    return need_text(part, "includes") in text


@method(TEXT, "startsWith", 1)
def _starts_with(scope: Scope, text: str, part: Any) -> bool:
    scope.read(text)
    return text.startswith(need_text(part, "startsWith"))


@method(TEXT, "endsWith", 1)
def _ends_with(scope: Scope, text: str, part: Any) -> bool:
    scope.read(text)
    return text.endswith(need_text(part, "endsWith"))


@method(TEXT, "indexOf", 1)
def _index_of(scope: Scope, text: str, part: Any) -> int:
    scope.read(text)
    return text.find(need_text(part, "indexOf"))


@method(TEXT, "slice", 0, 2)
def _slice(scope: Scope, text: str, start: Any = 0, end: Any = None) -> str:
    """From ``start`` up to before ``end``; negative places count from the end."""
    last = None if end is None else need_integer(end, "slice")
    return _made(scope, text[need_integer(start, "slice") : last])


@method(TEXT, "substring", 1, 2)
def _substring(scope: Scope, text: str, start: Any, end: Any = None) -> str:
    """Between two places in either order; those outside of the text count as its ends."""
    first = max(0, need_integer(start, "substring"))
    last = len(text) if end is None else max(0, need_integer(end, "substring"))
    return _made(scope, text[min(first, last) : max(first, last)])


@method(TEXT, "charAt", 1)
def _char_at(scope: Scope, text: str, place: Any) -> str:
    index = need_integer(place, "charAt")
    return text[index] if 0 <= index < len(text) else ""


@method(TEXT, "replace", 2)
def _replace(scope: Scope, text: str, old: Any, new: Any) -> str:
    """The first ``old`` becomes ``new``."""
    return _replaced(scope, text, need_text(old, "replace"), need_text(new, "replace"), 1)


@method(TEXT, "replaceAll", 2)
def _replace_all(scope: Scope, text: str, old: Any, new: Any) -> str:
    return _replaced(scope, text, need_text(old, "replaceAll"), need_text(new, "replaceAll"), -1)


def _replaced(scope: Scope, text: str, old: str, new: str, most: int) -> str:
    scope.read(text)
    found = text.count(old)
    count = found if most < 0 else min(found, most)
    scope.spend(count)
    scope.grow_text(len(text) + count * (len(new) - len(old)))
    return text.replace(old, new, most)


@method(TEXT, "repeat", 1)
def _repeat(scope: Scope, text: str, count: Any) -> str:
    times = need_integer(count, "repeat")
    if times < 0:
        raise EvaluationError(f"repeat takes 0 or more, not {times}.")
    scope.grow_text(len(text) * times)
    return text * times


@method(TEXT, "padStart", 1, 2)
def _pad_start(scope: Scope, text: str, length: Any, fill: Any = " ") -> str:
    return _padding(scope, text, length, fill, "padStart") + text


@method(TEXT, "padEnd", 1, 2)
def _pad_end(scope: Scope, text: str, length: Any, fill: Any = " ") -> str:
    return text + _padding(scope, text, length, fill, "padEnd")


def _padding(scope: Scope, text: str, length: Any, fill: Any, who: str) -> str:
    missing = need_integer(length, who) - len(text)
    piece = need_text(fill, who)
    if missing <= 0 or not piece:
        return ""
    scope.grow_text(len(text) + 2 * missing)
    return (piece * (missing // len(piece) + 1))[:missing]


@method(TEXT, "toString")
def _to_string(scope: Scope, text: str) -> str:
    return text


@method(TEXT, "toNumber")
def to_number(scope: Scope, text: str) -> Any:
    """The number that the text writes, spaces around it allowed; null when it is none."""
    scope.read(text)
    digits = text.strip()
    if not _NUMBER.fullmatch(digits):
        return None
    if digits.lstrip("-").isdigit() and len(digits) <= len(str(MAX_INTEGER)):
        return int(digits)
    number = float(digits)
    return number if number - number == 0 else None
