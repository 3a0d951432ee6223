"""Recording an access: durable before it is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper

from ..commit import CommitFailed, Sink, writer
from ..conf import settings
from ..exceptions import Code, Refusal
from .access import Access
from .models import SurfaceAccess
from .sink import sink

logger = logging.getLogger(__name__)


#: An access row for somebody else's transaction: its sink, and what makes it.
Companion = tuple[Sink[Any], Callable[[], Access | None]]


async def record(access: Access) -> None:
    """Returns when the row is committed.

    Raises ``Refusal`` (ledger_unavailable) when it can't be, unless ``LEDGER["ON_FAILURE"]`` is
    ``"answer"``.
    """
    try:
        await writer(_database()).put(sink, access)
    except CommitFailed as error:
        _failed(access, error)


def record_now(access: Access) -> None:
    """``record`` for synchronous code."""
    try:
        writer(_database()).put_now(sink, access)
    except CommitFailed as error:
        _failed(access, error)


def record_soon(access: Access) -> None:
    """Have it written; nobody waits (a disconnect)."""
    writer(_database()).put_soon(sink, access)


def companions(alias: str, row: Callable[[], Access | None]) -> tuple[Companion, ...]:
    """The row for a transaction on the database ``alias``, made when the rest of it is done.

    Nothing when the ledger is in another database: then ``record_soon`` has to do.
    """
    return ((sink, row),) if alias == _database() else ()


def check_writer() -> None:
    """Raise ``CommitFailed`` when rows can't be committed now: for readiness."""
    writer(_database()).run_now(_look)


def _look(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@lru_cache(maxsize=1)
def _database() -> str:
    return router.db_for_write(SurfaceAccess)


def _failed(access: Access, error: CommitFailed) -> None:
    if settings.LEDGER.ON_FAILURE == "answer":
        logger.error("Answered without a row (request %s): %s", access.request_id, error)
        return
    raise Refusal(
        Code.LEDGER_UNAVAILABLE, "The access can't be recorded now; try again.", retry_after=1
    ) from error
