"""Values and fields as mashinTalk: the pieces that all renderings are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .definition import (
    Field,
    Type,
)
from .literals import write_text
from .quantities import format_duration

NAME: Final = re.compile(r"[^\W\d]\w*", re.ASCII)
DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
NEED: Final = re.compile(r"[A-Za-z_][\w.*/]*", re.ASCII)
CAPABILITY: Final = re.compile(r"[A-Za-z_*][\w.*/-]*", re.ASCII)
SCOPE: Final = re.compile(r"[A-Za-z_*@][\w.*:/@-]*", re.ASCII)
_CONSTANTS: Final = frozenset({"true", "false", "null", "nil"})

#: A line and how deep it stands.
Lines = Iterator[tuple[int, str]]


def block_of(depth: int, name: str, lines: Iterable[tuple[int, str]]) -> Lines:
    """A line with a block below it; nothing when the block is empty."""
    inside = list(lines)
    if inside:
        yield depth, name
        yield from ((depth + 1 + below, text) for below, text in inside)


# -- values -------------------------------------------------------------------------------------


def constant(value: Any) -> str:
    """A JSON value, keys without quotes where they can be."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return write_text(value)
        case int() | float():
            return json.dumps(value, allow_nan=False)
        case Mapping():
            pairs = [f"{key_of(str(key))}: {constant(item)}" for key, item in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case _:
            return f"[{', '.join(constant(item) for item in value)}]"


def key_of(name: str) -> str:
    return name if NAME.fullmatch(name) and name not in _CONSTANTS else write_text(name)


def line_key(name: str) -> str:
    return name if DOTTED.fullmatch(name) else write_text(name)


def word_or_text(value: str, pattern: re.Pattern[str] = NAME) -> str:
    """A value that may stand without quotes."""
    plain = pattern.fullmatch(value) and value not in {*_CONSTANTS, "call", "none"}
    return value if plain else write_text(value)


def number_text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def object_text(values: Mapping[str, Any]) -> str:
    return f"{{ {constant(values)[1:-1]} }}" if values else "{}"


def expression_lines(prefix: str, text: str) -> Lines:
    """``key: expression``; one on several lines stands below its key."""
    if "\n" in text:
        yield 0, prefix.rstrip()
        yield from ((1, line) for line in text.split("\n"))
    else:
        yield 0, f"{prefix}{text}"


def constant_lines(values: Mapping[str, Any]) -> Lines:
    yield from ((0, f"{line_key(key)}: {constant(value)}") for key, value in values.items())


# -- fields -------------------------------------------------------------------------------------


def field_lines(fields: Sequence[Field]) -> Lines:
    yield from ((0, field_text(field)) for field in fields)


def field_text(field: Field) -> str:
    return ", ".join([f"{field.name} as {type_text(field.type)}", *modifiers_of(field)])


def type_text(kind: Type) -> str:
    match kind.name:
        case "list" if kind.item is not None:
            return f"list({type_text(kind.item)})"
        case "object":
            return f"object {{{', '.join(field_text(field) for field in kind.fields)}}}"
        case "enum" if kind.choices:
            return f"enum({', '.join(map(write_text, kind.choices))})"
    return kind.name


def modifiers_of(field: Field) -> Iterator[str]:
    if field.required:
        yield "is required"
    if field.has_default:
        yield f"default: {constant(field.default)}"
    if field.min is not None and field.max is not None:
        yield f"range: [{number_text(field.min)}, {number_text(field.max)}]"
    else:
        for name in ("min", "max"):
            if (bound := getattr(field, name)) is not None:
                yield f"{name}: {number_text(bound)}"
    for name in ("min_length", "max_length"):
        if (length := getattr(field, name)) is not None:
            yield f"{name}: {length}"
    if field.pattern is not None:
        yield f"pattern: {write_text(field.pattern)}"
    if field.format is not None:
        yield f"format: {write_text(field.format)}"
    if field.choices:
        yield f"choices: {constant(field.choices)}"
    if field.label:
        yield f"label {write_text(field.label)}"
    if field.description:
        yield f"description {write_text(field.description)}"
    if field.secret:
        yield "secret"


def duration_text(seconds: float) -> str:
    return write_text(format_duration(seconds))
