"""Executing nodes in Celery's workers (the extra ``celery``; ``RUNS["RUNNER"] = "celery"``).

driver ─► task ─► worker: begins once (``Execution``), executes ─► outcome in the row ─► driver

A task may be delivered more than once, or never: who has begun stands in the row, and a task that
nobody takes is sent again. The worker that dies with an attempt loses it, as a process does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from asgiref.sync import sync_to_async
from celery import current_app, shared_task
from django.db import DatabaseError, IntegrityError, connections, transaction

from ..machines.registry import registry
from ..rooms import doorbell
from ..rooms.log import database, room_threads
from ..steps.spending import Charge
from ..steps.threads import effect_threads
from ..timers import process
from ..timers.clock import clock
from .execution import Outcome, execute
from .holders import NEWS, living
from .models import Execution, Node, Run
from .state import RunState
from .states import NodeStatus, RunStatus
from .store import load

logger = logging.getLogger(__name__)

TASK: Final = "mashin_surfaces.execute_node"
#: Seconds between two looks for outcomes, when nobody tells of one.
LOOK: Final = 0.25
#: Seconds after which a task that nobody has taken is sent again, and is said to wait.
RESENT: Final = 10.0
#: Seconds between two looks of a worker whether the run is cancelled.
WATCH: Final = 1.0

Report = Callable[[Outcome], None]
Place = tuple[str, str, int]  # run, node, attempt


class CeleryRunner:
    """Nodes as tasks of Celery, and what came of them."""

    def __init__(self) -> None:
        self._pending: dict[Place, Report] = {}
        self._sent: dict[Place, float] = {}
        self._news = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None

    def begin(self, state: RunState, node: Node, report: Report) -> None:
        place = (state.run.id, node.name, node.attempt)
        self._await(place, report)
        self._send(place)

    async def resume(self, state: RunState, node: Node, report: Report) -> bool:
        place = (state.run.id, node.name, node.attempt)
        row = await room_threads.run(_execution, place)
        if row is not None and row[1] is None and row[0] not in await room_threads.run(_living):
            return False
        self._await(place, report)
        if row is None:
            self._send(place)
        return True

    def cancel(self, run: str) -> None:
        """Tasks that nobody has taken are taken back; workers see it for themselves."""
        ids = [_id(place) for place in self._pending if place[0] == run]
        if ids:
            effect_threads.submit(_revoke, ids)

    def charged(self, run: str, node: Node) -> Sequence[Charge]:
        return ()  # only the worker knows

    def forget(self, run: str) -> None:
        for place in [place for place in self._pending if place[0] == run]:
            self._drop(place)

    def news(self) -> None:
        self._news.set()

    def _await(self, place: Place, report: Report) -> None:
        self._pending[place] = report
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.get_running_loop().create_task(self._collect())

    def _drop(self, place: Place) -> None:
        self._pending.pop(place, None)
        self._sent.pop(place, None)

    def _send(self, place: Place) -> None:
        self._sent[place] = time.monotonic()
        effect_threads.submit(_send, place)

    async def _collect(self) -> None:
        """Report what came of those that are waited for, as long as there are any."""
        is_failing = False
        while self._pending:
            try:
                rows, alive = await room_threads.run(_outcomes, {run for run, *_ in self._pending})
                is_failing = False
                self._take(rows, alive)
            except DatabaseError as error:
                if not is_failing:
                    logger.warning("What came of nodes can't be read now: %s", error)
                is_failing = True
            self._news.clear()
            try:
                async with asyncio.timeout(LOOK):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _take(self, rows: dict[Place, tuple[str, Any]], alive: set[str]) -> None:
        for place, report in list(self._pending.items()):
            row = rows.get(place)
            if row is None:
                self._send_again(place)
                continue
            holder, outcome = row
            if outcome is None and holder in alive:
                continue
            self._drop(place)
            _, node, attempt = place
            if outcome is None:
                report(Outcome(node, attempt, is_lost=True, is_remote=True))
            else:
                report(_read(node, attempt, outcome))

    def _send_again(self, place: Place) -> None:
        if time.monotonic() - self._sent.get(place, 0.0) > RESENT:
            logger.warning(
                "No worker has taken the node %s of the run %s for %g s: is one running? "
                "(celery -A project worker)", place[1], place[0], RESENT,
            )  # fmt: skip
            self._send(place)


# -- the driver's side, on a thread ---------------------------------------------------------------


def _id(place: Place) -> str:
    return ":".join(map(str, place))


def _send(place: Place) -> None:
    try:
        current_app.send_task(TASK, args=place, task_id=_id(place), ignore_result=True)
    except Exception as error:
        logger.warning("The broker does not take a node, it is sent again: %s", error)


def _revoke(ids: list[str]) -> None:
    try:
        current_app.control.revoke(ids)
    except Exception as error:
        logger.warning("The broker can't be told what is cancelled: %s", error)


def _execution(place: Place) -> tuple[str, Any] | None:
    run, node, attempt = place
    rows = Execution.objects.using(database()).filter(run=run, node=node, attempt=attempt)
    return rows.values_list("process", "outcome").first()


def _living() -> set[str]:
    return set(living())


def _outcomes(runs: set[str]) -> tuple[dict[Place, tuple[str, Any]], set[str]]:
    rows = Execution.objects.using(database()).filter(run__in=runs)
    found = rows.values_list("run", "node", "attempt", "process", "outcome")
    outcomes = {(run, node, attempt): (holder, out) for run, node, attempt, holder, out in found}
    return outcomes, _living()


# -- the worker's side ----------------------------------------------------------------------------


@shared_task(name=TASK, acks_late=True, reject_on_worker_lost=True, ignore_result=True)  # type: ignore[untyped-decorator]
def execute_node(run: str, node: str, attempt: int) -> None:
    """Make one attempt of a node, if nobody has begun it."""
    clock.start()
    place = (run, node, attempt)
    if not _begin(place):
        return
    registry.refresh()
    state = load(run)
    if state is None:
        return
    outcome = asyncio.run(_execute(state, state.nodes[node]))
    rows = Execution.objects.using(database()).filter(run=run, node=node, attempt=attempt)
    rows.update(outcome=_written(outcome))
    doorbell.tell(NEWS)


def _begin(place: Place) -> bool:
    """Whether this process makes the attempt: the first who says so, while it is wanted."""
    run, node, attempt = place
    alias = database()
    wanted = Node.objects.using(alias).filter(
        run=run, name=node, attempt=attempt, status=NodeStatus.RUNNING
    )
    try:
        with transaction.atomic(using=alias):
            if not wanted.exists():
                return False
            process.ensure(connections[alias])
            Execution.objects.using(alias).create(
                run_id=run,
                node=node,
                attempt=attempt,
                process=process.process_id(),
                started_at=datetime.now(UTC),
            )
    except IntegrityError:
        return False
    return True


async def _execute(state: RunState, node: Node) -> Outcome:
    executing = asyncio.get_running_loop().create_task(execute(state, node))
    while True:
        done, _ = await asyncio.wait([executing], timeout=WATCH)
        if done:
            return executing.result()
        if await sync_to_async(_is_cancelled, thread_sensitive=False)(state.run.id):
            executing.cancel()


def _is_cancelled(run: str) -> bool:
    rows = Run.objects.using(database()).filter(pk=run)
    status = rows.values_list("status", flat=True).first()
    return status in {None, RunStatus.CANCELLING, RunStatus.CANCELLED}


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


def _read(node: str, attempt: int, written: dict[str, Any]) -> Outcome:
    charges = [Charge(Decimal(amount), *rest) for amount, *rest in written.pop("charges")]
    return Outcome(node, attempt, charges=charges, is_remote=True, **written)
