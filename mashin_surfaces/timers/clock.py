"""The clock: a thread per process that beats, and does what is due once per cluster.

A recurring job is a row ``Timer(kind="sweep", key=name)``. When it is due, some process claims it
by a lease, does it, and moves ``due_at`` afterwards; a job that fails, or whose holder dies, is due
again when the lease is over. Jobs share the thread with the beat: a long one calls ``go_on``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from django.db import Error as AnyDatabaseError
from django.db import connections
from django.db.models import Q

from . import process
from .lease import claim_now, is_free, release_now, renew_now
from .models import Timer
from .moments import after, database, now

logger = logging.getLogger(__name__)

KIND = "sweep"
#: Seconds that a job is held without a sign of life of its holder.
JOB_TTL = 10.0
#: Seconds between two looks for processes that are dead.
SWEEP_EVERY = 10.0
#: Seconds that ``stop`` waits for the thread.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done every so many seconds by one process of the cluster."""

    name: str
    seconds: float
    function: Callable[[], object]


class Clock:
    """Beats every ``process.BEAT`` seconds and looks then for what is due."""

    #: The database's time, for queries.
    now = staticmethod(now)

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._become_another()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._become_another)

    def _become_another(self) -> None:
        """No thread runs here yet: in a forked child neither, whatever the parent was about."""
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._beat_at = 0.0
        self._running: Job | None = None

    def every(self, name: str, seconds: float, function: Callable[[], object]) -> None:
        """Have ``function`` called every ``seconds`` by one process, on its clock's thread.

        For the first time after ``seconds``. It should bear being called twice: a holder that was
        frozen may wake up while another does its work. A name stands for one job.
        """
        self._jobs[name] = Job(name, seconds, function)

    def start(self) -> None:
        """Start the thread, once in a process; a forked child has to start its own."""
        if self.is_running():
            return
        with self._lock:
            if self.is_running():
                return
            self._wake.clear()
            self._thread = threading.Thread(
                target=self._run, args=(self._end,), name="mashin-clock", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread and its connections, and take away the rows of this process.

        ``start`` begins anew.
        """
        with self._lock:
            if self._thread is not None:
                self._end.set()
                self._wake.set()
                self._thread.join(PATIENCE)
            self._thread = None
            self._end = threading.Event()

    def is_running(self) -> bool:
        return self._thread is not None

    def wake(self) -> None:
        """Beat and look now."""
        self._wake.set()

    def go_on(self) -> bool:
        """For a long job, between its steps: beats when it is time, and keeps the job.

        False when the job should end: somebody else has it, or the clock is to stop. Elsewhere
        than on the clock's thread it does nothing and is True.
        """
        if threading.current_thread() is not self._thread:
            return True
        if monotonic() - self._beat_at >= process.BEAT:
            self._beat()
            if self._running is not None and not renew_now(KIND, self._running.name, JOB_TTL):
                return False
        return not self._end.is_set()

    def tick(self) -> None:
        """Beat, and do what is due; raises the database's errors. For the clock's thread."""
        self._beat()
        for job in self._due():
            if self._end.is_set():
                return
            self._do(job)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self, end: threading.Event) -> None:
        failing = False
        while not end.is_set():
            begun = monotonic()
            try:
                self.tick()
                if failing:
                    logger.warning("The clock reaches the database again.")
                failing = False
            except AnyDatabaseError as error:
                _close_connections()
                if not failing:  # said once, not every other second
                    logger.warning(
                        "The clock can't reach the database, so other processes will take this "
                        "one for dead until it can: %s",
                        error,
                    )
                failing = True
            except Exception:
                logger.exception("The clock failed and goes on.")
            self._wake.wait(max(0.0, process.BEAT - (monotonic() - begun)))
            self._wake.clear()
        try:
            process.retire()
        except Exception as error:
            logger.info("The rows of this process stay until they are swept: %s", error)
        _close_connections()

    def _beat(self) -> None:
        self._beat_at = monotonic()
        was_gone = process.beat()
        for hook in process.on_beat:
            hook(was_gone)

    def _due(self) -> list[Job]:
        """The jobs that are due and that nobody else holds; one query."""
        jobs = dict(self._jobs)
        if not jobs:
            return []
        rows = Timer.objects.using(database())
        is_due = Q(due_at__lte=now()) & is_free()
        found = dict(
            rows.filter(kind=KIND, key__in=jobs)
            .annotate(is_due=is_due)
            .values_list("key", "is_due")
        )
        new = [
            Timer(kind=KIND, key=job.name, due_at=after(job.seconds))
            for job in jobs.values()
            if job.name not in found
        ]
        if new:
            rows.bulk_create(new, ignore_conflicts=True)
        return [jobs[name] for name, due in found.items() if due]

    def _do(self, job: Job) -> None:
        fence = claim_now(KIND, job.name, JOB_TTL)
        if fence is None:
            return
        row = Timer.objects.using(database()).filter(kind=KIND, key=job.name)
        if not row.filter(due_at__lte=now()).exists():  # another process was quicker
            release_now(KIND, job.name)
            return
        self._running = job
        try:
            job.function()
        except AnyDatabaseError:
            raise
        except Exception:
            logger.exception('The job "%s" failed; it is tried again.', job.name)
            return  # held until the lease is over
        finally:
            self._running = None
        if self._end.is_set():  # it may have ended early: another process goes on
            return
        mine = row.filter(fence=fence, holder=process.process_id())
        mine.update(due_at=after(job.seconds), holder="", held_until=None)


def _close_connections() -> None:
    with suppress(Exception):  # it may be broken in any way
        connections.close_all()


clock = Clock()
clock.every("processes", SWEEP_EVERY, process.sweep)
atexit.register(clock.stop)
