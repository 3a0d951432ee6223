"""What the tests of the doors share: this process, where the machines of a test are live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from mashin_surfaces.commit import close_writers
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.machines.watch import watcher
from mashin_surfaces.rooms import presence, topics
from mashin_surfaces.rooms.hub import hub
from mashin_surfaces.timers.clock import clock


@pytest.fixture
def no_machines_left(settings: Settings) -> Iterator[None]:
    """The machines of a test are live in this process until it ends."""
    # The tests themselves say when to look; a thread that does would meet other tests' databases.
    settings.MASHIN_SURFACES = {"WATCH_INTERVAL": 3600}
    yield
    registry.forget()
    close_writers()
    connections.close_all()


@pytest.fixture
async def nobody_left(
    no_machines_left: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Who came in during a test is gone at its end; and nobody looks what changed elsewhere."""
    monkeypatch.setattr(watcher, "start", lambda: None)
    await asyncio.to_thread(watcher.stop)
    yield
    await hub().close()
    await asyncio.to_thread(clock.stop)
    presence.sink.forget()
    topics._known.clear()


@pytest.fixture
def client() -> Client:
    """A browser: what it posts with a session takes a CSRF token."""
    return Client(enforce_csrf_checks=True)
