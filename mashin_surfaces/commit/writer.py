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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import InvalidStateError
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings

logger = logging.getLogger(__name__)

T = TypeVar("T")
Item_contra = TypeVar("Item_contra", contravariant=True)

#: Items of one transaction; the rest waits for the next.
MOST_IN_A_BATCH = 2_000
#: Seconds between looks whether someone waits too long for a database that hangs.
LOOK = 0.5
#: Seconds that the process's end waits for what nobody waits for.
FLUSH_TIMEOUT = 10.0


class CommitFailed(Exception):
    """The work is not committed, or nobody can say that it is."""


class Sink(Protocol[Item_contra]):
    """Writes items of one kind. ``settle`` is told whether the transaction was committed."""

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Item_contra]) -> None: ...

    def settle(self, committed: bool) -> None: ...


class _Work:
    """One item or unit and its waiter: a future of a loop, of a thread, or nobody."""

    __slots__ = ("error", "item", "result", "since", "sink", "waiter")

    def __init__(self, sink: Sink[Any] | None, item: Any, waiter: Any) -> None:
        self.sink = sink  # None: ``item`` is a unit
        self.item = item
        self.waiter = waiter
        self.since = monotonic()
        self.result: Any = None
        self.error: BaseException | None = None


class GroupCommit:
    """The writer of one database. Every method may be called from any thread or loop."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._queue: deque[_Work] = deque()
        # A bare lock, held while there is nothing to do: the cheapest thing to sleep on.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._sleeping = False
        self._rousing = threading.Lock()
        self._most_waiting = settings.LEDGER.QUEUE
        self._patience = settings.LEDGER.WAIT
        self._writing: list[_Work] = []
        self.is_closed = False
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"mashin-commit-{alias}", daemon=True
        )
        self._thread.start()
        threading.Thread(
            target=self._oversee, name=f"mashin-commit-{alias}-patience", daemon=True
        ).start()

    # -- those who wait -------------------------------------------------------------------------

    async def put(self, sink: Sink[Item_contra], item: Item_contra) -> None:
        """Have ``sink`` write ``item``; returns when it is committed, else ``CommitFailed``."""
        waiter = asyncio.get_running_loop().create_future()
        work = _Work(sink, item, waiter)
        if len(self._queue) >= self._most_waiting:
            await self._wait_at_the_door(work)
        self._enqueue(work)
        await waiter

    async def run(self, unit: Callable[[BaseDatabaseWrapper], T]) -> T:
        """``unit(connection)`` in a savepoint; its result once committed.

        What the unit raises is raised here, and undoes only this unit.
        """
        waiter = asyncio.get_running_loop().create_future()
        work = _Work(None, unit, waiter)
        await self._wait_at_the_door(work)
        self._enqueue(work)
        await waiter
        result: T = work.result
        return result

    def put_now(self, sink: Sink[Item_contra], item: Item_contra) -> None:
        """``put`` for synchronous code."""
        self._wait_now(_Work(sink, item, ThreadFuture()))

    def run_now(self, unit: Callable[[BaseDatabaseWrapper], T]) -> T:
        """``run`` for synchronous code."""
        work = _Work(None, unit, ThreadFuture())
        self._wait_now(work)
        result: T = work.result
        return result

    def put_soon(self, sink: Sink[Item_contra], item: Item_contra) -> None:
        """Have it written; nobody waits. A failure is logged."""
        self._enqueue(_Work(sink, item, None))

    async def _wait_at_the_door(self, work: _Work) -> None:
        """Hold the caller back while too much waits: not in memory, and not for ever."""
        while len(self._queue) >= self._most_waiting:
            if monotonic() - work.since > self._patience:
                raise CommitFailed("Too much waits to be written.")
            await asyncio.sleep(0.005)

    def _wait_now(self, work: _Work) -> None:
        self._enqueue(work)
        work.waiter.result()

    def _enqueue(self, work: _Work) -> None:
        self._queue.append(work)
        if self._sleeping:
            self._rouse()

    def _rouse(self) -> None:
        """Wake the thread; several may try at once, one does."""
        with self._rousing:
            if self._sleeping:
                self._sleeping = False
                self._wake.release()

    # -- the writer's thread --------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            if not self._queue:
                if self.is_closed:
                    connections[self.alias].close()
                    return
                self._sleeping = True
                # What came between the look and the flag must not be slept over.
                if self._queue or self.is_closed:
                    self._rouse()
                self._wake.acquire()
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_IN_A_BATCH))]
            self._writing = batch
            try:
                self._write(self._in_time(batch))
            except Exception as error:
                logger.exception("The writer failed and goes on.")
                _fail(batch, CommitFailed(str(error)))
            self._writing = []
            _resolve([(work.waiter, work.error) for work in batch])

    def _in_time(self, batch: list[_Work]) -> list[_Work]:
        """The works that did not wait too long; the others fail."""
        late = monotonic() - self._patience
        for work in batch:
            if work.since < late and work.waiter is not None:
                work.error = CommitFailed("It waited too long to be written.")
        return [work for work in batch if work.error is None]

    def _write(self, batch: list[_Work]) -> None:
        """One transaction; when one work spoils it, smaller ones until it is found."""
        if not batch:
            return
        sinks = _by_sink(batch)
        connection = connections[self.alias]
        try:
            with transaction.atomic(using=self.alias):
                for sink, works in sinks:
                    if sink is None:
                        for work in works:
                            self._run_unit(connection, work)
                    else:
                        sink.write(connection, [work.item for work in works])
        except (OperationalError, InterfaceError) as error:
            # Gone, locked, or the outcome of the COMMIT is unknown: nothing counts as written.
            _settle(sinks, committed=False)
            connection.close()
            logger.error("%d works are not committed: %s", len(batch), error)
            _fail(batch, CommitFailed(str(error)))
        except (DatabaseError, ValueError, TypeError, OverflowError) as error:
            _settle(sinks, committed=False)
            if len(batch) == 1:
                logger.error("A work can't be written: %s", error)
                _fail(batch, CommitFailed(str(error)))
                return
            for work in batch:
                work.error = work.result = None
            half = len(batch) // 2
            self._write(batch[:half])
            self._write(batch[half:])
        else:
            _settle(sinks, committed=True)

    def _run_unit(self, connection: BaseDatabaseWrapper, work: _Work) -> None:
        try:
            with transaction.atomic(using=self.alias):
                work.result = work.item(connection)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            work.error = error

    # -- the other thread -----------------------------------------------------------------------

    def _oversee(self) -> None:
        """A database may hang, and the writer with it; nobody else shall wait for that.

        Whether the batch in hand will be committed, nobody can say; what is in the queue by then
        is late and will not be written.
        """
        while not self._end.wait(LOOK):
            late = monotonic() - self._patience
            batch = self._writing
            if not batch or batch[0].since > late:
                continue
            error = CommitFailed("The database does not answer.")
            overdue = [
                (work.waiter, error)
                for work in (*batch, *self._queue.copy())
                if work.since < late and work.waiter is not None and not work.waiter.done()
            ]
            if overdue:
                logger.error("The database hangs: %d works wait in vain.", len(overdue))
                _resolve(overdue)

    # -- its end --------------------------------------------------------------------------------

    def close(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Write what waits and end; at most ``timeout`` seconds."""
        self.is_closed = True
        self._rouse()
        self._thread.join(timeout)
        self._end.set()


def _by_sink(batch: Iterable[_Work]) -> list[tuple[Sink[Any] | None, list[_Work]]]:
    """Works of one sink together, in the order of arrival."""
    found: dict[int, tuple[Sink[Any] | None, list[_Work]]] = {}
    for work in batch:
        found.setdefault(id(work.sink), (work.sink, []))[1].append(work)
    return list(found.values())


def _settle(sinks: list[tuple[Sink[Any] | None, list[_Work]]], *, committed: bool) -> None:
    for sink, _ in sinks:
        if sink is not None:
            sink.settle(committed)


def _fail(batch: list[_Work], error: Exception) -> None:
    for work in batch:
        if work.error is None:
            work.error = error
            work.result = None


def _resolve(told: Iterable[tuple[Any, BaseException | None]]) -> None:
    """Wake the waiters: one call into each loop for all of them. Who was told before, was told."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Any, BaseException | None]]] = {}
    for waiter, error in told:
        if isinstance(waiter, ThreadFuture):
            with suppress(InvalidStateError):
                _tell(waiter, error)
        elif waiter is not None:
            by_loop.setdefault(waiter.get_loop(), []).append((waiter, error))
    for loop, waiters in by_loop.items():
        try:
            loop.call_soon_threadsafe(_wake_all, waiters)
        except RuntimeError:  # the loop is closed: nobody waits there any more
            continue


def _wake_all(told: list[tuple[Any, BaseException | None]]) -> None:
    for waiter, error in told:
        if not waiter.done():
            _tell(waiter, error)


def _tell(waiter: Any, error: BaseException | None) -> None:
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


_writers: dict[str, GroupCommit] = {}
_writers_lock = threading.Lock()


def writer(alias: str = "default") -> GroupCommit:
    """The writer of a database in this process, made when it is first asked for."""
    found = _writers.get(alias)
    if found is None or found.is_closed:
        with _writers_lock:
            found = _writers.get(alias)
            if found is None or found.is_closed:
                found = _writers[alias] = GroupCommit(alias)
    return found


def close_writers(timeout: float = FLUSH_TIMEOUT) -> None:
    """Flush and end every writer of this process."""
    for each in list(_writers.values()):
        each.close(timeout)


os.register_at_fork(after_in_child=_writers.clear)  # a fork has none of the threads
atexit.register(close_writers)
