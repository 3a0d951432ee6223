"""Many rows by one statement: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import Error, connection, transaction

from mashin_surfaces.commit.rows import insert_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def table() -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute("create table numbers (n integer not null, place integer primary key)")
    yield "numbers"
    with connection.cursor() as cursor:
        cursor.execute("drop table numbers")


def stored(table: str) -> list[tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(f"select n, place from {table} order by place")
        return [(n, place) for n, place in cursor.fetchall()]


def insert(table: str, rows: list[tuple[int, int | None]], *, together: bool) -> None:
    if together:
        with transaction.atomic():
            insert_rows(connection, table, ("n", "place"), rows)
    else:
        insert_rows(connection, table, ("n", "place"), rows)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 64, 100])
def test_all_are_written(table: str, count: int, together: bool) -> None:
    rows = [(n * n, n) for n in range(count)]
    insert(table, list(rows), together=together)
    assert stored(table) == rows


@pytest.mark.parametrize("together", [True, False])
def test_none_is_written_when_one_can_not_be(table: str, together: bool) -> None:
    insert(table, [(0, 7)], together=together)
    with pytest.raises(Error):
        insert(table, [(1, 1), (2, 2), (3, 7), (4, 4)], together=together)
    assert stored(table) == [(0, 7)]


def test_a_savepoint_is_enough_to_undo_them(table: str) -> None:
    with transaction.atomic():
        insert_rows(connection, table, ("n", "place"), [(0, 7)])
        with pytest.raises(Error), transaction.atomic():
            insert_rows(connection, table, ("n", "place"), [(1, 1), (2, 7)])
    assert stored(table) == [(0, 7)]
