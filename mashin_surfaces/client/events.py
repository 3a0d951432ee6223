"""Events that the clients of all dialects tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """What came between could not be told any more: it was trimmed, or the log began anew.

    Everything after ``since`` up to ``to`` is missing; ``epoch`` is the log's now. What the client
    folds (a state, a run) is whole again when this is told. ``topic``: of a machine's, else "".
    """

    since: int
    to: int
    epoch: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """The log was cleared while the client was there. ``topic``: of a machine's, else ""."""

    epoch: str
    by: str = ""
    topic: str = ""
