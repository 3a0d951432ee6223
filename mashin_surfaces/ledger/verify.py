"""Walking the chains: is every row what was written, and is none missing?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .chain import GENESIS, HASHED, row_hash
from .models import SurfaceAccess

#: Rows read at once.
CHUNK = 2_000
_SEQ, _PREVIOUS = HASHED.index("seq"), HASHED.index("prev_hash")


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first row of a lane that does not hold; ``problem`` is a sentence."""

    lane: str
    seq: int
    id: str
    problem: str


def lanes() -> list[str]:
    """The names of all lanes, oldest first. One look into the index for each lane."""
    found: list[str] = []
    rows = SurfaceAccess.objects.order_by("lane").values_list("lane", flat=True)
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
            elif row_hash(values) != stored:
                problem = "its columns do not give its hash: it was changed"
            if problem is not None:
                return BadRow(lane, seq, str(values[0]), problem)
            expected_seq, head = seq + 1, stored
        progress(len(rows))
    return None


def _chunks(lane: str) -> Iterator[list[tuple[Any, ...]]]:
    rows = SurfaceAccess.objects.filter(lane=lane).order_by("seq").values_list(*HASHED, "hash")
    last = None
    while True:
        chunk = list((rows if last is None else rows.filter(seq__gt=last))[:CHUNK])
        if not chunk:
            return
        yield chunk
        last = chunk[-1][_SEQ]
