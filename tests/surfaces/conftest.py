"""What the tests of the doors share: this process, where the machines of a test are live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from mashin_surfaces.commit import close_writers
from mashin_surfaces.machines.registry import registry


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
def client() -> Client:
    """A browser: what it posts with a session takes a CSRF token."""
    return Client(enforce_csrf_checks=True)
