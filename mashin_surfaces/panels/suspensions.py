"""Suspensions answered, cancelled and listed. What an answer sets going is ``runner.py``'s."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from ..exceptions import Code, Refusal
from ..rooms.log import database
from ..rooms.storable import has_nul
from .models import Due, Suspension


def answer(room: int, id: str, by: str, value: Any = None, error: str | None = None) -> None:
    """Give what a tool waits for, or an error that it gets instead; durable when it returns.

    The tool runs again as soon as somebody has the panel: wake its runner. Raises ``Refusal``:
    not_found, conflict (it was answered, cancelled, or has expired), invalid_input.
    """
    given = {"value": value} if error is None else {"error": error}
    if has_nul(given):
        raise Refusal(Code.INVALID_INPUT, "Text with NUL characters can't be kept.")
    _close(room, id, by, Suspension.Status.ANSWERED, given)


def cancel(room: int, principal: str, request_id: str) -> bool:
    """Cancel what a principal's own request waits for; False when it waits for nothing."""
    waiting = Suspension.objects.using(database()).filter(
        panel=room, principal=principal, request_id=request_id, status=Suspension.Status.OPEN
    )
    id = waiting.values_list("pk", flat=True).first()
    if id is None:
        return False
    _close(room, id, principal, Suspension.Status.CANCELLED, None)
    return True


def _close(
    room: int, id: str, by: str, status: Suspension.Status, given: dict[str, Any] | None
) -> None:
    alias = database()
    with transaction.atomic(using=alias):
        found = (
            Suspension.objects.using(alias).select_for_update().filter(pk=id, panel=room).first()
        )
        if found is None:
            raise Refusal(Code.NOT_FOUND, "There is no such suspension.", subject="suspension")
        if found.status != Suspension.Status.OPEN:
            raise Refusal(Code.CONFLICT, f"This suspension is {found.status} already.")
        now = datetime.now(UTC)
        if given is not None:
            found.answers = [*found.answers, given]
        found.status, found.closed_at, found.closed_by = status, now, by[:200]
        found.save(using=alias)
        Due.objects.using(alias).filter(panel=room, kind="deadline", payload=id).delete()
        Due.objects.using(alias).create(
            panel_id=room, kind="resume", tool=found.tool, payload=id, due_at=now
        )


def describe(suspension: Suspension) -> dict[str, Any]:
    """A suspension on the wire."""
    return {
        "suspensionId": suspension.pk,
        "tool": suspension.tool,
        "requestId": suspension.request_id,
        "principal": suspension.principal,
        "extensionName": suspension.extension,
        "method": suspension.method,
        "args": suspension.call,
        "status": suspension.status,
        "createdAt": _time(suspension.created_at),
        "deadline": _time(suspension.deadline),
    }


def open_ones(room: int, limit: int = 1000) -> list[Suspension]:
    """What the panel's tools wait for, the oldest first."""
    waiting = Suspension.objects.using(database()).filter(panel=room, status=Suspension.Status.OPEN)
    return list(waiting.order_by("created_at")[:limit])


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
