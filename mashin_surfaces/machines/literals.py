r"""Texts in quotes: their escapes, both ways.

``\n \t \r \b \f \" \' \\ \/ \uXXXX`` stand for one character; ``\$`` makes a ``${`` plain text. In
a *template* the ``${…}`` stay as they are written, and so does ``\${``.
"""

from __future__ import annotations

import re
from typing import Final

from .scanning import hole_end

_ESCAPES: Final = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f",
    '"': '"', "'": "'", "\\": "\\", "/": "/", "$": "$",
}  # fmt: skip
_WRITTEN: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_NEEDS_ESCAPE: Final = re.compile(r'["\\\x00-\x1f\x7f\u2028\u2029\ufdd0-\ufdd2\ufeff]|\$(?=\{)')
_SPECIAL: Final = re.compile(r"\\|\$\{")
_UNICODE: Final = re.compile(r"u([0-9A-Fa-f]{4})")


class TextError(Exception):
    """What is wrong inside a text in quotes, ``at`` characters behind its opening quote."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def read_text(inner: str, *, template: bool = False, holes: bool = True) -> str:
    """The text that stands between two quotes; raises ``TextError``.

    ``holes``: whether ``${…}`` may stand in it.
    """
    if "\\" not in inner and "$" not in inner:
        return inner
    pieces: list[str] = []
    position = 0
    while match := _SPECIAL.search(inner, position):
        here = match.start()
        pieces.append(inner[position:here])
        if match.group() == "${":
            if not holes:
                raise TextError(
                    "A constant has no ${…}; write \\${ for the characters alone.", here
                )
            end = hole_end(inner, here)
            if end is None:
                raise TextError('The "${" has no closing "}".', here)
            if template and pieces and pieces[-1].endswith("\\"):
                raise TextError('A backslash can\'t stand directly before "${".', here)
            pieces.append(inner[here:end])
            position = end
        elif template and inner.startswith("\\${", here):
            pieces.append("\\${")
            position = here + 3
        else:
            piece, position = _read_escape(inner, here)
            pieces.append(piece)
    return "".join([*pieces, inner[position:]])


def _read_escape(inner: str, here: int) -> tuple[str, int]:
    sign = inner[here + 1 : here + 2]
    if sign in _ESCAPES and sign:
        return _ESCAPES[sign], here + 2
    first = _UNICODE.match(inner, here + 1)
    if first is None:
        raise TextError(
            f'Found the escape "\\{sign}", expected one of \\n \\t \\r \\" \\\\ \\$ \\uXXXX.', here
        )
    code, end = int(first[1], 16), first.end()
    if 0xD800 <= code < 0xE000:  # half of a character beyond U+FFFF
        second = _UNICODE.match(inner, end + 1) if inner[end : end + 1] == "\\" else None
        low = int(second[1], 16) if second else 0
        if second is None or code >= 0xDC00 or not 0xDC00 <= low < 0xE000:
            raise TextError(f"Found half a character, \\u{first[1]}.", here)
        code, end = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), second.end()
    if code == 0:
        raise TextError("The character U+0000 can't be kept in a database.", here)
    return chr(code), end


def write_text(value: str) -> str:
    """The text in quotes, so that ``read_text`` gives it back."""
    return f'"{_NEEDS_ESCAPE.sub(_escaped, value)}"'


def write_template(value: str) -> str:
    """A template in quotes, so that ``read_text(…, template=True)`` gives it back."""
    pieces: list[str] = []
    done = position = 0
    while (here := value.find("${", position)) >= 0:
        if value[here - 1 : here] == "\\" and here > 0:
            pieces += [_NEEDS_ESCAPE.sub(_escaped, value[done : here - 1]), "\\${"]
            done = position = here + 2
            continue
        end = hole_end(value, here)
        if end is None:
            break
        pieces += [_NEEDS_ESCAPE.sub(_escaped, value[done:here]), value[here:end]]
        done = position = end
    return f'"{"".join([*pieces, _NEEDS_ESCAPE.sub(_escaped, value[done:])])}"'


def _escaped(match: re.Match[str]) -> str:
    sign = match.group()
    if sign == "$":
        return "\\$"
    return _WRITTEN.get(sign) or f"\\u{ord(sign):04x}"
