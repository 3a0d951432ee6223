"""Rows of runs and nodes as the database's driver takes them: many at once, without the ORM."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from ..machines.json_values import dumps
from .models import Node, Run

_JSON: Final = frozenset(
    {"input", "output", "error", "needs", "step", "attempts", "inner", "metrics"}
)
_AMOUNTS: Final = frozenset({"budget", "spent", "reserved"})
#: What most of them are.
_EMPTY: Final = "[]"


def values_of(
    connection: BaseDatabaseWrapper, row: Run | Node, columns: Sequence[str]
) -> list[Any]:
    """The values of these columns; JSON as text."""
    return [_value(connection, name, getattr(row, name)) for name in columns]


def _value(connection: BaseDatabaseWrapper, name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _JSON:
        return dumps(value).decode() if value != [] else _EMPTY
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if name in _AMOUNTS:
        return connection.ops.adapt_decimalfield_value(value, 16, 6)
    return str(value) if isinstance(value, str) else value
