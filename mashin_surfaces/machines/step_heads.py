"""Reads the first line of a step: its name, its settings, and the options of its kind."""

from __future__ import annotations

import re
from typing import Any, Final

from .line_parts import Constant, Header, Option, Quoted, Word
from .lines import Line
from .problems import Path
from .reader import Captured, Reader
from .sections import as_text
from .wording import similar

#: What the first line of every step may say, as ``StepPart`` has it.
SETTINGS: Final = ("after", "optional", "when", "estimate", "retry_on_crash")
FLOW_CALL: Final = re.compile(r"flow\s*\(\s*:?\s*([^\W\d]\w*)\s*\)\s*")
_BARE: Final = re.compile(r"[^\W\d]\w*")


class Head:
    """A step's name, its settings, and the options and words that its kind takes."""

    def __init__(self, name: Word) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self.options: dict[str, Option] = {}
        self.words: list[Word] = []

    def values(self) -> dict[str, Any]:
        """What goes into the step, whatever its kind."""
        return {"name": self.name.text, **self.settings}


def read_head(
    reader: Reader, line: Line, at: int, path: Path, known: tuple[str, ...] = (), words: int = 0
) -> Head | None:
    """``known``: the options of the kind; ``words``: how many words it takes behind the name."""
    header: Header | None = reader.read("header", line, at)
    if header is None:
        return None
    head = Head(header.name)
    reader.mark((*path, "name"), line.start + at + header.name.at)
    after: list[str] | None = None  # while its names go on
    for part in header.parts:
        if isinstance(part, Word) and after is not None:
            after.append(part.text)
            continue
        if not isinstance(part, Option):
            if not _read_word(reader, line, at, part, head, known, words):
                return None
            continue
        after = None
        key = part.key.text
        if key in head.options or key in head.settings:
            reader.tell(f'A second "{key}".', line.start + at + part.key.at)
            return None
        if key == "after":
            name = _BARE.match(line.text, at + part.value.at)  # a step may be called "true"
            if name is None:
                reader.unexpected(line, "names of steps, or none", at=at + part.value.at)
                return None
            after = head.settings[key] = [name.group()]
            reader.mark((*path, key), line.start + at + part.key.at)
            continue
        reader.mark((*path, key), line.start + at + part.value.at)
        if key in SETTINGS:
            value = _setting(reader, line, at, part, path)
            if value is None:
                return None
            head.settings[key] = value
        elif key in known:
            head.options[key] = part
        else:
            _tell_unknown(reader, line, at, part.key, known)
            return None
    if "after" in head.settings:
        names = head.settings["after"]
        head.settings["after"] = () if names == ["none"] else tuple(names)
    return head


def _read_word(
    reader: Reader,
    line: Line,
    at: int,
    part: Word | Quoted,
    head: Head,
    known: tuple[str, ...],
    words: int,
) -> bool:
    """A word or text that is no option's; False (and told) where the kind takes none."""
    if isinstance(part, Quoted):
        text = reader.text_of(part, line, at)
        if text is None:
            return False
        if len(head.words) >= words:
            reader.unexpected(line, '"key: value" or the end of the line', at=at + part.at)
            return False
        head.words.append(Word(text, part.at))
        return True
    if len(head.words) >= words:
        takes = ", ".join(f'"{key}:"' for key in (*known, *SETTINGS))
        reader.tell(
            f'Found "{part.text}", expected the end of the line or {takes}.'
            f"{similar(part.text, (*known, *SETTINGS))}",
            line.start + at + part.at,
        )
        return False
    head.words.append(part)
    return True


def _tell_unknown(reader: Reader, line: Line, at: int, key: Word, known: tuple[str, ...]) -> None:
    verb = " ".join(line.text[:at].split())
    takes = (*known, *SETTINGS)
    reader.tell(
        f'{verb} has no option "{key.text}"; it takes {", ".join(takes)}.'
        f"{similar(key.text, takes)}",
        line.start + at + key.at,
    )


def _setting(reader: Reader, line: Line, at: int, option: Option, path: Path) -> Any:
    """The value of one of ``SETTINGS``; None (and told) when it has another type."""
    key, value = option.key.text, option.value
    given = value.value if isinstance(value, Constant) and value.quoted is None else None
    place = at + value.at
    if key == "when":
        if isinstance(value, Word) or value.quoted is None:
            reader.unexpected(line, 'a condition in quotes, like "input.deep"', at=place)
            return None
        text = reader.text_of(value.quoted, line, at)
        if text is None:
            return None
        where = reader.source.place(line.start + place + 1)
        return reader.expression(Captured(text, (where,)), (*path, key))
    if key == "estimate":
        if isinstance(given, bool) or not isinstance(given, int | float):
            reader.unexpected(line, "a number of US dollars", at=place)
            return None
    elif not isinstance(given, bool):
        reader.unexpected(line, "true or false", at=place)
        return None
    return given


def text_of(reader: Reader, line: Line, at: int, option: Option | None) -> str | None:
    return None if option is None else as_text(reader, line, at, option.value)
