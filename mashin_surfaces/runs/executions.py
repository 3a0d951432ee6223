"""Attempts that are made by other processes than the run's own, as rows (``Execution``).

Who makes one begins it, once, and leaves what came of it; who works on the run collects that. How
the two hear of each other is left to ``celery_runner.py``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError, InterfaceError, OperationalError, connections, transaction
from django.db.models import QuerySet

from ..exceptions import Code
from ..rooms.log import database
from ..steps.spending import Charge
from ..timers import process
from .execution import Outcome
from .holders import living
from .models import Execution, Node, Run
from .states import NodeStatus, RunStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two tries while the database is away.
AWAY = 0.5


class Place(NamedTuple):
    """An attempt."""

    run: str
    node: str
    attempt: int


class Begun(NamedTuple):
    """Who has begun an attempt, whether that process lives, and what came of it so far."""

    is_alive: bool
    outcome: dict[str, Any] | None


# -- who makes it ---------------------------------------------------------------------------------


def begin(place: Place) -> bool:
    """Whether this call is the one that makes the attempt: the first, while it is wanted."""
    return patiently(partial(_begin, place, datetime.now(UTC)))


def _begin(place: Place, at: datetime) -> bool:
    run, node, attempt = place
    alias = database()
    wanted = Node.objects.using(alias).filter(
        run=run, name=node, attempt=attempt, status=NodeStatus.RUNNING
    )
    mine = {"process": process.process_id(), "started_at": at}
    try:
        with transaction.atomic(using=alias):
            process.ensure(connections[alias])
            Execution.objects.using(alias).create(run_id=run, node=node, attempt=attempt, **mine)
            # Looked at with the row in place, which waits for who is just taking another's outcome
            # and its row away: before, the node would still seem to wait for this attempt.
            is_wanted = wanted.exists()
            transaction.set_rollback(not is_wanted, using=alias)
            return is_wanted
    except IntegrityError:
        # By this very call, when it was not told that the commit had counted.
        return _rows(place).filter(**mine).exists()


def finish(outcome: Outcome, run: str) -> None:
    """Leave what came of an attempt for who works on the run."""
    place = Place(run, outcome.node, outcome.attempt)
    patiently(lambda: _rows(place).update(outcome=_written(outcome)))


def is_cancelled(run: str) -> bool:
    """Whether nobody wants any more what its nodes come to; raises the database's errors."""
    rows = Run.objects.using(database()).filter(pk=run)
    status = rows.values_list("status", flat=True).first()
    return status in {None, RunStatus.CANCELLING, RunStatus.CANCELLED}


def patiently(work: Callable[[], T]) -> T:
    """What the work gives, as soon as the database is there; on a thread of one's own."""
    is_failing = False
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            if not is_failing:
                logger.warning("The database is waited for: %s", error)
            is_failing = True
            connections[database()].close()
            time.sleep(AWAY)


# -- who works on the run -------------------------------------------------------------------------


def collected(runs: Collection[str]) -> dict[Place, Begun]:
    """The attempts of these runs that somebody has begun."""
    rows = Execution.objects.using(database()).filter(run__in=runs)
    found = list(rows.values_list("run", "node", "attempt", "process", "outcome"))
    alive = set(living())  # read afterwards: who has begun by then has beaten
    return {
        Place(run, node, attempt): Begun(holder in alive, outcome)
        for run, node, attempt, holder, outcome in found
    }


def call_off(places: Iterable[Place]) -> None:
    """End, as cancelled, those of the attempts that nobody has begun; nobody will."""
    error = {"code": Code.EXECUTION_FAILED.value, "message": "The execution was cancelled."}
    now = datetime.now(UTC)
    Execution.objects.using(database()).bulk_create(
        [
            Execution(
                run_id=run,
                node=node,
                attempt=attempt,
                process=process.process_id(),
                outcome=_written(Outcome(node, attempt, error=error, is_cancelled=True)),
                started_at=now,
            )
            for run, node, attempt in places
        ],
        ignore_conflicts=True,
    )


def outcome_of(place: Place, written: dict[str, Any]) -> Outcome:
    """What ``finish`` has left."""
    charges = [Charge(Decimal(amount), *rest) for amount, *rest in written["charges"]]
    return Outcome(place.node, place.attempt, is_remote=True, **{**written, "charges": charges})


def lost(place: Place) -> Outcome:
    """What is known of an attempt whose process died with it."""
    return Outcome(place.node, place.attempt, is_lost=True, is_remote=True)


# -- rows -----------------------------------------------------------------------------------------


def _rows(place: Place) -> QuerySet[Execution]:
    run, node, attempt = place
    return Execution.objects.using(database()).filter(run=run, node=node, attempt=attempt)


def _written(outcome: Outcome) -> dict[str, Any]:
    return {
        "output": outcome.output,
        "inner": dict(outcome.inner),
        "error": outcome.error,
        "charges": [
            [str(each.amount), each.model, each.input_tokens, each.output_tokens]
            for each in outcome.charges
        ],
        "seconds": outcome.seconds,
        "is_cancelled": outcome.is_cancelled,
    }
