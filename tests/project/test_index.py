"""The front page of the reference project: the index of surfaces with the project's own words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from django.test import Client

from mashin_surfaces.machines.registry import registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_machines_left() -> Iterator[None]:
    yield
    registry.forget()
    connections.close_all()


def test_without_machines_it_tells_how_to_load_some(client: Client) -> None:
    assert "load_machines project/machines" in client.get("/").content.decode()


def test_it_leads_to_the_admin(client: Client) -> None:
    assert 'href="/admin/' in client.get("/").content.decode()
