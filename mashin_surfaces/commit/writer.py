"""Group commit: one writer per process and database, on a thread and a connection of its own.

Everything that waits at the same moment shares one transaction; each waiter goes on when it is
committed. There is no timer: a lone item is written at once, and what comes meanwhile is the next
batch. Two kinds of work: *items* that a ``Sink`` writes many at a time, and *units*, callables
that run in a savepoint of their own. What is written is their business.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings
from ..loops import PerLoop
from .batch import Committer
from .work import Companion, LoopSide, Sink, Work, too_long

logger = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

#: Works of one transaction; the rest waits for the next.
MOST_IN_A_BATCH = 512
#: Seconds that the process's end waits for what nobody waits for.
FLUSH_TIMEOUT = 10.0


class GroupCommit:
    """The writer of one database. Every method may be called from any thread or loop.

    A caller is suspended until its work is committed, at most ``LEDGER["WAIT"]`` seconds; the work
    is in the queue from the call on, awaited or not. When ``LEDGER["QUEUE"]`` works wait, others
    wait at the door; what nobody waits for is then lost.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._queue: deque[Work] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._committer = Committer(alias)
        self._loop_sides = PerLoop(LoopSide)
        self._writing: list[Work] = []
        self._dropped = 0

    # -- those who wait -------------------------------------------------------------------------

    def put(self, sink: Sink[Item], item: Item) -> Awaitable[None]:
        """Have ``sink`` write ``item``; returns when it is committed, else ``CommitFailed``.

        The item of a caller that is cancelled is written all the same.
        """
        return self._wait(sink, item)

    def put_together(self, sink: Sink[Item], item: Item, *companions: Companion) -> Awaitable[None]:
        """``put``, with other sinks' items in the same transaction; waits for the first."""
        return self._wait(sink, item, companions)

    def run(self, unit: Callable[[BaseDatabaseWrapper], T], *companions: Companion) -> Awaitable[T]:
        """``unit(connection)`` in a savepoint of the transaction; its result once committed.

        What the unit raises is raised here, and undoes only this unit. It runs once at most, on
        the writer's thread, where ``connection`` is also what the ORM uses. After ``CommitFailed``
        nobody knows whether it counts. ``companions``: other sinks' items for the same
        transaction, written after it.
        """
        return self._wait(None, unit, companions)

    def put_now(self, sink: Sink[Item], item: Item) -> None:
        """``put`` for synchronous code."""
        self._wait_now(sink, item)

    def run_now(self, unit: Callable[[BaseDatabaseWrapper], T]) -> T:
        """``run`` for synchronous code."""
        result: T = self._wait_now(None, unit)
        return result

    def put_soon(self, sink: Sink[Item], item: Item) -> None:
        """Have it written; nobody waits. A failure is logged, and so is a full queue."""
        if len(self._queue) >= settings.LEDGER.QUEUE:
            if not self._dropped:
                logger.error("The queue of the writer is full: what nobody waits for is lost.")
            self._dropped += 1
            return
        self._enqueue(Work(sink, item, None))

    def _wait(
        self, sink: Sink[Any] | None, item: Any, companions: Sequence[Companion] = ()
    ) -> Awaitable[Any]:
        if len(self._queue) >= settings.LEDGER.QUEUE:
            return self._wait_at_the_door(sink, item, companions)
        side = self._loop_sides.here()
        waiter = side.loop.create_future()
        work = Work(sink, item, waiter, side)
        if companions:
            work.companions = [Work(other, each, None) for other, each in companions]
        side.add(work)
        self._enqueue(work)
        return waiter

    async def _wait_at_the_door(
        self, sink: Sink[Any] | None, item: Any, companions: Sequence[Companion]
    ) -> Any:
        """Hold the caller back while too much waits: not in memory, and not for ever."""
        patience = monotonic() + settings.LEDGER.WAIT
        while len(self._queue) >= settings.LEDGER.QUEUE:
            if monotonic() > patience:
                raise too_long()
            await asyncio.sleep(0.005)
        return await self._wait(sink, item, companions)

    def _wait_now(self, sink: Sink[Any] | None, item: Any) -> Any:
        if threading.current_thread() is self._thread:
            raise RuntimeError("A unit of work can't wait for another: call it as a function.")
        waiter: ThreadFuture[Any] = ThreadFuture()
        self._enqueue(Work(sink, item, waiter))
        try:
            return waiter.result(settings.LEDGER.WAIT)
        except TimeoutError:
            with suppress(Exception):  # it was told at this very moment: then that counts
                waiter.set_exception(too_long())
            return waiter.result()

    def _enqueue(self, work: Work) -> None:
        self._queue.append(work)
        if self._thread is None:
            self._start()
        if self._asleep:  # once for a burst: the others find it awake
            self._asleep = False
            self._bell.put(None)

    # -- the writer's thread --------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"mashin-commit-{self.alias}", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while self._has_work():
            take = min(len(self._queue), MOST_IN_A_BATCH)
            self._writing = [self._queue.popleft() for _ in range(take)]
            batch = [work for work in self._writing if not work.is_given_up]
            try:
                self._committer.commit(batch)
            except BaseException as error:
                logger.exception("The writer failed, and goes on.")
                for work in batch:
                    work.fail(error)
            self._tell(batch)
            self._writing = []
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                logger.error("%d works that nobody waited for were lost.", dropped)

    def _has_work(self) -> bool:
        """Sleep until there is some; False when the writer is to end."""
        while not self._queue:
            if self._closing:
                with self._lock:
                    if self._queue:  # it came while we were leaving
                        break
                    self._committer.close()
                    self._thread = None
                    if not self._queue:  # who comes from now on finds no thread, and starts one
                        self._closing = False
                        return False
                    self._thread = threading.current_thread()  # somebody came meanwhile
            self._asleep = True
            # What came between the look and the flag must not be slept over.
            if not self._queue and not self._closing:
                self._bell.get()
            self._asleep = False
        return True

    def _tell(self, batch: list[Work]) -> None:
        by_loop: dict[LoopSide, list[Work]] = {}
        for work in batch:
            if work.loop_side is not None:
                by_loop.setdefault(work.loop_side, []).append(work)
            else:
                work.tell()
        for side, works in by_loop.items():
            side.tell(works)

    # -- its state ------------------------------------------------------------------------------

    def health(self) -> str | None:
        """What the last batch failed with, or that the oldest waits too long; None when well."""
        for works in (self._writing, self._queue):
            with suppress(IndexError):  # taken at this very moment
                if monotonic() - works[0].since > settings.LEDGER.WAIT:
                    return "The writer does not get through."
        return self._committer.last_error

    def close(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Write what waits and end the thread; at most ``timeout`` seconds.

        A work that comes later starts it anew.
        """
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            self._closing = True
            self._bell.put(None)
        thread.join(timeout)
        if thread.is_alive():
            logger.error("%d works are not written at the end.", len(self._queue))


_writers: dict[str, GroupCommit] = {}
_lock = threading.Lock()
#: What a forked child must neither use nor close: the parent's writers and their connections.
_inherited: list[dict[str, GroupCommit]] = []


def writer(alias: str = "default") -> GroupCommit:
    """The writer of a database in this process, made when it is first asked for."""
    found = _writers.get(alias)
    if found is None:
        with _lock:
            found = _writers.setdefault(alias, GroupCommit(alias))
    return found


def close_writers(timeout: float = FLUSH_TIMEOUT) -> None:
    """Flush every writer of this process and end its thread and connection."""
    for each in list(_writers.values()):
        each.close(timeout)


def _start_afresh() -> None:
    """A forked child has none of the parent's threads: it gets writers of its own."""
    global _writers, _lock  # as a whole: the parent may have held the lock
    _inherited.append(_writers)
    _writers, _lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
atexit.register(close_writers)
