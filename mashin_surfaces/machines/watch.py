"""Watching the epochs: a thread per process that looks whether anything changed elsewhere.

One small query every ``WATCH_INTERVAL`` seconds; a change made in this process wakes it at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from django.db import DatabaseError, connection, connections, transaction

from ..conf import settings
from ..exceptions import Refusal
from .models import Epoch

logger = logging.getLogger(__name__)


class Watcher:
    """Calls the callbacks of an epoch when its number is not the one it last saw."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[], object]]] = {}
        self._seen: dict[str, int] = {}
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def on_change(self, epoch: str, callback: Callable[[], object]) -> None:
        """Call ``callback`` on the watcher's thread whenever ``epoch`` moved."""
        self._callbacks.setdefault(epoch, []).append(callback)

    def start(self) -> None:
        """Start the thread, once in a process (also once more after a fork)."""
        with self._lock:
            if self._is_running():
                return
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="mashin-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection; ``start`` begins anew."""
        with self._lock:
            if self._thread is not None and self._is_running():
                self._stopping = True
                self._wake.set()
                self._thread.join()
            self._thread = None

    def _is_running(self) -> bool:
        """Also False in the child of a fork, which has the object but not the thread."""
        return self._thread is not None and self._thread.is_alive()

    def watches(self, epoch: str) -> bool:
        """Whether the thread runs and somebody is called when ``epoch`` moves."""
        return epoch in self._callbacks and not self._stopping and self._is_running()

    def look(self) -> None:
        """Look now; raises ``DatabaseError`` when the database can't be read."""
        failure: Exception | None = None
        for name, number in Epoch.objects.values_list("name", "number"):
            if self._seen.get(name) == number:
                continue
            try:
                for callback in self._callbacks.get(name, ()):
                    callback()
            except Exception as error:  # the others have news of their own
                failure = failure or error
            else:
                self._seen[name] = number
        if failure is not None:
            raise failure

    def wake(self) -> None:
        """Look again soon: something changed in this process."""
        self._wake.set()

    def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._wake.wait(settings.WATCH_INTERVAL)
            self._wake.clear()
            try:
                self.look()
                failing = False
            except (DatabaseError, Refusal) as error:
                connection.close()
                if not failing:  # said once, not every half second
                    logger.warning("What changed elsewhere can't be read: %s", error)
                failing = True
            except Exception:
                logger.exception("The watcher failed and goes on.")
        connections.close_all()


watcher = Watcher()


def bump(epoch: str) -> None:
    """Move an epoch inside the caller's transaction; every process looks once it commits."""
    with transaction.atomic():
        row, _ = Epoch.objects.select_for_update().get_or_create(name=epoch)
        row.number += 1
        row.save(update_fields=["number"])
        transaction.on_commit(partial(_bumped, epoch))


#: Called after the commit with the epoch's name: who can tell the other processes at once.
on_bump: list[Callable[[str], None]] = []


def _bumped(epoch: str) -> None:
    watcher.wake()
    for tell in on_bump:
        tell(epoch)


def bump_if_migrated(epoch: str) -> None:
    """``bump``, for changes to other apps' rows: our tables may not be there yet."""
    if Epoch._meta.db_table in connection.introspection.table_names():
        bump(epoch)
