"""Who works on a run: one process that lives, until it gives the run up or dies."""

from __future__ import annotations

from django.db.models import F, Q, QuerySet

from ..rooms.log import database
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


def is_free() -> Q:
    """Whether nobody who lives works on a run."""
    return Q(holder="") | ~Q(holder__in=living())


def hold(alias: str, id: str) -> bool:
    """Inside a transaction: this process works on the run from now on, if nobody else does."""
    free = Run.objects.using(alias).filter(is_free(), pk=id, ended_at=None)
    return bool(
        free.update(
            holder=process.process_id(),
            fence=F("fence") + 1,
            version=F("version") + 1,
            due_at=None,
        )
    )
