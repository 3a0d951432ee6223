"""Who works on a run: one process that lives, until it gives the run up or dies."""

from __future__ import annotations

from django.db import connections
from django.db.models import F, Q, QuerySet

from ..rooms.log import database
from ..rooms.models import Room
from ..timers import process
from ..timers.models import ServerProcess
from ..timers.moments import before
from .models import Run

#: What is told to other processes when a run has something to do.
NEWS = "runs"
#: Seconds after its last beat from which on a process counts as dead.
DEAD = 8.0


def living() -> QuerySet[ServerProcess, str]:
    """The processes that are believed to live."""
    rows = ServerProcess.objects.using(database()).filter(beat_at__gt=before(DEAD))
    return rows.values_list("pk", flat=True)


def resting(alias: str, id: str) -> QuerySet[Run]:
    """The run, if it has not ended and nobody who lives works on it."""
    # Who asks lives, whatever its beat says: it may just have been frozen.
    is_free = Q(holder="") | ~Q(holder__in=living()) & ~Q(holder=process.process_id())
    return Run.objects.using(alias).filter(is_free, pk=id, ended_at=None)


def lock(alias: str, run: QuerySet[Run]) -> bool:
    """Inside a transaction: whether the run's room is locked now until it ends, as it must be by
    who writes the run; False when there is no such run, or somebody else has its room.

    That is not waited for: two processes that write each other's runs in one transaction each would
    wait for each other, and all else that they commit with them, until one is refused.
    """
    rooms = Room.objects.using(alias).filter(pk__in=run.values("room"))
    rooms = rooms.select_for_update(skip_locked=True, no_key=True)
    return bool(rooms.values_list("pk", flat=True))


def hold(alias: str, id: str) -> bool:
    """With the run locked: this process works on it from now on, if nobody else does.

    The process counts as living: its row is there until the transaction ends.
    """
    process.ensure(connections[alias])
    return bool(
        resting(alias, id).update(
            holder=process.process_id(),
            fence=F("fence") + 1,
            version=F("version") + 1,
            due_at=None,
        )
    )
