"""Searching lists of any size: by the beginning of a text, in a way that an index finds."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet

from ..rooms.log import database
from ..rooms.models import Room

#: Nothing that begins with a text is behind the text and this character.
_LAST = "\U0010ffff"


def begins_with(column: str, text: str) -> Q:
    """Rows whose column begins with a text, in upper and lower case as it is written.

    PostgreSQL has indexes for ``LIKE`` (``varchar_pattern_ops``); elsewhere ``LIKE`` may know
    nothing of an index, while a range does.
    """
    if connections[database()].vendor == "postgresql":
        return Q(**{f"{column}__startswith": text})
    return Q(**{f"{column}__gte": text, f"{column}__lt": text + _LAST})


def found_by(*searches: QuerySet[Any]) -> Q:
    """Rows whose keys one of these finds, each by an index of its own: with ``OR`` a database goes
    through the whole table instead."""
    first, *others = (search.order_by().values("pk") for search in searches)
    return Q(pk__in=first.union(*others))


def rooms_of(kind: Room.Kind, text: str) -> QuerySet[Room]:
    """The rooms of a kind whose keys begin with a text."""
    return Room.objects.filter(begins_with("key", text), kind=kind)
