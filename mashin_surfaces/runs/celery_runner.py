"""Executing nodes in Celery's workers (the extra ``celery``; ``RUNS["RUNNER"] = "celery"``).

driver ─► task ─► worker: begins once (``executions.py``), executes ─► outcome in the row ─► driver

A task may be delivered more than once, or never: who has begun stands in the row, and a task that
nobody takes is sent again. The worker that dies with an attempt loses it, as a process does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from celery import current_app, shared_task
from django.db import DatabaseError, InterfaceError

from ..machines.registry import registry
from ..rooms import doorbell
from ..rooms.log import room_threads
from ..steps.spending import Charge
from ..steps.threads import effect_threads
from ..timers.clock import clock
from ..timers.process import BEAT
from . import executions
from .execution import Outcome, error_of, execute
from .executions import Begun, Place
from .holders import NEWS
from .models import Node
from .state import RunState
from .store import load

logger = logging.getLogger(__name__)

TASK: Final = "mashin_surfaces.execute_node"
#: Seconds between two looks for outcomes, when nobody tells of one.
LOOK: Final = 0.25
#: Seconds after which a task that nobody has taken is sent again; doubled each time, up to the
#: second, so that workers with much to do don't get more of it.
RESENT: Final = 10.0
RESENT_AT_MOST: Final = 300.0
#: Seconds without anybody who takes a task, until it is said.
PATIENCE: Final = 10.0
#: Seconds between two looks of a worker whether the run is cancelled.
WATCH: Final = 1.0

Report = Callable[[Outcome], None]


@dataclass(slots=True)
class _Awaited:
    """An attempt that this process waits for, and when its task is sent (again)."""

    report: Report
    send_at: float = 0.0
    wait: float = RESENT


class CeleryRunner:
    """Nodes as tasks of Celery, and what came of them."""

    def __init__(self) -> None:
        self._awaited: dict[Place, _Awaited] = {}
        self._news = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None
        #: When somebody last worked on what is waited for, or nothing was.
        self._worked_at = 0.0
        #: From when on who does not beat is dead: not right after nobody could.
        self._judged_from = 0.0
        self._trouble: str | None = None

    def begin(self, state: RunState, node: Node, report: Report) -> None:
        place = Place(state.run.id, node.name, node.attempt)
        self._await(place, report)
        self._send(place)

    async def resume(self, state: RunState, node: Node, report: Report) -> bool:
        """Never lost by now: the rows tell what became of it, as of all others."""
        self._await(Place(state.run.id, node.name, node.attempt), report)
        return True

    def cancel(self, run: str) -> None:
        """What nobody has begun ends at once; workers see for themselves."""
        places = [place for place in self._awaited if place.run == run]
        if places:
            effect_threads.submit(self._call_off, places, asyncio.get_running_loop())

    def charged(self, run: str, node: Node) -> Sequence[Charge]:
        return ()  # only the worker knows

    def forget(self, run: str) -> None:
        for place in [place for place in self._awaited if place.run == run]:
            del self._awaited[place]

    def news(self) -> None:
        self._news.set()

    def trouble(self) -> str | None:
        return self._trouble

    # -- sent -----------------------------------------------------------------------------------

    def _await(self, place: Place, report: Report) -> None:
        if not self._awaited:
            self._worked_at = monotonic()
        self._awaited[place] = _Awaited(report)
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.get_running_loop().create_task(self._collect())

    def _send(self, place: Place) -> None:
        awaited = self._awaited[place]
        awaited.send_at = monotonic() + awaited.wait
        awaited.wait = min(RESENT_AT_MOST, 2 * awaited.wait)
        effect_threads.submit(_send, place)

    def _call_off(self, places: list[Place], loop: asyncio.AbstractEventLoop) -> None:
        try:
            executions.call_off(places)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("What is cancelled can't be called off now: %s", error)
        else:
            loop.call_soon_threadsafe(self.news)

    # -- collected ------------------------------------------------------------------------------

    async def _collect(self) -> None:
        """Report what came of those that are waited for, as long as there are any."""
        is_failing = False
        while self._awaited:
            self._news.clear()
            try:
                runs = {place.run for place in self._awaited}
                self._take(await room_threads.run(executions.collected, runs))
                is_failing = False
            except (DatabaseError, InterfaceError) as error:
                self._judged_from = monotonic() + 2 * BEAT
                if not is_failing:
                    logger.warning("What came of nodes can't be read now: %s", error)
                is_failing = True
            except Exception:
                logger.exception("The look for what came of nodes failed and goes on.")
            try:
                async with asyncio.timeout(LOOK):
                    await self._news.wait()
            except TimeoutError:
                continue
        self._trouble = None

    def _take(self, begun: dict[Place, Begun]) -> None:
        now = monotonic()
        for place, awaited in list(self._awaited.items()):
            found = begun.get(place)
            if found is None:
                if now >= awaited.send_at:
                    self._send(place)
            elif found.outcome is not None:
                self._worked_at = now
                try:
                    outcome = executions.outcome_of(place, found.outcome)
                except (TypeError, ValueError, KeyError, ArithmeticError):
                    logger.exception("What came of %s can't be read: it counts as lost.", place)
                    outcome = executions.lost(place)
                self._report(place, outcome)
            elif found.is_alive or now < self._judged_from:
                self._worked_at = now
            else:
                self._report(place, executions.lost(place))
        self._look_for_workers(now)

    def _report(self, place: Place, outcome: Outcome) -> None:
        self._awaited.pop(place).report(outcome)

    def _look_for_workers(self, now: float) -> None:
        """Say once that nobody takes what is sent."""
        if now - self._worked_at < PATIENCE:
            self._trouble = None
        elif self._trouble is None and self._awaited:
            self._trouble = "no worker has taken a node for a while"
            logger.warning(
                "No worker of Celery has taken a node for %g s, and %d wait: is one running? "
                "(celery -A project worker)",
                PATIENCE,
                len(self._awaited),
            )


def _send(place: Place) -> None:
    try:
        current_app.send_task(
            TASK, args=place, task_id=":".join(map(str, place)), ignore_result=True
        )
    except Exception as error:
        logger.warning("The broker does not take a node, it is sent again: %s", error)


# -- the worker's side ----------------------------------------------------------------------------


@shared_task(name=TASK, acks_late=True, reject_on_worker_lost=True, ignore_result=True)  # type: ignore[untyped-decorator]
def execute_node(run: str, node: str, attempt: int) -> None:
    """Make one attempt of a node, if nobody has begun it.

    What is begun gets an outcome, whatever happens: the run waits for it while this process lives.
    """
    clock.start()
    if executions.begin(Place(run, node, attempt)):
        try:
            executions.finish(_outcome(run, node, attempt), run)
        except Exception as error:  # the database does not take it: NUL, a number too big
            executions.finish(Outcome(node, attempt, error=error_of(error, node)), run)
        doorbell.tell(NEWS)


def _outcome(run: str, node: str, attempt: int) -> Outcome:
    try:
        executions.patiently(registry.refresh)
        state = executions.patiently(partial(load, run))
        if state is None:  # it was deleted, and who waited is gone with it
            return Outcome(node, attempt)
        return asyncio.run(_execute(state, state.nodes[node]))
    except Exception as error:
        return Outcome(node, attempt, error=error_of(error, node))


async def _execute(state: RunState, node: Node) -> Outcome:
    executing = asyncio.get_running_loop().create_task(execute(state, node))
    while True:
        done, _ = await asyncio.wait([executing], timeout=WATCH)
        if done:
            return executing.result()
        try:
            is_cancelled = await room_threads.run(executions.is_cancelled, state.run.id)
        except (DatabaseError, InterfaceError) as error:
            logger.info("Whether the run is cancelled can't be read now: %s", error)
        else:
            if is_cancelled:
                executing.cancel()
