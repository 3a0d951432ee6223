"""A long log is replayed in parts, whatever the reader's pace, and is never held in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.models import Room, RoomEvent
from tests.live import ROOT
from tests.timers.workers import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

EVENTS = 100_000
MIB = 1024 * 1024


def test_100_000_events_are_replayed_in_order_within_bounded_memory() -> None:
    """One member gets them from its ``since`` on, the first before the log was read further."""
    room = log.room_of("topic", "long").id
    payload = json.dumps({"value": 1.5, "text": "x" * 100})
    now = datetime.now(UTC)
    RoomEvent.objects.bulk_create(
        (
            RoomEvent(room_id=room, offset=offset, type="t", payload=payload, created_at=now)
            for offset in range(1, EVENTS + 1)
        ),
        batch_size=5_000,
    )
    Room.objects.filter(pk=room).update(head=EVENTS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.rooms.replayer", str(room)],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["came"], told["is_ordered"], told["recovered"]) == (EVENTS, True, True)
    assert told["first_after"] == 1
    assert told["reads"] > 100
    assert told["grown"] < 30 * MIB
