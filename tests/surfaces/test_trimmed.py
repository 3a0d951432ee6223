"""Logs over HTTP that are trimmed while they are read: they are told without a hole, or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import AsyncClient

from mashin_surfaces.identity import api_keys
from mashin_surfaces.incubators import store
from mashin_surfaces.models import Room, RoomEvent, Run
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.surfaces import bus_api

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

ENTRY = '{{"event_type":"{}","data":{{}},"agent_id":"a"}}'


async def told(
    monkeypatch: pytest.MonkeyPatch, path: str, room: int, at: int
) -> list[dict[str, Any]] | int:
    """Of six events, the first three of which are trimmed when those behind ``at`` are just to be
    read; without, the status."""
    entries = [NewEvent("event", ENTRY.format(type)) for type in "aaaaab"]
    await log.aappend(room, entries)
    read = log.read

    def read_late(room: int, after: int, limit: int) -> Any:
        if after == at:
            with transaction.atomic():
                RoomEvent.objects.filter(room_id=room, offset__lte=3).delete()
                Room.objects.filter(pk=room).update(floor=3)
        return read(room, after, limit)

    monkeypatch.setattr(log, "read", read_late)
    _, key = await sync_to_async(api_keys.issue)("billing", ["*"])
    answer = await AsyncClient().get(path, headers={"Authorization": f"Bearer {key}"})
    if answer.status_code != 200:
        return answer.status_code
    body = answer.json()
    found: list[dict[str, Any]] = body if isinstance(body, list) else body["events"]
    return found


@pytest.mark.parametrize(("since", "offsets"), [(0, 410), (1, 410), (3, [4, 5, 6])])
async def test_a_runs_log(
    monkeypatch: pytest.MonkeyPatch, since: int, offsets: list[int] | int
) -> None:
    room = (await log.aroom_of(Room.Kind.RUN, "r1")).id
    made = Run(id="r1", room_id=room, machine="m", revision=1, input={}, principal="ada", seed=1)
    made.max_parallel, made.started_at = 1, datetime.now(UTC)
    await made.asave(force_insert=True)
    path = f"/api/dags/r1/events?since={since}"
    found = await told(monkeypatch, path, room, since)
    assert (found if isinstance(found, int) else [each["offset"] for each in found]) == offsets


@pytest.mark.parametrize(
    ("since", "at", "ids"),
    [
        (0, 0, [6]),  # from what is kept on
        (0, 2, 410),
        (1, 1, 410),
        (3, 3, [6]),
    ],
)
async def test_a_namespaces_log(
    monkeypatch: pytest.MonkeyPatch, since: int, at: int, ids: list[int] | int
) -> None:
    """It is read in parts, until there are enough events of a type."""
    room = int((await sync_to_async(store.find)("hive")).pk)
    monkeypatch.setattr(bus_api, "MOST_EVENTS", 2)
    path = f"/api/hive/events?since={since}&type=b"
    found = await told(monkeypatch, path, room, at)
    assert (found if isinstance(found, int) else [each["id"] for each in found]) == ids
