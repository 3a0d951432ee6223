"""Reads ``expresses``: the doors of a machine and their keys."""

from __future__ import annotations

from typing import Any, Final

from .definition import (
    ApiSurface,
    OtherSurface,
    PageSurface,
    SurfacePart,
    SurfaceSpec,
    WebsocketSurface,
)
from .line_parts import Constant, Word
from .lines import Line
from .problems import Path
from .quantities import parse_size
from .reader import Key, Reader
from .sections import as_text, duration, first_words

_PARTS: Final[dict[str, type[SurfacePart]]] = {
    "websocket": WebsocketSurface,
    "api": ApiSurface,
    "page": PageSurface,
}
_OTHERS: Final = ("webhook", "a2a", "mcp", "publishes", "subscribes")
_LISTS: Final = frozenset({"auth", "scopes", "grant"})
_DURATIONS: Final = frozenset({"idle_timeout", "every"})
#: What the per-surface pages of the language's documentation call ``auth``.
_AUTHENTICATION: Final = {
    "bearer_token": ("jwt", "api_key"),
    "api_key": ("api_key",),
    "session": ("session",),
    "none": ("none",),
}


def read_expresses(reader: Reader, section: Line) -> tuple[SurfaceSpec, ...]:
    surfaces: list[Any] = []
    kinds = (*_PARTS, *_OTHERS)
    for line in section.children:
        kind = first_words(line, kinds)
        if kind is None:
            reader.unexpected(line, ", ".join(kinds[:-1]) + f" or {kinds[-1]}", kinds)
            continue
        path: Path = ("expresses", len(surfaces))
        surface: Any
        if kind in _OTHERS:
            reader.no_rest(line, reader.rest(line, kind))
            options = _read_options(reader, line.children, (*path, "options"))
            surface = reader.build(
                OtherSurface, path, {"kind": kind, "options": options}, line.start
            )
        else:
            surface = _read_surface(reader, line, kind, path)
        if surface is not None:
            surfaces.append(surface)
    return tuple(surfaces)


def _read_surface(reader: Reader, block: Line, kind: str, path: Path) -> SurfacePart | None:
    part = _PARTS[kind]
    reader.no_rest(block, reader.rest(block, kind))
    known = tuple(name for name in part.model_fields if name != "kind")
    values: dict[str, Any] = {}
    before = len(reader.problems)
    for key, line in reader.keys(block.children, kind, (*known, "authentication")):
        name = "auth" if key.name == "authentication" else key.name
        if name in values:
            reader.tell('"auth" and "authentication" are the same; write one.', line.start)
            continue
        reader.mark((*path, name), line.start + key.at)
        found = reader.values(line, key.at)
        if not found:
            continue
        value = _read_value(reader, line, key, found)
        if value is not None:
            values[name] = value
    if "path" not in values and len(reader.problems) == before:
        reader.tell(f'The {kind} surface needs a path; write below it: path: "/…"', block.start)
    return reader.build(part, path, values, block.start)


def _read_value(reader: Reader, line: Line, key: Key, found: list[Constant | Word]) -> Any:
    name, at = key.name, key.at
    if name in _LISTS:
        words = [as_text(reader, line, at, value) for value in found]
        if name == "grant" and len(found) == 1 and found[0] == Word("none", found[0].at):
            return ()
        return tuple(word for word in words if word is not None)
    if len(found) > 1:
        reader.tell(f'"{name}" has one value, this has {len(found)}.', line.start + at)
        return None
    value = found[0]
    if name == "authentication":
        text = as_text(reader, line, at, value)
        if text is not None and text not in _AUTHENTICATION:
            reader.tell(
                f'"{text}" is no authentication; write {", ".join(_AUTHENTICATION)}.',
                line.start + at,
            )
            return None
        return None if text is None else _AUTHENTICATION[text]
    if name in _DURATIONS:
        return duration(reader, line, at, value)
    if name == "max_message":
        try:
            text = as_text(reader, line, at, value) if _is_text(value) else None
            return parse_size(text if text is not None else getattr(value, "value", 0))
        except ValueError as error:
            reader.tell(str(error), line.start + at)
            return None
    if name == "concurrency":
        return value.text if isinstance(value, Word) else value.value
    if name in {"path", "title", "rate", "layout"} and isinstance(value, Word):
        reader.unexpected(line, "a text in quotes", at=at)
        return None
    return as_text(reader, line, at, value)


def _is_text(value: Constant | Word) -> bool:
    return isinstance(value, Word) or value.quoted is not None


def _read_options(reader: Reader, lines: list[Line], path: Path) -> dict[str, Any]:
    """``key: value`` lines, and names with a block of their own, as JSON."""
    options: dict[str, Any] = {}
    for line in lines:
        reader.mark((*path, len(options)), line.start)
        if _is_field(line):
            name, _, rest = line.text.partition(" as ")
            options[name.strip()] = rest.strip()
        elif ":" not in line.text:
            names = reader.read("names", line)
            if names is not None and len(names) != 1:
                reader.unexpected(line, "one name or key: value")
            elif names is not None:
                options[names[0]] = _read_options(reader, line.children, path)
        else:
            for key, child in reader.keys([line], "This surface"):
                options[key.name] = _read_json(reader, child, key.at)
    return options


def _is_field(line: Line) -> bool:
    words = line.text.split(None, 2)
    return len(words) == 3 and words[1] == "as"


def _read_json(reader: Reader, line: Line, at: int) -> Any:
    if line.text[at : at + 1] in {"{", "["} or at >= len(line.text):
        value = reader.constant(line, at)
        return value[0] if value else None
    found = [
        value.text if isinstance(value, Word) else _plain(reader, line, at, value)
        for value in reader.values(line, at)
    ]
    return found if len(found) > 1 else found[0] if found else None


def _plain(reader: Reader, line: Line, at: int, value: Constant) -> Any:
    return value.value if value.quoted is None else reader.text_of(value.quoted, line, at)
