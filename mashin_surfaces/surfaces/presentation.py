"""What a page shows of a result: a value and its type → the shape that the template draws.

``page.js`` draws the same shapes in the browser, from what ``outline`` tells it of the types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ..machines.definition import Field, Type
from ..machines.schemas import dumps

Kind = Literal["nothing", "text", "number", "boolean", "moment", "list", "table", "entries"]

_MOMENTS = frozenset({"date", "datetime"})
_UNKNOWN = Type(name="any")


@dataclass(frozen=True, slots=True)
class Shown:
    """One value, ready to be drawn.

    ``text``: of a text, number or moment (ISO 8601). ``items``: of a list. ``columns`` and
    ``rows``: of a table. ``entries``: labels and values of a map or object.
    """

    kind: Kind
    text: str = ""
    is_true: bool = False
    items: tuple[Shown, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Shown, ...], ...] = ()
    entries: tuple[tuple[str, Shown], ...] = ()

    @property
    def is_big(self) -> bool:
        """Whether it is folded away where space is short: inside a table, a list, an entry."""
        return self.kind in {"list", "table", "entries"}

    @property
    def size(self) -> int:
        """How many parts it has."""
        return len(self.items or self.rows or self.entries)


def present(result: Mapping[str, Any], fields: Sequence[Field]) -> Shown:
    """A machine's output, in the order of its ``responds with``."""
    return _entries(result, fields)


def present_value(value: Any) -> Shown:
    """Any JSON value, of which no type is known."""
    return _present(value, _UNKNOWN)


def label_of(field: Field) -> str:
    """Its label, or its name as people write: ``metric_name`` → "Metric name"."""
    if field.label:
        return field.label
    words = field.name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] if words else field.name


def outline(fields: Iterable[Field]) -> list[dict[str, Any]]:
    """The types of ``fields`` as JSON: ``[{"name", "label", "type", "item"?, "fields"?}]``."""
    return [
        {"name": field.name, "label": label_of(field), **_outline(field.type)} for field in fields
    ]


def _outline(type: Type) -> dict[str, Any]:
    told: dict[str, Any] = {"type": type.name}
    if type.item is not None:
        told["item"] = _outline(type.item)
    if type.fields:
        told["fields"] = outline(type.fields)
    return told


def _present(value: Any, type: Type) -> Shown:
    if value is None or value == "":
        return Shown("nothing")
    if isinstance(value, bool):
        return Shown("boolean", is_true=value)
    if isinstance(value, int | float | Decimal):
        return Shown("number", text=dumps(value).decode())
    if isinstance(value, Mapping):
        return _entries(value, type.fields)
    if isinstance(value, list | tuple):
        return _list(value, type.item or _UNKNOWN)
    return Shown("moment" if type.name in _MOMENTS else "text", text=str(value))


def _entries(value: Mapping[str, Any], fields: Sequence[Field]) -> Shown:
    if not value:
        return Shown("nothing")
    known = {field.name: field for field in fields}
    names = [name for name in known if name in value]
    names += [name for name in value if name not in known]
    return Shown(
        "entries",
        entries=tuple(
            (_label(name, known), _present(value[name], _type(name, known))) for name in names
        ),
    )


def _list(values: Sequence[Any], item: Type) -> Shown:
    if not values:
        return Shown("nothing")
    if not all(isinstance(value, Mapping) and value for value in values):
        return Shown("list", items=tuple(_present(value, item) for value in values))
    known = {field.name: field for field in item.fields}
    names = list(dict.fromkeys([*known, *(name for value in values for name in value)]))
    return Shown(
        "table",
        columns=tuple(_label(name, known) for name in names),
        rows=tuple(
            tuple(_present(value.get(name), _type(name, known)) for name in names)
            for value in values
        ),
    )


def _label(name: str, known: Mapping[str, Field]) -> str:
    return label_of(known[name]) if name in known else name


def _type(name: str, known: Mapping[str, Field]) -> Type:
    return known[name].type if name in known else _UNKNOWN
