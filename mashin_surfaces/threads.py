"""Pools of threads that may use the database: our own, so that no other work holds them up.

Not asgiref's thread-sensitive mode: that is a single thread for the whole process.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Barrier, BrokenBarrierError, Lock, local
from time import monotonic
from typing import ParamSpec, TypeVar
from weakref import WeakSet

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a busy thread can hold up the others' end.
CLOSE_TIMEOUT = 10.0


_pools: WeakSet[Threads] = WeakSet()


class Threads:
    """A pool, started with its first work. Each thread holds at most one connection a database.

    ``size`` is asked when the pool starts.
    """

    def __init__(self, name: str, size: Callable[[], int]) -> None:
        self._name = name
        self._size = size
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._threads = 0
        _pools.add(self)

    def become_another(self) -> None:
        """A forked child has none of the parent's threads: it starts its own."""
        self._lock, self._pool = Lock(), None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, from one of the threads, with the caller's context variables."""
        context = contextvars.copy_context()
        work = partial(context.run, _with_fresh_connections, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._started(), work)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it done on one of the threads; the caller goes on."""
        return self._started().submit(_with_fresh_connections, partial(function, *args, **kwargs))

    def close(self) -> None:
        """End the threads and their connections; the next work starts new ones.

        For who drops the database afterwards: PostgreSQL refuses while anyone is connected.
        """
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is None:
            return
        # Each thread must do it itself; the barrier keeps one from doing it for another.
        together = Barrier(self._threads)
        with suppress(RuntimeError):  # the process ends, and they have ended already
            for _ in range(self._threads):
                pool.submit(_close_connections, together)
        pool.shutdown()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._threads = self._size()
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            return self._pool


def _close_connections(together: Barrier) -> None:
    connections.close_all()
    with suppress(BrokenBarrierError):
        together.wait(timeout=CLOSE_TIMEOUT)


#: Seconds of idleness after which a thread asks its connections whether they still are one.
DOUBTED = 1.0
_last_work = local()


def _with_fresh_connections(work: Callable[[], T]) -> T:
    """Connections stay open between works, whatever ``CONN_MAX_AGE`` says: there is one for each
    thread, and no more. One that died is replaced."""
    is_doubted = monotonic() - getattr(_last_work, "at", 0.0) > DOUBTED
    _look_at_connections(is_doubted)
    try:
        return work()
    finally:
        _look_at_connections(is_doubted=False)
        _last_work.at = monotonic()


def _look_at_connections(is_doubted: bool) -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            # What Django sets by CONN_MAX_AGE and CONN_HEALTH_CHECKS when it connects.
            connection.__dict__.update(close_at=None, health_check_enabled=is_doubted)
            connection.close_if_unusable_or_obsolete()


def _start_afresh() -> None:
    for each in tuple(_pools):
        each.become_another()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
