"""Where texts, comments and brackets begin and end, in mashinTalk and in its expressions alike.

Nothing here knows what a line means.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 64  # of brackets in one another
MAX_HOLES: Final = 32  # of ``${…}`` in one another

_IN_TEXT: Final = {'"': re.compile(r'[^"\\$\n]+'), "'": re.compile(r"[^'\\$\n]+")}
_IN_HOLE: Final = re.compile(r"[^\"'{}]+")
_BRACKET: Final = re.compile(r"[\"'()\[\]{}]")
_INTERESTING: Final = re.compile(r"[\"'/]")
_FOLD: Final = re.compile(r"[ \t]*\n\s*")
_TABS: Final = re.compile(r"^[ \t]+")
_BLANKS: Final = " \t\f\v"


def text_end(source: str, start: int, depth: int = 0) -> int | None:
    """The offset behind the text whose quote stands at ``start``; None when it is not closed.

    A text is on one line; ``${…}`` in it holds texts of its own.
    """
    quote = source[start]
    plain = _IN_TEXT[quote]
    position = start + 1
    while position < len(source):
        if match := plain.match(source, position):
            position = match.end()
        sign = source[position : position + 1]
        if sign == quote:
            return position + 1
        if sign == "\\":
            if source[position + 1 : position + 2] in {"", "\n"}:
                return None
            position += 2
        elif source.startswith("${", position):
            end = hole_end(source, position, depth + 1)
            if end is None:
                return None
            position = end
        elif sign == "$":
            position += 1
        else:
            return None
    return None


def hole_end(source: str, start: int, depth: int = 0) -> int | None:
    """The offset behind the ``${…}`` that begins at ``start``; None when it is not closed."""
    if depth > MAX_HOLES:
        return None
    position, braces = start + 2, 1
    while position < len(source):
        if match := _IN_HOLE.match(source, position):
            position = match.end()
            continue
        sign = source[position]
        if sign in "\"'":
            end = text_end(source, position, depth)
            if end is None:
                return None
            position = end
            continue
        position += 1
        braces += 1 if sign == "{" else -1
        if not braces:
            return position
    return None


def without_comments(text: str) -> str:
    """The same text, of the same length, with blanks where a ``//`` comment stands."""
    if "//" not in text:
        return text
    pieces: list[str] = []
    done = position = 0
    while match := _INTERESTING.search(text, position):
        here = match.start()
        if match.group() != "/":
            end = text_end(text, here)
            if end is None:  # not closed on its line: what follows there is no comment
                end = text.find("\n", here)
            position = len(text) if end < 0 else end
        elif text.startswith("//", here):
            end = text.find("\n", here)
            end = len(text) if end < 0 else end
            pieces += [text[done:here], " " * (end - here)]
            done = position = end
        else:
            position = here + 1
    return "".join([*pieces, text[done:]])


# -- normal forms -------------------------------------------------------------------------------


def on_lines(text: str) -> str:
    """Expression text as it is kept: no blanks at line ends, no common indentation, no empty
    lines around it; on one line, without comments."""
    if "\n" not in text and "\r" not in text:
        return without_comments(text).strip(_BLANKS)
    lines = [line.rstrip(_BLANKS) for line in one_line_end(text).split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    lines = [_TABS.sub(lambda match: match.group().expandtabs(4), line) for line in lines]
    if len(lines) == 1:
        return without_comments(lines[0]).strip(_BLANKS)
    lines = _deeper_in_brackets(lines)
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line), default=0)
    return "\n".join(line[margin:] for line in lines)


def _deeper_in_brackets(lines: list[str]) -> list[str]:
    """The lines, each in an open bracket deeper than the line that it goes on with."""
    clean = without_comments("\n".join(lines))
    result: list[str] = []
    start = position = depth = base = 0
    for line in lines:
        end = start + len(line)
        text = clean[start:end]
        indent = len(text) - len(text.lstrip(" "))
        if not depth:
            base = indent
        elif indent <= base and text.strip() and text[indent] not in ")]}":
            line = " " * (base + 2) + line[indent:]  # noqa: PLW2901
        result.append(line)
        position = max(position, start)
        while (match := _BRACKET.search(clean, position)) and match.start() < end:
            sign, position = match.group(), match.end()
            if sign in "\"'":
                position = text_end(clean, match.start()) or end
            else:
                depth = max(0, depth + (1 if sign in "([{" else -1))
        start = end + 1
    return result


def on_one_line(text: str) -> str:
    """Expression text on one line, without comments."""
    return _FOLD.sub(" ", without_comments(one_line_end(text))).strip(_BLANKS + "\n")


def one_line_end(text: str) -> str:
    r"""``\r\n`` and ``\r`` as ``\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
