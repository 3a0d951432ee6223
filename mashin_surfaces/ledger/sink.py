"""Writing access rows: chained in arrival order, a whole batch by one statement."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ..commit.rows import insert_rows, is_one_insert
from .access import Access, storable
from .chain import HASHED, Lane, row_hash, utc_text
from .models import SurfaceAccess

COLUMNS = (*HASHED, "hash")


class AccessSink:
    """The lane of this process. It moves only with what is committed.

    After a transaction that failed, or whose outcome is unknown, a new lane begins: a row that was
    written after all can't fork the chain. An item may be a function: what is recorded then depends
    on what the same transaction did before; None records nothing.
    """

    turn = 9  # last: what it says of the others has happened

    def __init__(self) -> None:
        self._lane = Lane()
        self._head = (0, self._lane.head)

    def write_at_once(
        self, connection: BaseDatabaseWrapper, items: Sequence[Access | Callable[[], Access | None]]
    ) -> bool:
        if not is_one_insert(connection, len(COLUMNS), len(items)):
            return False
        self.write(connection, items)
        return True

    def write(
        self, connection: BaseDatabaseWrapper, items: Sequence[Access | Callable[[], Access | None]]
    ) -> None:
        lane = self._lane
        seq, head = lane.seq, lane.head
        rows: list[tuple[Any, ...]] = []
        for item in items:
            access = item if isinstance(item, Access) else item()
            if access is None:
                continue
            seq += 1
            id, at, *rest = storable(access)
            when = utc_text(at)
            head_before, head = head, row_hash((id, when, *rest, lane.name, seq, head))
            rows.append((id, when, *rest, lane.name, seq, head_before, head))
        self._head = (seq, head)
        if rows:
            _insert(connection, rows)

    def settle(self, committed: bool) -> None:
        if committed:
            self._lane.seq, self._lane.head = self._head
        else:
            self.begin_lane()

    def begin_lane(self) -> None:
        self._lane = Lane()


def _insert(connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]]) -> None:
    """``rows``: ``id`` and ``at`` as texts, as the hash has them."""
    if connection.vendor == "sqlite":
        rows = [
            (row[0], row[1].replace("T", " "), *row[2:15], _text(row[15]), *row[16:])
            for row in rows
        ]
    elif connection.vendor == "postgresql":
        rows = [(row[0], f"{row[1]}+00", *row[2:]) for row in rows]
    else:  # as Django writes a datetime there
        rows = [(row[0], row[1].replace("T", " "), *row[2:]) for row in rows]
    insert_rows(connection, SurfaceAccess._meta.db_table, COLUMNS, rows)


def _text(cost: Any) -> str | None:
    return None if cost is None else str(cost)


sink = AccessSink()
if hasattr(os, "register_at_fork"):  # a forked child is another writer
    os.register_at_fork(after_in_child=sink.begin_lane)
