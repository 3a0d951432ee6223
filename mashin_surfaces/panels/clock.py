"""Looking for what is due: in every process, so that it is done when any of them lives.

Which process does it is decided by the panel's lease (``runner.py``).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from django.db import DatabaseError

from ..loops import PerLoop
from ..machines.registry import Snapshot, registry
from ..rooms.log import database, room_threads
from ..timers.clock import clock
from .models import Due
from .runner import runner_of
from .store import forget_requests, out_of_step

logger = logging.getLogger(__name__)

#: Seconds between two looks at most, and at least.
LONGEST = 1.0
SHORTEST = 0.02
#: Panels that are woken by one look.
MOST_WOKEN = 500
#: Seconds between two times that old requests are taken away.
FORGET_EVERY = 300.0

clock.every("panels", FORGET_EVERY, forget_requests)


class PanelClock:
    """The look-out of one event loop."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._seen: Snapshot | None = None

    def start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        is_failing = False
        while True:
            wait = LONGEST
            try:
                await self._look_at_machines()
                due, wait = await room_threads.run(_look)
                is_failing = False
                for room, key in due:
                    runner_of(room, key).wake()
            except DatabaseError as error:
                if not is_failing:
                    logger.warning("What is due for panels can't be read: %s", error)
                is_failing = True
            except Exception:
                logger.exception("The clock of the panels failed and goes on.")
            await asyncio.sleep(wait)

    async def _look_at_machines(self) -> None:
        """Machines that changed may have other tools that fire by the clock."""
        snapshot = registry.snapshot
        if snapshot is not self._seen:
            for room, key in await room_threads.run(out_of_step, snapshot):
                runner_of(room, key).wake()
            self._seen = snapshot


def _look() -> tuple[list[tuple[int, str]], float]:
    """The panels for which something is due, and the seconds until something else may be."""
    now = datetime.now(UTC)
    rows = Due.objects.using(database())
    due = rows.filter(due_at__lte=now).order_by().values_list("panel_id", "panel__room__key")
    later = rows.filter(due_at__gt=now).order_by("due_at").values_list("due_at", flat=True).first()
    wait = LONGEST if later is None else (later - now).total_seconds()
    return list(due.distinct()[:MOST_WOKEN]), max(SHORTEST, min(LONGEST, wait))


_clocks = PerLoop(PanelClock)


def panel_clock() -> PanelClock:
    """The look-out of the running loop."""
    return _clocks.here()
