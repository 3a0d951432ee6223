"""Values from query strings and forms, where everything is text: read by the field's type.

What a text cannot mean is told; what it means is then checked like any other input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..exceptions import Refusal
from .definition import Field, Type
from .json_values import parse
from .validation_errors import Detail, pointer

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "on": True,
    "yes": True,
    "false": False,
    "0": False,
    "off": False,
    "no": False,
}
_TEXTUAL: Final = frozenset({"text", "enum", "uuid", "date", "datetime"})


def coerced(
    fields: Sequence[Field], pairs: Mapping[str, Sequence[str]], *, decimals: bool
) -> tuple[dict[str, Any], list[Detail]]:
    """The values by field name, and what could not be read. Unknown names are kept as text."""
    by_name = {field.name: field for field in fields}
    values: dict[str, Any] = {}
    problems: list[Detail] = []
    for name, texts in pairs.items():
        field = by_name.get(name)
        if field is None:
            values[name] = texts[-1] if texts else ""
            continue
        try:
            present = [text for text in texts if not _is_absent(field, text)]
            value = _read_field(field, present, decimals)
        except ValueError as error:
            problems.append({"path": pointer((name,)), "code": "wrong_type", "message": str(error)})
            continue
        if value is not _ABSENT:
            values[name] = value
    return values, problems


_ABSENT: Final = object()


def _is_absent(field: Field, text: str) -> bool:
    return text == "" and not (field.required and field.type.name == "text")


def _read_field(field: Field, texts: list[str], decimals: bool) -> Any:
    if not texts:
        return _ABSENT
    if field.type.name == "list":
        return _read_list(field.type, texts, decimals)
    if len(texts) > 1:
        raise ValueError(f"Expected one value, found {len(texts)}.")
    return _read(field.type, texts[0], decimals)


def _read_list(kind: Type, texts: list[str], decimals: bool) -> Any:
    """One JSON list, or a key that is repeated."""
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        return _read_json(texts[0], decimals)
    item = kind.item or Type(name="text")
    return [_read(item, text, decimals) for text in texts]


def _read(kind: Type, text: str, decimals: bool) -> Any:
    if kind.name in _TEXTUAL:
        return text
    if kind.name in {"number", "integer", "decimal"}:
        stripped = text.strip()
        if not _NUMBER.fullmatch(stripped):
            article = "an integer" if kind.name == "integer" else "a number"
            raise ValueError(f"Expected {article}, found another text.")
        return _read_json(stripped, decimals)
    if kind.name == "boolean":
        word = text.strip().lower()
        if word not in _BOOLEANS:
            raise ValueError("Expected true or false, found another text.")
        return _BOOLEANS[word]
    return _read_json(text, decimals)


def _read_json(text: str, decimals: bool) -> Any:
    try:
        return parse(text, decimals=decimals)
    except Refusal as refusal:
        raise ValueError(refusal.message) from None
