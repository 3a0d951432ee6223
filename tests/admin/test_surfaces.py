"""Surfaces in the admin: looked at, and overridden."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from mashin_surfaces.models import Epoch, Machine, Surface

from .conftest import LogIn
from .test_machines import fields_of, text_of

pytestmark = pytest.mark.django_db

LIST = "/admin/mashin_surfaces/surface/"


def test_a_surface_is_overridden_on_its_own_page(admin: Client, echo: Machine) -> None:
    surface = echo.surfaces.get(path="/api/echo")
    before = Epoch.objects.get(name="definitions").number
    address = f"{LIST}{surface.pk}/change/"
    posted = fields_of(admin.get(address)) | {"scopes_override": "reports:read,reports:*"}
    assert admin.post(address, posted).status_code == 302
    surface.refresh_from_db()
    assert surface.effective_options()["scopes"] == ["reports:read", "reports:*"]
    assert Epoch.objects.get(name="definitions").number > before


def test_what_the_source_says_can_not_be_changed_here(admin: Client, echo: Machine) -> None:
    surface = echo.surfaces.get(path="/api/echo")
    posted = {"enabled": "on", "path": "/elsewhere", "kind": "page", "protocol": "websocket"}
    admin.post(f"{LIST}{surface.pk}/change/", posted)
    surface.refresh_from_db()
    assert (surface.path, surface.kind, surface.protocol) == ("/api/echo", "api", "http")


def test_surfaces_come_and_go_with_their_machine_alone(admin: Client, echo: Machine) -> None:
    assert admin.get(f"{LIST}add/").status_code == 403
    surface = echo.surfaces.get(path="/echo")
    assert admin.post(f"{LIST}{surface.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.usefixtures("echo")
def test_the_list_is_filtered_and_says_what_is_in_force(admin: Client) -> None:
    Surface.objects.filter(kind="websocket").update(rate_override="7/s")
    text = text_of(admin.get(LIST, {"kind__exact": "websocket"}))
    assert "7/s" in text
    assert "/ws/echo" in text
    assert "/api/echo" not in text


def test_who_may_only_look_overrides_nothing(staff: LogIn, echo: Machine) -> None:
    client = staff("view_surface")
    surface = echo.surfaces.get(path="/echo")
    address = f"{LIST}{surface.pk}/change/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"rate_override": "1/s"}).status_code == 403


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, echo: Machine, django_assert_max_num_queries: Any
) -> None:
    Surface.objects.bulk_create(
        Surface(machine=echo, kind="page", protocol="http", path=f"/p/{number}")
        for number in range(500)
    )
    # Session, user, the machines of the filter, count, full count, rows.
    with django_assert_max_num_queries(6):
        assert admin.get(LIST).status_code == 200
