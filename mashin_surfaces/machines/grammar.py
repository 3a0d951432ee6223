"""One line of mashinTalk into its parts, by ``mashintalk.lark``; what is wrong, in words.

The grammar is built when the first line is read, once in a process.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from lark import Lark, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from .line_parts import MASK, LineError, Parts
from .scanning import hole_end, text_end
from .wording import expected_words, found_at, hint_at

STARTS: Final = ("machine", "field", "state", "header", "values", "names", "constant", "flow")


def read(start: str, text: str) -> Any:
    """The parts of a line's text: a ``Header``, a ``FieldLine`` … by the rule ``start``.

    Raises ``LineError``: what was found, and what was expected.
    """
    try:
        return _grammar().parse(_masked(text), start=start)
    except UnexpectedInput as error:
        raise _explain(text, start, error) from None


@cache
def _grammar() -> Lark:
    grammar = (Path(__file__).parent / "mashintalk.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        maybe_placeholders=False,
        transformer=Parts(),
    )


def _is_whole(text: str, start: str) -> bool:
    try:
        _grammar().parse(_masked(text), start=start)
    except (UnexpectedInput, LineError):
        return False
    return True


def _explain(text: str, start: str, error: UnexpectedInput) -> LineError:
    at: int | None = error.pos_in_stream  # also None or -1, whatever Lark's types say
    if at is None or not 0 <= at < len(text):
        at = len(text)
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            at = len(text)
        accepts: Any = error.accepts  # None where Lark kept no parser
        expected = set(accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        if _is_whole(text[:at], start):
            expected.add("$END")
    else:
        at, expected = len(text), set()
    while at < len(text) and text[at].isspace():
        at += 1
    found = found_at(text, at)
    return LineError(
        f"Found {found}, expected {expected_words(expected)}.{hint_at(text, at, expected)}", at
    )


# -- texts with ${…} ----------------------------------------------------------------------------

_QUOTE: Final = re.compile('"')
_HOLE: Final = re.compile(r"\\.|\$\{")


def _masked(text: str) -> str:
    """The same text with the ``${…}`` in its texts masked."""
    if "${" not in text:
        return text
    pieces: list[str] = []
    position = 0
    while match := _QUOTE.search(text, position):
        end = text_end(text, match.start()) or len(text)
        pieces.append(text[position : match.start()])
        inside = text[match.start() : end]
        done = 0
        while hole := _HOLE.search(inside, done):
            stop = hole_end(inside, hole.start()) if hole.group() == "${" else hole.end()
            stop = stop or len(inside)
            part = inside[hole.start() : stop]
            pieces += [
                inside[done : hole.start()],
                part.translate(MASK) if hole.group() == "${" else part,
            ]
            done = stop
        pieces.append(inside[done:])
        position = end
    return "".join([*pieces, text[position:]])
