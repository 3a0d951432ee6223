"""Writing access rows: chained in arrival order, in one statement or one COPY."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .access import Access, storable
from .chain import HASHED, Lane, row_hash, utc_text
from .models import SurfaceAccess

COLUMNS = (*HASHED, "hash")
#: From so many rows on PostgreSQL's COPY is quicker than INSERT.
COPY_FROM = 2


class AccessSink:
    """The lane of this process. It moves only with what is committed.

    After a transaction that failed, or whose outcome is unknown, a new lane begins: a row that was
    written after all can't fork the chain.
    """

    def __init__(self) -> None:
        self._lane = Lane()
        self._head = (0, self._lane.head)

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Access]) -> None:
        lane = self._lane
        seq, head = lane.seq, lane.head
        rows: list[tuple[Any, ...]] = []
        for access in items:
            seq += 1
            id, at, *rest = storable(access)
            when = utc_text(at)
            head_before, head = head, row_hash((id, when, *rest, lane.name, seq, head))
            rows.append((id, when, *rest, lane.name, seq, head_before, head))
        self._head = (seq, head)
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
    table = connection.ops.quote_name(SurfaceAccess._meta.db_table)
    columns = ", ".join(connection.ops.quote_name(column) for column in COLUMNS)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            rows = [(row[0], f"{row[1]}+00", *row[2:]) for row in rows]
            if len(rows) >= COPY_FROM:
                # The driver's own cursor raises the driver's errors; the writer knows Django's.
                with (
                    connection.wrap_database_errors,
                    cursor.cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy,
                ):
                    for row in rows:
                        copy.write_row(row)
                return
        else:  # as Django writes a datetime there
            rows = [(row[0], row[1].replace("T", " "), *row[2:]) for row in rows]
        places = ", ".join(["%s"] * len(COLUMNS))
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608  own names


sink = AccessSink()
if hasattr(os, "register_at_fork"):  # a forked child is another writer
    os.register_at_fork(after_in_child=sink.begin_lane)
