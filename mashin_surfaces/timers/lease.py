"""Leases: work that one process of the cluster does, taken over when it stops renewing.

    fence = await claim("feed", "weather:temperature", ttl=4)
    if fence is not None:           # ours: renew it well before the ttl is over
        while await renew("feed", "weather:temperature", ttl=4): …

A lease belongs to a process, not to a task in it: who claims what the process holds gets the same
fence again. The fence rises with each new holder. The functions for event loops write through the
group commit and raise ``CommitFailed`` when that can't be: whoever holds a lease then has it for
the rest of its ttl at most. Those with ``_now`` use the calling thread's own connection, and raise
the database's errors. Nobody ever waits for somebody else's claim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q, QuerySet

from ..commit import CommitFailed, writer
from .models import Timer
from .moments import after, database, exclusive, now
from .process import process_id

T = TypeVar("T")


async def claim(kind: str, key: str, ttl: float) -> int | None:
    """The fence when this process holds the lease now, for ``ttl`` seconds; else None."""
    return await _commit(lambda connection: _claim(connection, kind, key, ttl))


async def renew(kind: str, key: str, ttl: float) -> bool:
    """Hold it for ``ttl`` seconds from now; False when it is not ours any more."""
    return await _commit(lambda connection: _renew(connection, kind, key, ttl))


async def release(kind: str, key: str) -> None:
    """Give it up, if it is ours: the next claim gets it."""
    await _commit(lambda connection: _release(connection, kind, key))


def claim_now(kind: str, key: str, ttl: float) -> int | None:
    """``claim`` on this thread's connection."""
    with exclusive(database()) as connection:
        return _claim(connection, kind, key, ttl)


def renew_now(kind: str, key: str, ttl: float) -> bool:
    """``renew`` on this thread's connection."""
    with exclusive(database()) as connection:
        return _renew(connection, kind, key, ttl)


def release_now(kind: str, key: str) -> None:
    """``release`` on this thread's connection."""
    with exclusive(database()) as connection:
        _release(connection, kind, key)


def is_free() -> Q:
    """Timers that nobody holds."""
    return Q(held_until=None) | Q(held_until__lte=now())


async def _commit(unit: Callable[[BaseDatabaseWrapper], T]) -> T:
    try:
        return await writer(database()).run(unit)
    except DatabaseError as error:  # it took down this unit alone: a deadlock, a missing table
        raise CommitFailed(str(error)) from error


def _claim(connection: BaseDatabaseWrapper, kind: str, key: str, ttl: float) -> int | None:
    me = process_id()
    rows = Timer.objects.using(connection.alias)
    wanted = rows.filter(kind=kind, key=key)
    is_ours = is_free() | Q(holder=me)
    row = _locked(wanted.filter(is_ours))
    if row is None:
        if wanted.exists():
            return None
        made = Timer(kind=kind, key=key)
        rows.bulk_create([made], ignore_conflicts=True)  # another process may be quicker
        row = _locked(wanted.filter(is_ours))
        if row is None:
            return None
    fence = row.fence if row.holder == me else row.fence + 1
    rows.filter(pk=row.pk).update(holder=me, held_until=after(ttl), fence=fence)
    return fence


def _renew(connection: BaseDatabaseWrapper, kind: str, key: str, ttl: float) -> bool:
    rows = Timer.objects.using(connection.alias)
    held = rows.filter(kind=kind, key=key, holder=process_id(), held_until__gt=now())
    row = _locked(held)
    return row is not None and bool(rows.filter(pk=row.pk).update(held_until=after(ttl)))


def _release(connection: BaseDatabaseWrapper, kind: str, key: str) -> None:
    rows = Timer.objects.using(connection.alias)
    row = _locked(rows.filter(kind=kind, key=key, holder=process_id()))
    if row is not None:
        rows.filter(pk=row.pk).update(holder="", held_until=None)


def _locked(rows: QuerySet[Timer]) -> Timer | None:
    """The row, locked; None also when somebody is taking it right now."""
    return rows.order_by().select_for_update(skip_locked=True).first()
