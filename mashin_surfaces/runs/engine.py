"""The runs of one process: which it works on, which it takes over, which it starts.

Every process looks for runs that are due, or whose holder has died; whoever is first has them.
What is told through the channel layer (``runs``) only makes it look sooner.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from ..commit import CommitFailed, Companion, writer
from ..conf import settings
from ..exceptions import Code, Refusal
from ..ledger.access import Access
from ..ledger.record import companions, record_soon
from ..loops import PerLoop
from ..rooms import doorbell
from ..rooms.log import database, room_threads
from ..timers import process
from .announcements import announce
from .driver import Driver, Runner
from .endings import give_up
from .holders import NEWS, hold, living, lock, resting
from .models import Run
from .progress import Progress
from .runners import ProcessRunner
from .store import BeingWritten, Creation, NewRun, creations, load, write_once

logger = logging.getLogger(__name__)

#: Seconds between two looks for what is due, at most and at least.
LOOK = 0.5
SOONEST = 0.01
#: Runs that are found by one look, and those of them that are being taken up at once: what is left
#: others may have, and soon.
MOST_FOUND = 100
MOST_TAKEN = 12


class Engine:
    """The runs that are worked on by one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.runner: Runner = _runner()
        self._drivers: dict[str, Driver] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._idle: set[str] = set()
        self._taking: set[str] = set()

    def start(self) -> None:
        """Look for what is due from now on."""
        if self._looking is None or self._looking.done():
            self._looking = self.loop.create_task(self._look_out())

    async def close(self) -> None:
        """End its tasks; for who ends the loop. What is held is taken over by others."""
        tasks = [*self._tasks, *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    @property
    def working_on(self) -> int:
        """How many runs have something to do here."""
        return len(self._drivers)

    @property
    def has_place(self) -> bool:
        """Whether a new run may be worked on here: not by a loop that is gone in a moment."""
        return self.is_looking and len(self._drivers) < settings.RUNS.MAX_RUNS

    # -- new runs -------------------------------------------------------------------------------

    async def create(self, new: NewRun, row: Callable[[Run], Access] | None = None) -> Run:
        """Start a run; returns when it is committed, with the first steps it took.

        ``row``: makes the access row, which is committed with it.
        Raises ``Refusal`` (conflict: another run has this idempotency key; busy: another process
        is at it) and ``CommitFailed``. Who is cancelled here may have started it all the same.
        """
        creating = self.loop.create_task(self._create(new, row))
        self._tasks.add(creating)
        creating.add_done_callback(self._tasks.discard)
        return await asyncio.shield(creating)  # what is written is begun, whoever waits for it

    async def _create(self, new: NewRun, row: Callable[[Run], Access] | None) -> Run:
        creation = Creation(new)
        state, change = creation.state, creation.change
        run = state.run
        progress: Progress | None = None
        if self.has_place:
            progress = Progress(state, change)
            progress.go_on(())
            if progress.is_resting:
                progress.rest()
            else:
                run.holder, run.fence = process.process_id(), 1
        else:
            run.due_at = change.now

        def access() -> Access | None:
            return None if row is None or creation.stored is None else row(creation.stored)

        group = writer(database())
        rows = () if row is None else companions(database(), access)
        if run.request_key is None:
            await group.put_together(creations, creation, *rows)
            stored = run
        else:
            stored = await _written_once(creation, *rows)
        if row is not None and not rows:
            record_soon(row(stored))
        if stored is not run:
            return stored
        if progress is None:
            wake()
            doorbell.tell(NEWS)
            return run
        announce(state, change, is_over=progress.is_over)
        if change.also:
            self.news()
        if not progress.is_resting:
            driver = Driver(state, self.runner, self.news)
            driver.begin(progress.to_run)
            self._have(driver, driver.drive)
        return run

    async def rest_of(self, id: str) -> None:
        """Returns when the run is not worked on here (any more)."""
        driver = self._drivers.get(id)
        if driver is not None:
            await driver.is_left.wait()

    # -- runs that are there ----------------------------------------------------------------------

    def take_up(self, id: str, *, is_held: bool = False) -> None:
        """Work on a run when it is free; ``is_held``: this process holds it already."""
        driver = self._drivers.get(id)
        if driver is not None:
            driver.poke()
        elif id not in self._taking:
            self._taking.add(id)
            self._spawn(self._take_in_turn(id, is_held=is_held))

    def news(self) -> None:
        """Somebody told that a run has something to do."""
        self._news.set()
        self.runner.news()

    async def _take_in_turn(self, id: str, *, is_held: bool) -> None:
        try:
            await self._take(id, is_held=is_held)
        finally:
            self._taking.discard(id)
            self._news.set()  # there may be more to take

    async def _take(self, id: str, *, is_held: bool) -> None:
        try:
            if not is_held:
                is_held = await writer(database()).run(lambda connection: _claim(connection, id))
            if not is_held or id in self._drivers or id in _being_read:
                return
            _being_read.add(id)
            try:
                state = await room_threads.run(load, id)
            finally:
                _being_read.discard(id)
        except (CommitFailed, Error) as error:
            logger.warning("The run %s can't be taken up now: %s", id, error)
            return
        except Refusal as refusal:  # its machine is gone
            await give_up(id, refusal)
            return
        except Exception:
            logger.exception("The run %s can't be worked on.", id)
            await give_up(id, Refusal(Code.EXECUTION_FAILED, "The run can't be worked on."))
            return
        if state is None or state.run.holder != process.process_id():
            return  # it was deleted; or we slept, and it is somebody else's by now
        if id not in self._drivers:
            driver = Driver(state, self.runner, self.news)
            self._have(driver, driver.take_over)

    def _have(self, driver: Driver, work: Callable[[], Awaitable[None]]) -> None:
        self._drivers[driver.id] = driver
        _worked_on[driver.id] = driver
        self._spawn(self._work(driver, work))

    async def _work(self, driver: Driver, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            logger.exception("The run %s can't be worked on.", driver.id)
            await give_up(driver.id, Refusal(Code.EXECUTION_FAILED, "The run can't be worked on."))
        finally:
            del self._drivers[driver.id]
            _worked_on.pop(driver.id, None)
            driver.is_left.set()
        if driver.is_poked:  # it may have been given to us anew while we left it
            self.take_up(driver.id, is_held=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- looking out ----------------------------------------------------------------------------

    async def _look_out(self) -> None:
        is_failing = False
        while True:
            wait = LOOK
            self._news.clear()
            try:
                found = await room_threads.run(_look)
                wait, is_failing = found.wait, False
                for id, version in found.held.items():
                    driver = self._drivers.get(id)
                    if driver is not None and version > driver.version:
                        driver.poke()
                # Held here, and nobody works on it: not the first time, it may just have begun.
                idle = {id for id in found.held if id not in _worked_on}
                for id in idle & self._idle:
                    self.take_up(id, is_held=True)
                self._idle = idle
                self._take_some(found.due)
            except Error as error:
                if not is_failing:
                    logger.warning("What is due for runs can't be read: %s", error)
                is_failing = True
            except Exception:
                logger.exception("The look-out for runs failed and goes on.")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()

    def _take_some(self, due: list[str]) -> None:
        """Take up some of what is due, any of it: all processes see the same."""
        for id in self._drivers.keys() & set(due):
            self._drivers[id].poke()  # it is not ours any more, and does not know it yet
        free = [id for id in due if id not in self._taking and id not in self._drivers]
        places = min(MOST_TAKEN - len(self._taking), settings.RUNS.MAX_RUNS - self.working_on)
        for id in random.sample(free, max(0, min(places, len(free)))):
            self.take_up(id)


class Found(NamedTuple):
    """What a look found: runs to take up, the versions of runs held by this process, and when to
    look again, in seconds."""

    due: list[str]
    held: dict[str, int]
    wait: float


def _look() -> Found:
    runs = Run.objects.using(database())
    now = datetime.now(UTC)
    is_due = Q(holder="", due_at__lte=now)
    due = list(runs.filter(is_due).order_by("due_at").values_list("pk", flat=True)[:MOST_FOUND])
    if len(due) < MOST_FOUND:
        orphans = runs.exclude(holder__in=["", process.process_id()]).exclude(holder__in=living())
        due += orphans.values_list("pk", flat=True)[:MOST_FOUND]
    held = dict(runs.filter(holder=process.process_id()).values_list("pk", "version"))
    later = runs.filter(holder="", due_at__gt=now).order_by("due_at")
    moment = later.values_list("due_at", flat=True).first()
    wait = LOOK if moment is None else (moment - now).total_seconds()
    return Found(due, held, max(SOONEST, min(LOOK, wait)))


async def _written_once(creation: Creation, *rows: Companion) -> Run:
    """The run that was asked for under a key: this one, or the one that is there."""
    until = monotonic() + settings.LEDGER.WAIT
    while True:
        try:
            unit = partial(write_once, creation=creation)
            return await writer(database()).run(unit, *rows)
        except BeingWritten:
            if monotonic() > until:
                message = "The same request is being carried out: try again."
                raise Refusal(Code.BUSY, message, retry_after=1) from None
            await asyncio.sleep(SOONEST)


def _claim(connection: BaseDatabaseWrapper, id: str) -> bool:
    """In the writer's transaction: whether this process works on the run from now on."""
    alias = connection.alias
    return lock(alias, resting(alias, id)) and hold(alias, id)


def _runner() -> Runner:
    if settings.RUNS.RUNNER == "celery":
        from .celery_runner import CeleryRunner

        return CeleryRunner()
    return ProcessRunner()


#: Every run that some loop of this process works on.
_worked_on: dict[str, Driver] = {}
#: Those that are about to be: a large one takes longer to read than it is from look to look.
_being_read: set[str] = set()
_engines = PerLoop(Engine)


def engine() -> Engine:
    """The engine of the running loop."""
    return _engines.here()


def wake() -> None:
    """Have the engines of this process look; from any thread."""
    for each in _engines.everywhere():
        with suppress(RuntimeError):  # its loop is closed
            each.loop.call_soon_threadsafe(each.news)


def heard(news: str) -> None:
    """Another process told something."""
    if news == NEWS:
        wake()


def is_working() -> bool:
    """Whether an engine of this process looks for runs."""
    return any(each.is_looking for each in _engines.everywhere())


def trouble() -> str | None:
    """Why nodes of this process's runs wait longer than they should; None when they do not."""
    said = (each.runner.trouble() for each in _engines.everywhere())
    return next(filter(None, said), None)


def adopt(id: str) -> None:
    """Work on a run that this process holds; from any thread."""
    for each in _engines.everywhere():
        if each.is_looking:
            with suppress(RuntimeError):
                each.loop.call_soon_threadsafe(partial(each.take_up, id, is_held=True))
                return
