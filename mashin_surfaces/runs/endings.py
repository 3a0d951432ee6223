"""Runs that nobody can work on, because their machine or a row of theirs can't be read."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.db import Error
from django.db.models import F

from ..commit import CommitFailed
from ..exceptions import Refusal
from ..machines.json_values import dumps
from ..rooms.appending import Append, RoomIsGone
from ..rooms.events import NewEvent
from ..rooms.log import aput, database, room_threads
from ..timers import process
from .change import Superseded
from .launches import tell_parent
from .models import Run

logger = logging.getLogger(__name__)


async def give_up(id: str, refusal: Refusal) -> None:
    """End a run as failed, and say why; what its nodes came to stays as it is."""
    error = {"code": refusal.code.value, "message": refusal.message}

    now = datetime.now(UTC)

    def end() -> None:
        alias = database()
        mine = Run.objects.using(alias).filter(pk=id, ended_at=None, holder=process.process_id())
        run = mine.only("parent_id").first()
        if run is None:  # it has ended meanwhile, or somebody else works on it
            raise Superseded()
        mine.update(
            status=Run.Status.FAILED,
            outcome=Run.Outcome.FAILED,
            error=error,
            holder="",
            due_at=None,
            ended_at=now,
            version=F("version") + 1,
        )
        if run.parent_id:
            tell_parent(run, now)(alias)

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
    except Superseded:
        logger.info("The run %s is not given up: it has ended, or is somebody else's.", id)
    except (CommitFailed, RoomIsGone, Error) as error_:
        logger.warning("The run %s can't be ended now: %s", id, error_)


def _room_of(id: str) -> int | None:
    rows = Run.objects.using(database()).filter(pk=id, ended_at=None)
    return rows.values_list("room_id", flat=True).first()
