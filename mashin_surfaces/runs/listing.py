"""Runs listed page by page, newest first. Synchronous, on a thread that may query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db.models import Q

from ..rooms.log import database
from .models import Run


def page(
    may_view: Callable[[str], bool],
    *,
    machine: str | None = None,
    status: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Sequence[Run]:
    """At most ``limit`` runs behind the run ``after``, of machines that ``may_view`` allows."""
    runs = Run.objects.using(database()).order_by("-started_at", "-id").select_related("room")
    if machine is not None:
        runs = runs.filter(machine=machine)
    if status is not None:
        runs = runs.filter(status=status)
    names = runs.order_by().values_list("machine", flat=True).distinct()
    runs = runs.filter(machine__in=[name for name in names if may_view(name)])
    last = None if after is None else Run.objects.using(database()).filter(pk=after).first()
    if last is not None:
        is_behind = Q(started_at__lt=last.started_at) | Q(started_at=last.started_at, pk__lt=after)
        runs = runs.filter(is_behind)
    return list(runs[:limit])
