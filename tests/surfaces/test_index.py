"""The index of surfaces: who sees what, and how it is told to be reached."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from pytest_django import Settings

from mashin_surfaces.machines.registry import DEFINITIONS, registry
from mashin_surfaces.models import Epoch, Machine, Surface

from .test_page import declare

pytestmark = pytest.mark.django_db(transaction=True)

SHOP = """
machine shop "The shop"
  achieves
    goal "Everybody finds what they need."
  responds with
    open as boolean
  implements
    compute answer
      {open: true}
  expresses
    page
      path: "/shop"
      title: "The <shop>"
      auth: none
    page
      path: "/shop/office"
      title: "The office"
    api
      path: "/api/shop"
      method: "GET"
      auth: jwt
    websocket
      path: "/ws/shop"
      auth: none
    websocket
      path: "/ws/vault"
      auth: session
      scopes: vault:open
"""
HIVE = """
machine hive "The hive"
  expresses
    websocket
      path: "/ws/hive"
      dialect: incubator
      auth: session
    page
      path: "/hive"
"""


@pytest.fixture(autouse=True)
def _groups(no_machines_left: None, settings: Settings) -> None:
    scopes = {"group:bees": ["bus:observe"], "group:guards": ["vault:open"]}
    settings.MASHIN_SURFACES = {**settings.MASHIN_SURFACES, "SCOPES": scopes}


def shown(client: Client) -> str:
    """What the index says, with single spaces."""
    answer = client.get("/")
    assert answer.status_code == 200
    body = re.sub(r"<title>.*?</title>", " ", answer.content.decode())
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def signed_in(client: Client, *groups: str) -> None:
    user = get_user_model().objects.create_user("ada")
    for group in groups:
        user.groups.create(name=group)
    client.force_login(user)


def test_a_stranger_sees_what_is_open_to_everybody(client: Client) -> None:
    declare(SHOP)
    seen = shown(client)
    assert "The shop Everybody finds what they need." in seen
    assert "Page The <shop> open to everybody" in seen
    assert "Socket ws://testserver/ws/shop machine · open to everybody" in seen
    assert "office" not in seen
    assert "/api/shop" not in seen
    assert "vault" not in seen
    assert '<a href="/shop">' in client.get("/").content.decode()
    assert "Sign in" in seen


def test_who_is_signed_in_sees_what_their_scopes_open(client: Client) -> None:
    declare(SHOP)
    signed_in(client)
    seen = shown(client)
    assert "Page The office with session · machines:run:shop" in seen
    assert "API GET http://testserver/api/shop with token · machines:run:shop" in seen
    assert "vault" not in seen
    assert "Signed in as ada" in seen


def test_a_scope_of_the_surface_is_what_it_takes(client: Client) -> None:
    declare(SHOP)
    signed_in(client, "guards")
    assert "ws://testserver/ws/vault machine · with session · vault:open" in shown(client)


def test_a_bus_is_shown_to_who_may_observe_it(client: Client) -> None:
    declare(HIVE)
    signed_in(client)
    assert "hive" not in shown(client)
    User.objects.get().groups.create(name="bees")
    client.force_login(User.objects.get())
    assert "The hive Page The hive" in shown(client)
    assert client.get("/hive").status_code == 200


def test_every_page_that_is_shown_opens(client: Client) -> None:
    declare(SHOP)
    declare(HIVE)
    signed_in(client, "bees")
    paths = re.findall(r'<a href="(/(?:shop|hive)[^"]*)">', client.get("/").content.decode())
    assert sorted(paths) == ["/hive", "/shop", "/shop/office"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 200]


@pytest.mark.parametrize("model", [Machine, Surface])
def test_what_is_switched_off_is_not_shown(client: Client, model: Any) -> None:
    declare(SHOP)
    model.objects.update(enabled=False)
    Epoch.objects.filter(name=DEFINITIONS).update(number=F("number") + 1)
    registry.refresh()
    assert "/shop" not in client.get("/").content.decode()


def test_a_token_that_is_no_good_is_refused(client: Client) -> None:
    answer = client.get("/", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


def test_without_surfaces_it_says_so(client: Client) -> None:
    registry.forget()
    assert "There is nothing here" in shown(client)


@pytest.mark.parametrize(("ask", "said"), [("assume", True), ("model", False)])
def test_assumed_answers_are_announced(
    client: Client, settings: Settings, ask: str, said: bool
) -> None:
    settings.MASHIN_SURFACES = {"ASK": ask, "WATCH_INTERVAL": 3600}
    assert ("Model answers are assumed here:" in shown(client)) is said
