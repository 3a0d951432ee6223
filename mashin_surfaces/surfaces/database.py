"""Queries of the doors: on a thread, in the visitor's language, and a database that is away is a
refusal like others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import DatabaseError
from django.utils.translation import get_language, override

from ..exceptions import Code, Refusal
from ..rooms.log import room_threads

P = ParamSpec("P")
T = TypeVar("T")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """On a thread of the rooms; a database that is away is a ``Refusal`` (ledger_unavailable)."""
    try:
        work = partial(function, *args, **kwargs)
        return await room_threads.run(_in_language, get_language(), work)
    except DatabaseError as error:
        raise Refusal(
            Code.LEDGER_UNAVAILABLE, "The database can't be reached now; try again.", retry_after=1
        ) from error


def _in_language(language: str | None, work: Callable[[], T]) -> T:
    # asgiref, which keeps the language, hides it from threads that it has not started.
    with override(language, deactivate=True):
        return work()
