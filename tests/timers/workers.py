"""Other processes on the database of the tests: they are killed, frozen and thawed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from queue import Queue
from typing import Any, ParamSpec, Self, TypeVar

from django.db import OperationalError, connection, connections, transaction

from mashin_surfaces.timers.models import ServerProcess, Timer
from tests.live import ROOT

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds within which anything happens.
PATIENCE = 30.0
#: Seconds between two looks at what has no way to call us.
LOOK = 0.02


def database_url() -> str:
    """Where the tests' own database is."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    name = f"{config['USER']}@{config['HOST']}:{config['PORT']}/{config['NAME']}"
    return f"postgres://{name}"


def nothing_is_locked() -> bool:
    """Whether nobody is writing right now."""
    try:
        if connection.vendor == "sqlite":
            with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as other:
                other.execute("begin immediate")
        else:
            with transaction.atomic():
                for rows in (ServerProcess.objects.all(), Timer.objects.all()):
                    list(rows.select_for_update(nowait=True))
    except (sqlite3.OperationalError, OperationalError):
        return False
    return True


def waiting_for_locks() -> list[int]:
    """PostgreSQL's processes that wait for somebody's lock in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # kept through a transaction
        cursor.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def until(condition: Callable[[], object], patience: float = PATIENCE) -> float:
    """Wait until it holds; how many seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < patience, "it did not happen in time"
        time.sleep(LOOK)
    return time.monotonic() - begun


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """On a thread, for Django refuses queries on a loop; it leaves no connection behind."""

    def work() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


class Worker:
    """A ``tests.timers.worker``; as a context manager it is ready, and gone afterwards."""

    def __init__(self, **wanted: Any) -> None:
        self._lines: Queue[str] = Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.timers.worker", json.dumps(wanted)],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database_url(),
                "DJANGO_SETTINGS_MODULE": "tests.settings",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def says(self) -> str:
        """Its next line."""
        return self._lines.get(timeout=PATIENCE)

    def begin(self) -> str:
        """Wait until it is ready and has asked for its lease; what it got."""
        said = {self.says(), self.says()}
        assert "ready" in said
        (fence,) = said - {"ready"}
        return fence

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def freeze(self) -> None:
        """Stop it where it stands, at a moment when it is not in the middle of a transaction."""
        while True:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
            if nothing_is_locked():
                return
            self.thaw()

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)
