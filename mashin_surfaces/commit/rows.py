"""Many rows by few statements: COPY on PostgreSQL, one INSERT on SQLite.

Values are what the driver takes: texts, numbers, None; a time as text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

#: From so many rows on PostgreSQL's COPY is quicker than INSERT.
COPY_FROM = 2
#: Rows of the largest statement for SQLite.
MOST_ROWS = 512


def insert_rows(
    connection: BaseDatabaseWrapper,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Insert ``rows``; the first value of each must not be None.

    Inside ``atomic()`` what it raises has to end that block: some rows may have been written.
    """
    connection.ensure_connection()
    quote = connection.ops.quote_name
    target = f"{quote(table)} ({', '.join(quote(column) for column in columns)})"
    if connection.vendor == "sqlite":
        _insert_sqlite(connection, target, len(columns), rows)
        return
    with connection.cursor() as cursor:
        if len(rows) >= COPY_FROM and has_copy(connection):
            # The driver's own cursor raises the driver's errors; the writer knows Django's.
            with (
                connection.wrap_database_errors,
                cursor.cursor.copy(f"COPY {target} FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            return
        insert = f"INSERT INTO {target} VALUES ({', '.join(['%s'] * len(columns))})"  # noqa: S608  own names
        if len(rows) == 1:  # what it takes to send many costs a tenth of a lone commit
            cursor.execute(insert, rows[0])
        else:
            cursor.executemany(insert, rows)


def time_text(connection: BaseDatabaseWrapper, moment: datetime) -> str:
    """A time in UTC as its column takes it: PostgreSQL with the zone, others without."""
    text = moment.isoformat(" ", "microseconds")
    return text if connection.vendor == "postgresql" else text[:26]


def is_one_insert(connection: BaseDatabaseWrapper, columns: int, count: int) -> bool:
    """Whether ``insert_rows`` of so many rows is a single statement."""
    if connection.vendor == "sqlite":
        return count <= _most_rows(connection, columns)
    return count == 1 or has_copy(connection)


def has_copy(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver is psycopg 3."""
    return hasattr(connection.connection, "pgconn")


def _insert_sqlite(
    connection: BaseDatabaseWrapper, target: str, columns: int, rows: Sequence[Sequence[Any]]
) -> None:
    """One statement for all rows, by the driver itself.

    ``executemany`` gives up the interpreter's lock for each row, and a busy event loop may keep it
    for 5 ms each time. Sizes are powers of two, so that few statements are prepared; what is left
    over is NULL, and left out by the statement.

    In a transaction a row that can't be written leaves those before it to the rollback that
    follows (``OR FAIL``): else SQLite keeps a copy of each page for undoing the statement alone.
    """
    raw: sqlite3.Connection = connection.connection
    most = _most_rows(connection, columns)
    insert = "INSERT OR FAIL" if connection.in_atomic_block else "INSERT"
    with connection.wrap_database_errors:
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            size = 1 << (len(part) - 1).bit_length()
            values: list[Any] = list(chain.from_iterable(part))
            values.extend([None] * (columns * (size - len(part))))
            raw.execute(_sqlite_statement(insert, target, columns, size), values)


@lru_cache(maxsize=64)
def _sqlite_statement(insert: str, target: str, columns: int, size: int) -> str:
    row = f"({', '.join(['?'] * columns)})"
    if size == 1:
        return f"{insert} INTO {target} VALUES {row}"
    rows = ", ".join([row] * size)
    return f"{insert} INTO {target} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"  # noqa: S608  own names


def _most_rows(connection: BaseDatabaseWrapper, columns: int) -> int:
    """The largest power of two that SQLite's limit of values in a statement allows."""
    raw: sqlite3.Connection = connection.connection
    limit = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // columns
    return int(min(MOST_ROWS, 1 << (limit.bit_length() - 1)))
