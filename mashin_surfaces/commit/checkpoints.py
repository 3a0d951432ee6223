"""SQLite's write-ahead log is written back to its file beside the commits, not within them.

By itself SQLite does it in whichever commit makes the log longer than 1,000 pages: everybody who
waits for that commit waits for the disk, twice. Here a thread does it after so many changed rows.
(https://www.sqlite.org/wal.html, "Checkpointing")
"""

from __future__ import annotations

import logging

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..threads import Threads

logger = logging.getLogger(__name__)

#: What SQLite does by itself; a project that wants something else is left alone.
SQLITE_DEFAULT = 1000
#: Rows that are changed between two checkpoints.
CHANGES = 4000
#: Pages (of mostly 4 KiB) from which on the commits do it all the same. A log to which somebody
#: always appends never begins anew otherwise; little is left to do then.
LONGEST = 16_000


class Checkpoints:
    """Those of a writer's connection to SQLite; its methods are for the writer's thread."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._threads = Threads("mashin-checkpoint", lambda: 1)
        self._changes = 0
        self._is_running = False
        self._is_wanted = self._take_over()

    def _take_over(self) -> bool:
        """Whether the log is ours to write back."""
        with self._connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            mode = cursor.fetchone()
            cursor.execute("PRAGMA wal_autocheckpoint")
            pages = cursor.fetchone()
            if mode != ("wal",) or pages != (SQLITE_DEFAULT,):
                return False
            cursor.execute(f"PRAGMA wal_autocheckpoint = {LONGEST}")
        return True

    def look(self) -> None:
        """After a commit: begin a checkpoint when it is time for one; waits for nothing."""
        if not self._is_wanted or self._is_running:
            return
        changes: int = self._connection.connection.total_changes
        if changes - self._changes < CHANGES:
            return
        self._changes, self._is_running = changes, True
        try:
            self._threads.submit(self._write_back)
        except RuntimeError:  # the process ends: whoever closes the file last does it
            self._is_wanted = False

    def _write_back(self) -> None:
        try:
            with connections[self._connection.alias].cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # never waits for anybody
        except Error as error:
            logger.warning("SQLite's log is not written back now: %s", error)
        finally:
            self._is_running = False

    def close(self) -> None:
        """Wait for the one that runs, and end the thread and its connection."""
        self._threads.close()
