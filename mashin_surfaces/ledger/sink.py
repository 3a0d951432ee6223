"""Writing access rows: chained in arrival order, a whole batch by one statement."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .access import Access, storable
from .chain import HASHED, Lane, row_hash, utc_text
from .models import SurfaceAccess

COLUMNS = (*HASHED, "hash")
#: From so many rows on PostgreSQL's COPY is quicker than INSERT.
COPY_FROM = 2
#: Rows of the largest statement for SQLite.
MOST_ROWS = 512


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

    def is_one_statement(self, connection: BaseDatabaseWrapper, count: int) -> bool:
        if connection.vendor == "sqlite":
            return count <= _most_rows(connection)
        return count == 1 or _has_copy(connection)

    def settle(self, committed: bool) -> None:
        if committed:
            self._lane.seq, self._lane.head = self._head
        else:
            self.begin_lane()

    def begin_lane(self) -> None:
        self._lane = Lane()


def _insert(connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]]) -> None:
    """``rows``: ``id`` and ``at`` as texts, as the hash has them."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        _insert_sqlite(connection, rows)
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            rows = [(row[0], f"{row[1]}+00", *row[2:]) for row in rows]
            if len(rows) >= COPY_FROM and _has_copy(connection):
                # The driver's own cursor raises the driver's errors; the writer knows Django's.
                with (
                    connection.wrap_database_errors,
                    cursor.cursor.copy(f"COPY {_target(connection)} FROM STDIN") as copy,
                ):
                    for row in rows:
                        copy.write_row(row)
                return
        else:  # as Django writes a datetime there
            rows = [(row[0], row[1].replace("T", " "), *row[2:]) for row in rows]
        places = ", ".join(["%s"] * len(COLUMNS))
        cursor.executemany(f"INSERT INTO {_target(connection)} VALUES ({places})", rows)  # noqa: S608  own names


def _insert_sqlite(connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]]) -> None:
    """One statement for all rows, by the driver itself.

    ``executemany`` gives up the interpreter's lock for each row, and a busy event loop may keep it
    for 5 ms each time. Sizes are powers of two, so that few statements are prepared; what is left
    over is NULL, and left out by the statement.
    """
    most = _most_rows(connection)
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        size = 1 << (len(part) - 1).bit_length()
        values: list[Any] = list(
            chain.from_iterable(
                (row[0], row[1].replace("T", " "), *row[2:15], _text(row[15]), *row[16:])
                for row in part
            )
        )
        values.extend([None] * (len(COLUMNS) * (size - len(part))))
        raw: sqlite3.Connection = connection.connection
        raw.execute(_sqlite_statement(_target(connection), size), values)


def _text(cost: Any) -> str | None:
    return None if cost is None else str(cost)


@lru_cache(maxsize=32)
def _sqlite_statement(target: str, size: int) -> str:
    row = f"({', '.join(['?'] * len(COLUMNS))})"
    if size == 1:
        return f"INSERT INTO {target} VALUES {row}"  # noqa: S608  own names
    rows = ", ".join([row] * size)
    return f"INSERT INTO {target} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"  # noqa: S608  own names


def _most_rows(connection: BaseDatabaseWrapper) -> int:
    """The largest power of two that SQLite's limit of values in a statement allows."""
    raw: sqlite3.Connection = connection.connection
    limit = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // len(COLUMNS)
    return int(min(MOST_ROWS, 1 << (limit.bit_length() - 1)))


def _has_copy(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver is psycopg 3."""
    return hasattr(connection.connection, "pgconn")


def _target(connection: BaseDatabaseWrapper) -> str:
    quote = connection.ops.quote_name
    columns = ", ".join(quote(column) for column in COLUMNS)
    return f"{quote(SurfaceAccess._meta.db_table)} ({columns})"


sink = AccessSink()
if hasattr(os, "register_at_fork"):  # a forked child is another writer
    os.register_at_fork(after_in_child=sink.begin_lane)
