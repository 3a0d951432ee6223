"""A room that somebody's transaction holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.db import connections, transaction

from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent
from tests.rooms.members import PATIENCE


@contextmanager
def held(room: int, event: NewEvent) -> Iterator[None]:
    """Another thread has appended ``event`` and not committed it; at the end it is committed."""
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                log.append(room, [event])
                holds.set()
                assert let_go.wait(PATIENCE)
        finally:
            connections.close_all()

    with ThreadPoolExecutor() as threads:
        holding = threads.submit(hold)
        try:
            assert holds.wait(PATIENCE)
            yield
        finally:
            let_go.set()
        holding.result(PATIENCE)
