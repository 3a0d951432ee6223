"""What waits for a commit, one item for a sink or one callable unit, and how its waiter is told.

A waiter is an asyncio future, a ``concurrent.futures.Future`` of a thread, or None when nobody
waits. How works become a transaction is ``batch.py``'s business, when that is ``writer.py``'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import InvalidStateError
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings

logger = logging.getLogger(__name__)

Item_contra = TypeVar("Item_contra", contravariant=True)


class CommitFailed(Exception):
    """The work is not committed, or nobody can say that it is; ``__cause__`` says why.

    Raised when the database is gone or locked, when the wait was longer than ``LEDGER["WAIT"]``,
    when COMMIT itself failed, and for an item that the database does not take.
    """


class Sink(Protocol[Item_contra]):
    """Writes items of one kind; its methods are called on the writer's thread.

    ``settle`` is told after each ``write`` whether what was written is committed; a False may also
    mean that nobody knows. A sink may have ``write_at_once(connection, items) -> bool``: asked when
    nothing else waits, it writes them by a single statement, which needs no transaction around it,
    or does nothing and says False. ``turn``: sinks of a transaction write in this order.
    """

    turn: int

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Item_contra]) -> None: ...

    def settle(self, committed: bool) -> None: ...


#: An item of another sink for the same transaction.
Companion = tuple[Sink[Any], Any]


class Work:
    """One item or unit, since when it waits, and what became of it.

    ``companions``: works that are written in the same transaction; nobody waits for them apart.
    """

    __slots__ = ("companions", "error", "item", "loop_side", "result", "since", "sink", "waiter")

    def __init__(
        self,
        sink: Sink[Any] | None,
        item: Any,
        waiter: asyncio.Future[Any] | ThreadFuture[Any] | None,
        loop_side: LoopSide | None = None,
    ) -> None:
        self.sink = sink  # None: ``item`` is a unit
        self.item = item
        self.waiter = waiter
        self.loop_side = loop_side
        self.companions: Sequence[Work] = ()
        self.since = monotonic()
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def is_given_up(self) -> bool:
        """Its waiter was told that it failed. (One that was cancelled was told nothing.)"""
        waiter = self.waiter
        return waiter is not None and waiter.done() and not waiter.cancelled()

    def fail(self, cause: BaseException) -> None:
        """Not committed, because of ``cause``; an error of its own stays."""
        if self.error is None:
            error = CommitFailed(str(cause))
            error.__cause__ = cause
            self.error, self.result = error, None

    def tell(self) -> None:
        """Wake the waiter; on its own thread, when it is a loop's."""
        waiter = self.waiter
        if waiter is None or waiter.done():
            return
        try:
            if self.error is None:
                waiter.set_result(self.result)
            else:
                waiter.set_exception(_carried(self.error))
        except InvalidStateError:  # a thread gave up at this very moment
            pass


def _carried(error: BaseException) -> BaseException:
    """A future can't carry StopIteration, and SystemExit would end the waiter's loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"The unit of work raised {error!r}.")
    wrapped.__cause__ = error
    return wrapped


class LoopSide:
    """The waiters of the running loop: one timer for all their deadlines, one call to wake them."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._waiting: deque[Work] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, work: Work) -> None:
        """On the loop's thread."""
        self._waiting.append(work)
        if self._timer is None:
            self._timer = self.loop.call_later(settings.LEDGER.WAIT, self._give_up)

    def tell(self, works: Sequence[Work]) -> None:
        """From the writer's thread: one wake-up of the loop for all of them."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            self.loop.call_soon_threadsafe(self._tell, works)

    def _tell(self, works: Iterable[Work]) -> None:
        for work in works:
            work.tell()
        self._forget_told()

    def _forget_told(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0].waiter is not None and waiting[0].waiter.done():
            waiting.popleft()

    def _give_up(self) -> None:
        """Tell those whose time is over, whatever the writer is stuck in."""
        now, patience = monotonic(), settings.LEDGER.WAIT
        self._forget_told()
        while self._waiting and self._waiting[0].since + patience <= now:
            work = self._waiting.popleft()
            if work.waiter is not None and not work.waiter.done():
                work.waiter.set_exception(too_long())
        self._timer = None
        if self._waiting:
            left = self._waiting[0].since + patience - now
            self._timer = self.loop.call_later(left, self._give_up)


def too_long() -> CommitFailed:
    return CommitFailed(f"It waited longer than {settings.LEDGER.WAIT:g} s to be committed.")
