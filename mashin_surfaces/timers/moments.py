"""Moments by the database's clock, as expressions for queries: hosts need not agree on the time.

On PostgreSQL it is the time of the statement, not of the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from .models import Timer


def now() -> Now:
    """The database's time."""
    return Now()


def after(seconds: float) -> Combinable:
    """So many seconds from now."""
    return Now() + timedelta(seconds=seconds)


def before(seconds: float) -> Combinable:
    """So many seconds ago."""
    return Now() - timedelta(seconds=seconds)


def database() -> str:
    """The alias of the database that has the timers."""
    return router.db_for_write(Timer)


@contextmanager
def exclusive(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """A transaction that may read before it writes.

    On SQLite it holds the lock from the start, whatever the project's settings say; elsewhere rows
    are locked by those who read them (``select_for_update``).
    """
    connection = connections[alias]
    connection.ensure_connection()
    if connection.vendor != "sqlite":
        with transaction.atomic(using=alias):
            yield connection
        return
    usual = connection.__dict__.get("transaction_mode")
    connection.__dict__["transaction_mode"] = "IMMEDIATE"
    try:
        with transaction.atomic(using=alias):
            yield connection
    finally:
        connection.__dict__["transaction_mode"] = usual
