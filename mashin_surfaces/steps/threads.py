"""Threads for synchronous effects: our own pool, so that one slow call stalls no other socket.

Not asgiref's thread-sensitive mode: that is a single thread for the whole process.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

from django.db import close_old_connections

from ..conf import settings


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.EFFECT_THREADS, thread_name_prefix="mashin-effect")


async def run_in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """``function(**arguments)`` on a thread, with the caller's context variables."""
    context = contextvars.copy_context()
    work = partial(context.run, _with_fresh_connections, function, arguments)
    return await asyncio.get_running_loop().run_in_executor(_pool(), work)


def _with_fresh_connections(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Connections stay open between calls; one that died or got too old is replaced."""
    close_old_connections()
    try:
        return function(**arguments)
    finally:
        close_old_connections()
