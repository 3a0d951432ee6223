"""Panels in the database: what goes with one that is taken away."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection

from mashin_surfaces.panels import store
from mashin_surfaces.panels.store import NewPanel
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.models import Room, RoomEvent
from tests.rooms.holding import held
from tests.timers.workers import apart, until, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for everything")
async def test_what_is_just_being_appended_goes_with_its_panel(transactional_db: None) -> None:
    panel = await apart(store.create, NewPanel("workshop"))
    with held(panel.pk, NewEvent("t", "1")):
        deleting = asyncio.create_task(apart(store.delete, panel.room.key))
        await apart(until, waiting_for_locks)
    await deleting
    assert not await Room.objects.filter(pk=panel.pk).aexists()
    assert not await RoomEvent.objects.filter(room_id=panel.pk).aexists()
