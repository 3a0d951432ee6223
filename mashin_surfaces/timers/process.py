"""The identity of this process, and the row that says that it lives.

The row is written with the first beat, or by the first who refers to it. What else is written of a
process counts only while it beats; a process that does not for long is swept, with all that refers
to its row. Who beats, and when, is ``clock.py``'s business.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from uuid import uuid4

from django.db.backends.base.base import BaseDatabaseWrapper

from .models import ServerProcess, Timer
from .moments import before, database, exclusive, now

#: Seconds between two beats.
BEAT = 2.0
#: Seconds after its last beat during which a process counts as alive.
ALIVE = 10.0
#: Seconds after its last beat at which a process is swept.
FORGOTTEN = 30.0

#: Called after every beat on the clock's thread, with whether the row had to be written anew: then
#: nothing that referred to it is there any more. Must not wait for long.
on_beat: list[Callable[[bool], object]] = []


class Served:
    """What this process serves. ``connections`` counts its sockets and event streams; it is set
    by who has them (``composition.py``)."""

    connections: Callable[[], int] = staticmethod(lambda: 0)


served = Served()


class _Identity:
    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.id = uuid4().hex
        self.was_gone = False  # ``ensure`` had to write the row, and the beat does not know it yet


_this = _Identity()
if hasattr(os, "register_at_fork"):  # a forked child is another process
    os.register_at_fork(after_in_child=_this.renew)


def process_id() -> str:
    """32 hex digits, of this process alone; a forked child has its own."""
    return _this.id


def beat() -> bool:
    """Say that this process lives; True when its row was not there (any more) since the last beat.

    Raises the database's errors.
    """
    if was_gone := _this.was_gone:  # else not touched: ``ensure`` may be setting it now
        _this.was_gone = False
    try:
        rows = ServerProcess.objects.using(database())
        if rows.filter(pk=_this.id).update(beat_at=now(), connections=served.connections()):
            return was_gone
        _write(database())
    except BaseException:
        _this.was_gone |= was_gone
        raise
    return True


def ensure(connection: BaseDatabaseWrapper) -> bool:
    """Inside a transaction: the row is there until it ends. True when it was not, before."""
    if connection.vendor == "postgresql":  # nobody sweeps it meanwhile; a beat does not wait
        with connection.cursor() as cursor:
            table = ServerProcess._meta.db_table
            cursor.execute(f"SELECT id FROM {table} WHERE id = %s FOR KEY SHARE", [_this.id])  # noqa: S608
            is_there = cursor.fetchone() is not None
    else:
        is_there = ServerProcess.objects.using(connection.alias).filter(pk=_this.id).exists()
    if not is_there:
        _write(connection.alias)
        _this.was_gone = True
    return not is_there


def _write(alias: str) -> None:
    row = ServerProcess(
        id=_this.id,
        host=socket.gethostname()[:200],
        pid=os.getpid(),
        connections=served.connections(),
    )
    row.started_at = row.beat_at = now()  # the database's time
    ServerProcess.objects.using(alias).bulk_create([row], ignore_conflicts=True)


def retire() -> None:
    """Take away what the database has of this process: its row, what refers to it, its leases.

    For a process that ends; one that beats again is written anew. Raises the database's errors.
    """
    alias = database()
    Timer.objects.using(alias).filter(holder=_this.id).update(holder="", held_until=None)
    ServerProcess.objects.using(alias).filter(pk=_this.id).delete()


def sweep() -> int:
    """Take away the processes that have not beaten for ``FORGOTTEN`` seconds; how many."""
    with exclusive(database()) as connection:
        rows = ServerProcess.objects.using(connection.alias)
        dead = rows.filter(beat_at__lt=before(FORGOTTEN)).select_for_update(skip_locked=True)
        found = list(dead.values_list("pk", flat=True))
        rows.filter(pk__in=found).delete()
    return len(found)
