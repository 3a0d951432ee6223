"""Walking the chains: is every row what was written, and is none missing?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connections, router
from django.utils import timezone

from .chain import GENESIS, HASHED, row_hash
from .models import LedgerCheck, SurfaceAccess

#: Rows read at once.
CHUNK = 2_000
_AT, _SEQ, _PREVIOUS = HASHED.index("at"), HASHED.index("seq"), HASHED.index("prev_hash")


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first row of a lane that does not hold; ``problem`` is a sentence.

    ``seq`` is a text when someone put one there, which SQLite allows.
    """

    lane: str
    seq: int | str
    id: str
    problem: str

    def __str__(self) -> str:
        return f"lane {self.lane} row {self.seq} ({self.id}): {self.problem}."


def database() -> str:
    """The database that is verified: the one that is written, not a replica."""
    return router.db_for_write(SurfaceAccess)


def lanes() -> list[str]:
    """The names of all lanes, oldest first. One look into the index for each lane."""
    found: list[str] = []
    rows = SurfaceAccess.objects.using(database()).order_by("lane").values_list("lane", flat=True)
    lane = rows.first()
    while lane is not None:
        found.append(lane)
        lane = rows.filter(lane__gt=lane).first()
    return found


def verify(lane: str, progress: Callable[[int], object] = lambda rows: None) -> BadRow | None:
    """The first bad row of a lane, None when all hold. ``progress`` is called with rows done."""
    expected_seq, head = 1, GENESIS
    for rows in _chunks(lane):
        for row in rows:
            *values, stored = row
            seq = values[_SEQ]
            problem = None
            if seq != expected_seq:
                problem = f"expected row {expected_seq}: rows are missing before this one"
            elif values[_PREVIOUS] != head:
                problem = "its prev_hash is not the hash of the row before it"
            elif _hash(values) != stored:
                problem = "its columns do not give its hash: it was changed"
            if problem is not None:
                return BadRow(lane, seq, str(values[0]), problem)
            expected_seq, head = seq + 1, stored
        progress(len(rows))
    return None


def keep(lanes: int, rows: int, bad: BadRow | None) -> None:
    """Note what a walk over all lanes has found, in place of what the last one did."""
    LedgerCheck.objects.using(database()).update_or_create(
        pk=1,
        defaults={
            "at": timezone.now(),
            "lanes": lanes,
            "rows": rows,
            "problem": "" if bad is None else str(bad),
        },
    )


def last_check() -> LedgerCheck | None:
    """What the last walk over all lanes has found; None when there was none."""
    return LedgerCheck.objects.using(database()).first()


def _hash(values: list[Any]) -> str | None:
    """None for values that no row of ours has, such as a text for a number."""
    try:
        at = values[_AT]
        if isinstance(at, str) and at[10:11] == " ":  # as SQLite keeps it
            values[_AT] = f"{at[:10]}T{at[11:]}"
        return row_hash(values)
    except (ValueError, TypeError, ArithmeticError, AttributeError):
        return None


def _chunks(lane: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as the driver gives them: Django's conversions would raise on a spoiled one."""
    connection = connections[database()]
    quote = connection.ops.quote_name
    columns = {name: quote(name) for name in (*HASHED, "hash")}
    if connection.vendor == "sqlite":  # keeps the driver from parsing it
        columns["at"] = f"CAST({columns['at']} AS text)"
    lane_column, seq = columns["lane"], columns["seq"]
    select = (
        f"SELECT {', '.join(columns.values())} FROM {quote(SurfaceAccess._meta.db_table)}"  # noqa: S608  own names
        f" WHERE {lane_column} = %s AND {{}} ORDER BY {seq} LIMIT {CHUNK}"
    )
    # PostgreSQL is told where a part ends: it may not know yet how long a lane has become, and
    # would read and sort all that follows for each of them.
    part = select.format(f"{seq} > %s AND {seq} <= %s")
    last = 0
    with connection.cursor() as cursor:
        cursor.execute(select.format(f"{seq} <= %s"), [lane, CHUNK])
        while chunk := cursor.fetchall():
            yield chunk
            last = chunk[-1][_SEQ]
            cursor.execute(part, [lane, last, last + CHUNK])
        cursor.execute(select.format(f"{seq} > %s"), [lane, last])
        if behind_a_hole := cursor.fetchall():
            yield behind_a_hole
