"""What is recorded of one access, as plain values in the order of the columns."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from .chain import rounded_cost


class Access(NamedTuple):
    """A row of ``SurfaceAccess`` without its place in the chain."""

    id: str  # a UUID as 32 hex digits
    at: datetime
    event: str
    surface_kind: str
    surface: str
    path: str
    machine: str
    revision: int
    principal: str
    credential: str
    client: str
    request_id: str
    outcome: str
    code: str
    duration_us: int
    cost: Decimal | None
    input: str
    output: str
    steps: str


#: Columns with a bounded length (``ledger/models.py``) that strangers may fill, by their place.
_LENGTHS = ((4, 200), (5, 500), (6, 64), (8, 200), (9, 200), (10, 64), (11, 64))
_COST = 15


def storable(access: Access) -> tuple[Any, ...]:
    """The values as every database takes them: no NUL, nothing longer than its column.

    Input, output and steps are JSON or come from ``content.describe``: they are clean already.
    """
    values: list[Any] = list(access)
    for place, length in _LENGTHS:
        text = values[place]
        if len(text) > length or not text.isprintable():
            values[place] = clean(text)[:length]
    if values[_COST] is not None:
        values[_COST] = rounded_cost(values[_COST])
    return tuple(values)


def clean(text: str) -> str:
    """Without NUL and lone surrogates, which PostgreSQL and UTF-8 refuse."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
