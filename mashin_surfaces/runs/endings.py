"""Runs that nobody can work on, because their machine or a row of theirs can't be read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.db.models import F

from ..commit import CommitFailed
from ..exceptions import Refusal
from ..machines.json_values import dumps
from ..rooms.appending import Append, RoomIsGone
from ..rooms.events import NewEvent
from ..rooms.log import aput, database, room_threads
from .models import Run

logger = logging.getLogger(__name__)


async def give_up(id: str, refusal: Refusal) -> None:
    """End a run as failed, and say why; what its nodes came to stays as it is."""
    error = {"code": refusal.code.value, "message": refusal.message}

    def end() -> None:
        Run.objects.using(database()).filter(pk=id, ended_at=None).update(
            status=Run.Status.FAILED,
            outcome=Run.Outcome.FAILED,
            error=error,
            holder="",
            due_at=None,
            ended_at=datetime.now(UTC),
            version=F("version") + 1,
        )

    complete = {"results": {}, "outcome": Run.Outcome.FAILED}
    events = [
        NewEvent("error", dumps(error).decode()),
        NewEvent("run_state", dumps({"status": Run.Status.FAILED}).decode()),
        NewEvent("execution_complete", dumps(complete).decode()),
    ]
    try:
        room = await room_threads.run(_room_of, id)
        if room is not None:
            await aput(Append(room, events, also=end))
    except (CommitFailed, RoomIsGone) as error_:
        logger.warning("The run %s can't be ended now: %s", id, error_)


def _room_of(id: str) -> int | None:
    rows = Run.objects.using(database()).filter(pk=id, ended_at=None)
    return rows.values_list("room_id", flat=True).first()
