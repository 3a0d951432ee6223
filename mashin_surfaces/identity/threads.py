"""Threads for database reads of credentials: our own, so that no other work can hold them up.

Not asgiref's thread-sensitive mode: that is a single thread for the whole process.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from threading import Barrier, BrokenBarrierError
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")

#: Each holds at most one database connection.
THREADS = 4
#: Seconds that a busy thread can hold up the others' end.
CLOSE_TIMEOUT = 10.0


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="mashin-identity")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, from one of our threads, with the caller's context variables."""
    context = contextvars.copy_context()
    work = partial(context.run, _with_fresh_connections, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_pool(), work)


def submit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Have it done on one of our threads; the caller goes on."""
    return _pool().submit(_with_fresh_connections, partial(function, *args, **kwargs))


def close() -> None:
    """End the threads and their connections; the next work starts new ones.

    For who drops the database afterwards: PostgreSQL refuses while anyone is connected.
    """
    if _pool.cache_info().currsize == 0:
        return
    pool = _pool()
    _pool.cache_clear()
    # Each thread must do it itself; the barrier keeps one from doing it for another.
    together = Barrier(THREADS)
    for _ in range(THREADS):
        pool.submit(_close_connections, together)
    pool.shutdown()


def _close_connections(together: Barrier) -> None:
    connections.close_all()
    with suppress(BrokenBarrierError):
        together.wait(timeout=CLOSE_TIMEOUT)


def _with_fresh_connections(work: Callable[[], T]) -> T:
    """Connections stay open between works; one that died or got too old is replaced."""
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()
