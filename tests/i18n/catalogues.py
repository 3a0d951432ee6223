"""The translations in the repository, read as they are written: .po files without a library."""

from __future__ import annotations

import re
from ast import literal_eval
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("de", "ko")
#: Where the app's texts are, and those of the reference project's own templates.
FOLDERS = (ROOT / "mashin_surfaces" / "locale", ROOT / "locale")

_ENTRY = re.compile(r'^(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) (".*")$')

#: A context (or None) and a text, which are a message's name.
Key = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class Message:
    """A text and its translations: one, or one for each plural form of the language."""

    context: str | None
    text: str
    plural: str | None
    translations: tuple[str, ...]
    is_fuzzy: bool

    @property
    def key(self) -> Key:
        return self.context, self.text


def po_file(folder: Path, language: str) -> Path:
    return folder / language / "LC_MESSAGES" / "django.po"


def header(path: Path) -> str:
    """What a catalogue says of itself."""
    return _message(path.read_text().split("\n\n")[0]).translations[0]


def messages(path: Path) -> list[Message]:
    """All messages behind the header."""
    return [_message(part) for part in path.read_text().strip().split("\n\n")[1:]]


def _message(lines: str) -> Message:
    fields: dict[str, str] = {}
    name = ""
    is_fuzzy = False
    for line in lines.splitlines():
        if line.startswith("#"):
            is_fuzzy |= line.startswith("#,") and "fuzzy" in line
        elif found := _ENTRY.match(line):
            name = found[1]
            fields[name] = literal_eval(found[2])
        else:
            fields[name] += literal_eval(line)
    translations = tuple(text for name, text in fields.items() if name.startswith("msgstr"))
    return Message(
        fields.get("msgctxt"), fields["msgid"], fields.get("msgid_plural"), translations, is_fuzzy
    )
