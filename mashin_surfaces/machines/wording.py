"""What is wrong with a line, in words: what was found, what was expected, what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from .scanning import text_end

_EXPECTED: Final = {
    "NAME": "a name",
    "WORD": "a name",
    "DOTTED": "a name",
    "STRING": "a text in quotes",
    "NUMBER": "a number",
    "_LPAR": '"("', "LPAR": '"("', "RPAR": '")"',
    "LIST_OPEN": '"["', "LSQB": '"["', "RSQB": '"]"',
    "MAP_OPEN": '"{"', "LBRACE": '"{"', "RBRACE": '"}"',
    "COMMA": '","', "COLON": '":"',
    "$END": "the end of the line",
}  # fmt: skip
_VALUES: Final = frozenset({"STRING", "NUMBER", "TRUE", "FALSE", "NULL", "LIST_OPEN", "MAP_OPEN"})
_MODIFIERS: Final = frozenset(
    {"IS", "DEFAULT", "DESCRIPTION", "LABEL", "BOUND", "PATTERN", "FORMAT", "CHOICES", "RANGE",
     "SECRET"}
)  # fmt: skip
_MODIFIER_WORDS: Final = (
    "is required", "default", "description", "label", "min", "max", "min_length", "max_length",
    "pattern", "format", "choices", "range", "secret",
)  # fmt: skip
_PIECE: Final = re.compile(r"[^\W\d]\w*|-?\d[\w.]*|.", re.DOTALL)


def similar(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?``, or nothing."""
    close = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f' Did you mean "{close[0]}"?' if close else ""


def found_at(text: str, at: int) -> str:
    """What stands at an offset, as it is named in a message."""
    if at >= len(text):
        return "the end of the line"
    if text[at] == '"':
        end = text_end(text, at) or len(text)
        shown = text[at:end]
        return f"the text {shown}" if len(shown) <= 40 else f'the text {shown[:36]}…"'
    match = _PIECE.match(text, at)
    piece = match.group() if match else text[at]
    return f'"{piece}"' if len(piece) <= 40 else f'"{piece[:39]}…"'


def expected_words(terminals: set[str]) -> str:
    names = set(terminals)
    words: list[str] = []
    if len(names & _MODIFIERS) > 3:
        names -= _MODIFIERS
        words.append(f"a modifier ({', '.join(_MODIFIER_WORDS)})")
    if names >= {"STRING", "NUMBER", "LIST_OPEN", "MAP_OPEN"}:
        names -= _VALUES
        words.append("a value (a text in quotes, a number, true, false, null, […] or {…})")
    others = sorted({_EXPECTED.get(name, f'"{name.lower()}"') for name in names})
    words += sorted(others, key=lambda word: word == "the end of the line")
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def hint_at(text: str, at: int, expected: set[str]) -> str:
    match = _PIECE.match(text, at)
    piece = match.group() if match else ""
    if len(expected & _MODIFIERS) > 3:
        if piece == "required":
            return ' Did you mean "is required"?'
        return similar(piece, _MODIFIER_WORDS)
    if "STRING" in expected and piece[:1].isalpha() and "NAME" not in expected:
        return " Texts stand in double quotes."
    if piece == "-" and at and text[at - 1].isalnum():
        return " Names have letters, digits and _ only."
    if piece == "'":
        return " Texts stand in double quotes."
    return ""
