"""Fields as JSON Schema 2020-12, for documents and forms. It agrees with the validator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .definition import Field, Type
from .formats import SLUG_PATTERN

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "decimal": {"type": "number"},
    "boolean": {"type": "boolean"},
    "uuid": {"type": "string", "format": "uuid"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "map": {"type": "object"},
    "any": {},
}
#: What a length is called, by the type that has one.
_LENGTHS: Final = {
    "text": ("minLength", "maxLength"),
    "list": ("minItems", "maxItems"),
    "map": ("minProperties", "maxProperties"),
}


def json_schema(fields: Sequence[Field], *, allow_any: bool = False) -> dict[str, Any]:
    """The schema of an object with ``fields``; ``null`` for an optional field is left unsaid."""
    return {"$schema": DIALECT, **_record(fields, allow_any=allow_any)}


def _record(fields: Sequence[Field], *, allow_any: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in fields},
        "additionalProperties": allow_any,
    }
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    return schema


def _type(kind: Type) -> dict[str, Any]:
    match kind.name:
        case "list":
            return {"type": "array", **({"items": _type(kind.item)} if kind.item else {})}
        case "object":
            return _record(kind.fields)
        case "enum":
            return {"type": "string", "enum": list(kind.choices)}
    return dict(_TYPES[kind.name])


def field_schema(field: Field) -> dict[str, Any]:
    """The schema of one field's value, with its title, description, default and limits."""
    schema = _type(field.type)
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.type.name in {"number", "integer", "decimal"}:
        schema |= _given(minimum=_plain(field.min), maximum=_plain(field.max))
    if field.type.name in {"text", "list", "map"}:
        least, most = _LENGTHS[field.type.name]
        schema |= _given(**{least: field.min_length, most: field.max_length})
    if field.type.name == "text":
        schema |= _text_form(field)
    schema |= _given(title=field.label or None, description=field.description or None)
    if field.has_default:
        schema["default"] = field.default
    if field.secret:
        schema["writeOnly"] = True
    return schema


def _text_form(field: Field) -> dict[str, Any]:
    if field.format != "slug":
        return _given(pattern=field.pattern, format=field.format)
    if field.pattern is None:
        return {"pattern": SLUG_PATTERN}
    return {"allOf": [{"pattern": field.pattern}, {"pattern": SLUG_PATTERN}]}


def _given(**keywords: Any) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


def _plain(limit: float | None) -> float | int | None:
    return int(limit) if limit is not None and limit.is_integer() else limit
