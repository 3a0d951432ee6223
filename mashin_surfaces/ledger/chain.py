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
from decimal import Decimal
from random import getrandbits
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


def row_hash(values: Sequence[Any]) -> str:
    """SHA-256, in hex, of the columns of ``HASHED`` as a JSON array (RFC 8259, no spaces).

    ``id`` as 32 hex digits, ``at`` in UTC as ``2026-05-07T12:00:00.000000``, ``cost`` with 8
    decimals or null.
    """
    id, at, *rest = values
    cost = rest[13]
    if cost is not None:
        rest[13] = str(Decimal(cost).quantize(_COST))
    when = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return hashlib.sha256(orjson.dumps([id.hex, when, *rest])).hexdigest()


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562): milliseconds, then random bits; later ones sort later."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | getrandbits(12) << 64 | 0x2 << 62 | getrandbits(62)
    )


class Lane:
    """One chain: its name, how many rows it has, and the hash of the last one."""

    __slots__ = ("head", "name", "seq")

    def __init__(self) -> None:
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{os.urandom(6).hex()}"
        self.seq = 0
        self.head = GENESIS
