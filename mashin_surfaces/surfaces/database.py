"""Queries of the doors: on a thread, and a database that is away is a refusal like others."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import DatabaseError

from ..exceptions import Code, Refusal
from ..rooms.log import room_threads

P = ParamSpec("P")
T = TypeVar("T")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """On a thread of the rooms; a database that is away is a ``Refusal`` (ledger_unavailable)."""
    try:
        return await room_threads.run(function, *args, **kwargs)
    except DatabaseError as error:
        raise Refusal(
            Code.LEDGER_UNAVAILABLE, "The database can't be reached now; try again.", retry_after=1
        ) from error
