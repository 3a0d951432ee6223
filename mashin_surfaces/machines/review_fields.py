"""Reviews the fields of a definition: names once, modifiers that fit the type, defaults too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..exceptions import DefinitionError, Refusal
from .definition import Field, MachineDefinition, Type
from .places import field_lists, fields_of
from .problems import Path, Problem
from .schemas import Schema

_NUMBERS: Final = frozenset({"number", "integer", "decimal"})
_LONG: Final = frozenset({"text", "list", "map"})
#: Which types a modifier fits.
_FITS: Final = {
    "min": _NUMBERS,
    "max": _NUMBERS,
    "min_length": _LONG,
    "max_length": _LONG,
    "pattern": frozenset({"text"}),
    "format": frozenset({"text"}),
}


def review_fields(definition: MachineDefinition) -> Iterator[Problem]:
    for fields, path in field_lists(definition):
        seen: set[str] = set()
        for index, field in enumerate(fields):
            if field.name in seen:
                yield Problem(f'A second field "{field.name}".', (*path, index))
            seen.add(field.name)
    for field, path in fields_of(definition):
        yield from _field(field, path)
    for index, field in enumerate(definition.responds):
        if field.name == "error":
            yield Problem(
                'No field of responds with is called "error": a client tells answers from '
                "errors by it. Give it another name.",
                ("responds", index),
            )
    for index, field in enumerate(definition.accepts):
        if field.name == "subscribe":
            yield Problem(
                'accepts has a field "subscribe": a message {"subscribe": …} is input of the '
                "machine then, and its topics can't be joined over a plain websocket.",
                ("accepts", index),
                severity="warning",
            )


def _field(field: Field, path: Path) -> Iterator[Problem]:
    kind = field.type.name
    for modifier, types in _FITS.items():
        if getattr(field, modifier) is not None and kind not in types:
            yield Problem(
                f'"{modifier}" does not fit the type {kind}; it is for {", ".join(sorted(types))}.',
                path,
            )
            return
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(field, low), getattr(field, high)
        if least is not None and most is not None and least > most:
            yield Problem(f'"{low}" is more than "{high}": no value fits "{field.name}".', path)
            return
    for modifier in ("min_length", "max_length"):
        length = getattr(field, modifier)
        if length is not None and length < 0:
            yield Problem(f'"{modifier}" is at least 0, this is {length}.', path)
            return
    enums = list(_enums(field.type))
    for enum in enums:
        if not enum.choices:
            yield Problem(
                f'The enum of "{field.name}" has no values; write enum("a", "b").', (*path, "type")
            )
        elif len(set(enum.choices)) < len(enum.choices):
            yield Problem(f'The enum of "{field.name}" has a value twice.', (*path, "type"))
    if kind != "file" and all(enum.choices for enum in enums):
        yield from _values(field, path)


def _enums(kind: Type) -> Iterator[Type]:
    """The enums in a type, at any depth."""
    if kind.name == "enum":
        yield kind
    if kind.item is not None:
        yield from _enums(kind.item)
    for field in kind.fields:
        yield from _enums(field.type)


def _values(field: Field, path: Path) -> Iterator[Problem]:
    """Whether pattern, choices and default can be used, asked of the validators themselves."""
    given = {
        key: getattr(field, key)
        for key in field.model_fields_set - {"default", "choices", "required"}
    }
    plain = Field(**given)
    try:
        schema = Schema.of((plain,))
        chosen = Schema.of((Field(**given, choices=field.choices),)) if field.choices else schema
    except DefinitionError as error:
        for problem in error.problems:
            yield Problem(_sentence(problem.message), path)
        return
    for choice in field.choices:
        if message := _refused(schema, field.name, choice):
            yield Problem(f"The choice {choice!r} does not fit its field: {message}", path)
    if not field.has_default or field.default is None:
        return
    if message := _refused(chosen, field.name, field.default):
        yield Problem(f'The default of "{field.name}" does not fit it: {message}', path)
    if field.required:
        yield Problem(
            f'"{field.name}" is required, so its default is never used.', path, severity="warning"
        )


def _refused(schema: Schema, name: str, value: Any) -> str:
    try:
        schema.check({name: value})
    except Refusal as refusal:
        details = refusal.details or [{"message": refusal.message}]
        return str(details[0]["message"])
    return ""


def _sentence(message: str) -> str:
    text = message[:1].upper() + message[1:]
    return text if text.endswith(".") else f"{text}."
