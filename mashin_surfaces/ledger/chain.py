"""Hash lanes: in a lane every row carries the hash of the one before (``docs/ledger.md``).

A lane belongs to one writer process. A row's hash is SHA-256 over a JSON array of its columns and
the previous hash, so that anyone with the rows can compute it again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

import orjson

GENESIS = "0" * 64
#: The columns under the hash, in this order; the last is ``prev_hash``.
HASHED = (
    "id", "at", "event", "surface_kind", "surface", "path", "machine", "revision", "principal",
    "credential", "client", "request_id", "outcome", "code", "duration_us", "cost", "input",
    "output", "steps", "lane", "seq", "prev_hash",
)  # fmt: skip
_COST = Decimal("0.00000001")
#: SQLite keeps a decimal as a float: so many digits come back as they went in.
_DIGITS = Context(prec=15)


def row_hash(values: Sequence[Any]) -> str:
    """SHA-256, in hex, of the columns of ``HASHED`` as a JSON array (RFC 8259, no spaces).

    ``id`` (a UUID, or its 32 hex digits) as hex digits, ``at`` (a datetime, or already that text)
    in UTC as ``2026-05-07T12:00:00.000000``, ``cost`` with 8 decimals or null. Raises
    ``ValueError``, ``TypeError`` or ``ArithmeticError`` for what no row can hold.
    """
    row = list(values)
    id, at, cost = row[0], row[1], row[15]
    if not isinstance(id, str):
        row[0] = id.hex
    if not isinstance(at, str):
        row[1] = utc_text(at)
    if cost is not None:
        row[15] = f"{rounded_cost(cost):f}"
    return hashlib.sha256(orjson.dumps(row)).hexdigest()


def rounded_cost(cost: Decimal | float | str) -> Decimal:
    """With 8 decimals and 15 digits at most, which every database gives back as they are.

    Raises ``ValueError`` for what is not a finite number.
    """
    if isinstance(cost, float):
        exact = _DIGITS.create_decimal_from_float(cost)
    else:
        exact = _DIGITS.create_decimal(cost)
    if not exact.is_finite():
        raise ValueError(f"A cost is a finite number, not {cost}.")
    return _DIGITS.add(exact, 0).quantize(_COST) + 0  # and no negative zero


def utc_text(at: datetime) -> str:
    """``2026-05-07T12:00:00.000000``, in UTC."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:26]


def new_id() -> str:
    """A UUID version 7 (RFC 9562) as 32 hex digits: milliseconds, then random bits.

    The bits are the system's: a project may seed ``random``, in several processes alike.
    """
    chance = int.from_bytes(os.urandom(10))
    milliseconds = time.time_ns() // 1_000_000
    return f"{milliseconds:012x}7{chance >> 68:03x}{0x8000000000000000 | chance & _LOW:016x}"


def first_id(moment: datetime) -> UUID:
    """The smallest UUID version 7 of a moment: ids from it on began then, or later."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


_LOW = (1 << 62) - 1


class Lane:
    """One chain: its name, how many rows it has, and the hash of the last one."""

    __slots__ = ("head", "name", "seq")

    def __init__(self) -> None:
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{os.urandom(6).hex()}"
        self.seq = 0
        self.head = GENESIS
