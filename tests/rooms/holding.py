"""Rows that somebody's transaction holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from django.db import connections, transaction

from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent
from tests.rooms.members import PATIENCE


def held(room: int, event: NewEvent) -> AbstractContextManager[None]:
    """Another thread has appended ``event`` and not committed it; at the end it is committed."""
    return holding(partial(log.append, room, [event]))


@contextmanager
def holding(work: Callable[[], object]) -> Iterator[None]:
    """Another thread has done this and not committed it; at the end it is committed."""
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                work()
                holds.set()
                assert let_go.wait(PATIENCE)
        finally:
            connections.close_all()

    with ThreadPoolExecutor() as threads:
        holder = threads.submit(hold)
        try:
            assert holds.wait(PATIENCE)
            yield
        finally:
            let_go.set()
        holder.result(PATIENCE)
