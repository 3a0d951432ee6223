"""The front page of the reference project."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mashin_surfaces.models import Machine, Surface

pytestmark = pytest.mark.django_db


def machine(name: str, *, auth: list[str], enabled: bool = True) -> None:
    made = Machine.objects.create(
        name=name, title=name.title(), definition={"name": name}, enabled=enabled
    )
    Surface.objects.create(
        machine=made,
        kind="page",
        protocol="http",
        path=f"/pages/{name}",
        options={"auth": auth},
    )


def test_open_surfaces_are_listed_with_a_link(client: Client) -> None:
    machine("greeter", auth=["none"])
    page = client.get("/").content.decode()
    assert "Greeter" in page
    assert '<a href="/pages/greeter">' in page


def test_what_needs_a_login_is_shown_after_it(client: Client) -> None:
    machine("payroll", auth=["session"])
    assert "payroll" not in client.get("/").content.decode()
    client.force_login(User.objects.create_user("ada"))
    assert "/pages/payroll" in client.get("/").content.decode()


def test_what_is_switched_off_is_not_shown(client: Client) -> None:
    machine("retired", auth=["none"], enabled=False)
    assert "/pages/retired" not in client.get("/").content.decode()


def test_a_surface_that_is_switched_off_is_not_shown(client: Client) -> None:
    machine("greeter", auth=["none"])
    Surface.objects.update(enabled=False)
    assert "/pages/greeter" not in client.get("/").content.decode()


def test_without_machines_it_tells_how_to_load_some(client: Client) -> None:
    assert "load_machines project/machines" in client.get("/").content.decode()


@pytest.mark.parametrize(("ask", "said"), [("assume", True), ("model", False)])
def test_assumed_answers_are_announced(client: Client, settings: Any, ask: str, said: bool) -> None:
    settings.MASHIN_SURFACES = {"ASK": ask}
    assert ("MASHIN_ASK=assume" in client.get("/").content.decode()) is said
