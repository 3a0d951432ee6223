"""What the ledger says of the last minutes: bounded looks at its indexes, quick at any size.

Ids are in the order of time, so counting a minute reads no row, only the index of the ids.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final
from uuid import UUID

from django.db import connections, router

from .chain import first_id
from .models import SurfaceAccess

#: Accesses of one minute that are counted, and the refused ones of all that is looked at.
MOST_A_MINUTE: Final = 20_000
MOST_REFUSED: Final = 10_000
#: The newest rows whose lanes are counted.
MOST_ROWS: Final = 1_000
_TABLE: Final = SurfaceAccess._meta.db_table


def accesses_by_minute(end: datetime, minutes: int) -> list[int]:
    """How many accesses began in each of the minutes before ``end``, the oldest first; each is
    counted up to ``MOST_A_MINUTE``. One query."""
    connection = connections[database()]
    moments = [end - timedelta(minutes=minutes - n) for n in range(minutes + 1)]
    bounds = [_prepared(moment) for moment in moments]
    parts = [
        f"SELECT {number}, count(*) FROM (SELECT 1 FROM {_TABLE} "  # noqa: S608  own names
        f"WHERE id >= %s AND id < %s LIMIT {MOST_A_MINUTE}) AS minute_{number}"
        for number in range(minutes)
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(parts), [bound for pair in pairwise(bounds) for bound in pair]
        )
        counted = dict(cursor.fetchall())
    return [counted[number] for number in range(minutes)]


def refusals_by_code(since: datetime) -> list[tuple[str, int]]:
    """How often each code was answered since then, the most frequent first; of the newest
    ``MOST_REFUSED``. One query."""
    with connections[database()].cursor() as cursor:
        # The condition as the index has it, for a database that compares texts.
        cursor.execute(
            f"SELECT code, count(*) AS times FROM (SELECT code FROM {_TABLE} "  # noqa: S608
            "WHERE NOT (outcome = 'allowed') AND id >= %s "
            f"ORDER BY id DESC LIMIT {MOST_REFUSED}) AS refused "
            "GROUP BY code ORDER BY times DESC, code",
            [_prepared(since)],
        )
        return [(code, times) for code, times in cursor.fetchall()]


def newest() -> SurfaceAccess | None:
    """The row that began last."""
    return SurfaceAccess.objects.using(database()).order_by("-id").first()


def lanes_now() -> int:
    """How many lanes the newest ``MOST_ROWS`` rows are in: those of who writes now."""
    rows = SurfaceAccess.objects.using(database()).order_by("-id").values_list("lane", flat=True)
    return len(set(rows[:MOST_ROWS]))


def database() -> str:
    """Where the rows are read: with what was just written."""
    return router.db_for_write(SurfaceAccess)


def _prepared(moment: datetime) -> str | UUID:
    """The smallest id of a moment, as the database has ids."""
    field = SurfaceAccess._meta.get_field("id")
    prepared: str | UUID = field.get_db_prep_value(first_id(moment), connections[database()])
    return prepared
