"""What there is once for each event loop of a process: a hub, an engine, its feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """``make()``, called on each loop that asks. What a loop had goes when it is closed and
    another one asks: a process may run thousands of them, one after the other."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        #: Replaced as a whole: other threads go through it.
        self._made: dict[asyncio.AbstractEventLoop, T] = {}

    def here(self) -> T:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            found = self._make()
            with self._lock:
                alive = {each: made for each, made in self._made.items() if not each.is_closed()}
                self._made = {**alive, loop: found}
        return found

    def everywhere(self) -> tuple[T, ...]:
        """Those of all loops; from any thread. Some loops may be closed by now."""
        return tuple(self._made.values())
