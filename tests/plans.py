"""How PostgreSQL carries out what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite finds what follows by the index"
)


@contextmanager
def without_ordered_indexes() -> Iterator[Callable[[], float]]:
    """Its plans are those for a table of which it knows nothing yet: it sorts what it finds.

    Gives what to ask for the most rows that any step of the SELECTs up to then went through.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET enable_indexscan = off")
        try:
            with CaptureQueriesContext(connection) as queries:

                def most_rows() -> float:
                    selects = [each["sql"] for each in queries if each["sql"].startswith("SELECT")]
                    plans = []
                    for select in selects:
                        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {select}")
                        plans.append(cursor.fetchone()[0][0]["Plan"])
                    return max(map(_most_rows, plans))

                yield most_rows
        finally:
            cursor.execute("RESET enable_indexscan")


def _most_rows(plan: dict[str, Any]) -> float:
    rows: float = plan["Actual Rows"]
    return max([rows, *(_most_rows(each) for each in plan.get("Plans", ()))])
