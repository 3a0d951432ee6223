"""Reads the first line of a step: its name, its ``after`` and its options."""

from __future__ import annotations

import re
from typing import Any, Final

from .line_parts import Header, Option, Quoted, Word
from .lines import Line
from .problems import Path
from .reader import Reader
from .sections import as_text
from .wording import similar

FLOW_CALL: Final = re.compile(r"flow\s*\(\s*:?\s*([^\W\d]\w*)\s*\)\s*")
_BARE: Final = re.compile(r"[^\W\d]\w*")


class Head:
    """A step's name, its ``after``, and the options that its kind takes."""

    def __init__(self, name: Word, after: tuple[str, ...] | None) -> None:
        self.name = name
        self.after = after
        self.options: dict[str, Option] = {}
        self.words: list[Word] = []

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"name": self.name.text}
        if self.after is not None:
            values["after"] = self.after
        return values


def read_head(
    reader: Reader, line: Line, at: int, path: Path, known: tuple[str, ...] = (), words: int = 0
) -> Head | None:
    header: Header | None = reader.read("header", line, at)
    if header is None:
        return None
    verb = " ".join(line.text[:at].split())
    head = Head(header.name, None)
    reader.mark((*path, "name"), line.start + at + header.name.at)
    after: list[str] | None = None
    for part in header.parts:
        if isinstance(part, Quoted):
            text = reader.text_of(part, line, at)
            if text is None or len(head.words) >= words:
                reader.unexpected(line, '"key: value" or the end of the line', at=at + part.at)
                return None
            head.words.append(Word(text, part.at))
            continue
        if isinstance(part, Word):
            if after is not None:
                after.append(part.text)
                continue
            head.words.append(part)
            if len(head.words) > words:
                takes = ", ".join(f'"{key}:"' for key in (*known, "after"))
                reader.tell(
                    f'Found "{part.text}", expected the end of the line or {takes}.'
                    f"{similar(part.text, known)}",
                    line.start + at + part.at,
                )
                return None
        elif part.key.text == "after":
            # A step may be called "true".
            name = _BARE.match(line.text, at + part.value.at)
            if name is None:
                reader.unexpected(line, "names of steps, or none", at=at + part.value.at)
                return None
            after = [name.group()]
            reader.mark((*path, "after"), line.start + at + part.key.at)
        elif part.key.text in head.options or part.key.text not in known:
            takes = ", ".join((*known, "after"))
            reader.tell(
                f'{verb} has no option "{part.key.text}"; it takes {takes}.'
                f"{similar(part.key.text, known)}"
                if part.key.text not in known
                else f'A second "{part.key.text}".',
                line.start + at + part.key.at,
            )
            return None
        else:
            after_done = after
            head.options[part.key.text] = part
            reader.mark((*path, part.key.text), line.start + at + part.value.at)
            after = after_done
    if after is not None:
        head.after = () if after == ["none"] else tuple(after)
    return head


def text_of(reader: Reader, line: Line, at: int, option: Option | None) -> str | None:
    return None if option is None else as_text(reader, line, at, option.value)
