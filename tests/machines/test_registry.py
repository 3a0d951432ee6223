"""The current definitions in code that has no server: fresh when asked for, read once for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from mashin_surfaces.machines.models import Epoch, Machine
from mashin_surfaces.machines.registry import Registry, Snapshot, definition_threads
from mashin_surfaces.machines.watch import watcher

pytestmark = pytest.mark.django_db(transaction=True)

GREETER = Path(__file__).parents[2] / "project" / "machines" / "greeter.mashin"


@pytest.fixture
def registry() -> Iterator[Registry]:
    """As in a process without a server: nobody watches what changes."""
    watcher.stop()
    yield Registry()
    definition_threads.close()


@pytest.fixture
def stored() -> None:
    call_command("load_machines", str(GREETER), verbosity=0)


async def test_many_who_ask_at_once_wait_for_one_reading(
    registry: Registry, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[Snapshot] = []
    read = registry.refresh

    def counted() -> Snapshot:
        readings.append(read())
        return readings[-1]

    monkeypatch.setattr(registry, "refresh", counted)
    found = await asyncio.gather(*(registry.acurrent() for _ in range(50)))
    assert len(readings) == 1
    assert all(each is readings[0] for each in found)
    assert "greeter" in readings[0].machines


async def test_who_is_cancelled_leaves_the_others_their_reading(
    registry: Registry, stored: None
) -> None:
    first, second = (asyncio.ensure_future(registry.acurrent()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert "greeter" in (await second).machines
    assert first.cancelled()


async def test_a_reading_that_fails_is_told_and_the_next_one_tries_again(
    registry: Registry, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise OSError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "refresh", gone)
        with pytest.raises(OSError, match="gone"):
            await registry.acurrent()
    assert "greeter" in (await registry.acurrent()).machines


async def test_a_change_is_seen_once_the_snapshot_is_too_old(
    registry: Registry, stored: None, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"WATCH_INTERVAL": 1e-9}
    assert (await registry.acurrent()).machines["greeter"].enabled

    def disable() -> None:
        Machine.objects.update(enabled=False)
        row = Epoch.objects.get(name="definitions")
        row.number += 1
        row.save()
        connection.close()

    await asyncio.to_thread(disable)
    assert not (await registry.acurrent()).machines["greeter"].enabled
