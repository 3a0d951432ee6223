"""The current definitions in code that has no server: fresh when asked for, read once for all."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from django.core.management import call_command
from django.db import connection, connections

from mashin_surfaces.machines.models import Epoch, Machine
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import (
    CompiledMachine,
    Registry,
    Snapshot,
    definition_threads,
)
from mashin_surfaces.machines.store import delete_machine, save_machine
from mashin_surfaces.machines.watch import watcher

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds within which anything happens.
PATIENCE = 30
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


def test_a_loop_that_is_closed_is_not_kept_for_what_it_read(registry: Registry) -> None:
    async def read() -> ref[asyncio.AbstractEventLoop]:
        registry.forget()
        await registry.acurrent()
        return ref(asyncio.get_running_loop())

    loops = [asyncio.run(read()) for _ in range(3)]
    gc.collect()
    assert [each() for each in loops] == [None] * 3


def test_who_asks_during_the_first_reading_has_to_wait_for_it(
    registry: Registry, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[Snapshot | None] = []

    def read(before: Snapshot) -> dict[str, CompiledMachine]:
        there.append(registry.fresh())
        return Registry._machines(before)

    monkeypatch.setattr(registry, "_machines", read)
    assert "greeter" in registry.current().machines
    assert there == [None]


@pytest.mark.parametrize("part", ["refresh", "_machines"])
async def test_a_reading_that_fails_is_told_and_the_next_one_tries_again(
    registry: Registry, stored: None, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def gone(*_: Any) -> None:
        raise OSError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(registry, part, gone)
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


def save(title: str) -> Machine:
    return save_machine(parse(f'machine again "{title}"').definition).machine


def test_a_machine_that_was_deleted_and_made_anew_is_the_new_one(registry: Registry) -> None:
    first = save("One")
    assert registry.refresh().machines["again"].title == "One"
    delete_machine(first)
    assert save("Two").revision == first.revision
    assert registry.refresh().machines["again"].title == "Two"


class Lock:
    """A lock that says when somebody has to wait for it."""

    def __init__(self, waits: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waits = waits

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waits.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_the_newest_snapshot_is_told_last(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_or_told = threading.Event()
    monkeypatch.setattr(registry, "_lock", Lock(waits_or_told))
    told: list[str] = []

    def refresh() -> None:
        try:
            registry.refresh()
        finally:
            connections.close_all()

    def listen(snapshot: Snapshot) -> None:
        title = snapshot.machines["again"].title
        if title == "One":  # held up, while the next one is read
            save("Two")
            other.submit(refresh)
            assert waits_or_told.wait(PATIENCE)
        told.append(title)
        waits_or_told.set()

    registry.listen(listen)
    save("One")
    with ThreadPoolExecutor(1) as other:
        registry.refresh()
    assert told == ["One", "Two"]
