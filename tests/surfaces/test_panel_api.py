"""Panels over HTTP while something else happens to them: in the middle of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import AsyncClient
from pytest_django import Settings

from mashin_surfaces.models import Panel, SurfaceAccess
from mashin_surfaces.panels import store
from mashin_surfaces.panels.runner import LEASE, runner_of
from mashin_surfaces.panels.store import NewPanel
from mashin_surfaces.rooms import log, retention
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.timers.models import Timer
from mashin_surfaces.timers.moments import after
from tests.timers.workers import apart, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

EVENT = NewEvent("EVENT", '{"name":"x","payload":null,"timestamp":0}', "bob", "~1")


@pytest.fixture
async def root(transactional_db: None) -> AsyncClient:
    """Somebody who may do everything."""
    client = AsyncClient()
    await client.aforce_login(await apart(get_user_model().objects.create_superuser, "root"))
    return client


@pytest.fixture
async def panel(transactional_db: None) -> Panel:
    """With ten events."""
    made = await apart(store.create, NewPanel("test"))
    await log.aappend(made.pk, [EVENT] * 10)
    return made


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have it happen when a request has looked at its panel, and is about to read the log."""
    read = log.read

    def read_late(*given: Any) -> Any:
        do()
        return read(*given)

    monkeypatch.setattr(log, "read", read_late)


async def test_a_trigger_that_waits_when_its_panel_is_deleted_is_recorded(
    root: AsyncClient, panel: Panel
) -> None:
    key = panel.room.key
    lease = Timer(kind=LEASE, key=str(panel.pk), holder="another", held_until=after(3600))
    await apart(lease.save)
    waiting = runner_of(panel.pk, key)
    posting = asyncio.create_task(
        root.post(f"/panels/{key}/trigger/any", b"{}", content_type="application/json")
    )
    await apart(until, lambda: posting.done() or not waiting.is_idle)
    await apart(store.delete, key)
    await lease.adelete()
    assert (await posting).status_code == 404
    rows = SurfaceAccess.objects.filter(surface=f"panel:{key}", event="trigger")
    assert [row.code async for row in rows] == ["not_found"]


async def test_events_that_are_trimmed_while_they_are_asked_for_are_not_left_out(
    root: AsyncClient, panel: Panel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MASHIN_SURFACES = {**settings.MASHIN_SURFACES, "ROOMS": {"panel": {"COUNT": 4}}}
    meanwhile(monkeypatch, lambda: retention.trim("panel"))
    path = f"/panels/{panel.room.key}/events"
    assert (await root.get(f"{path}?since=2")).status_code == 410
    answer = await root.get(f"{path}?since=6")
    assert [event["offset"] for event in answer.json()["events"]] == [7, 8, 9, 10]


async def test_the_offset_that_comes_with_events_is_not_before_them(
    root: AsyncClient, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: log.append(panel.pk, [EVENT]))
    answer = (await root.get(f"/panels/{panel.room.key}/events")).json()
    assert answer["offset"] == answer["events"][-1]["offset"] == 11


async def test_the_offset_that_comes_with_events_is_not_behind_what_was_not_read(
    root: AsyncClient, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = log.read

    def read_early(*given: Any) -> Any:
        found = read(*given)
        log.append(panel.pk, [EVENT])
        return found

    monkeypatch.setattr(log, "read", read_early)
    answer = (await root.get(f"/panels/{panel.room.key}/events")).json()
    assert answer["offset"] == answer["events"][-1]["offset"] == 10
