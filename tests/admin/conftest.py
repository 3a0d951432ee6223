"""People who use the admin, and machines for them to use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.store import save_machine
from mashin_surfaces.models import Machine

ECHO = """\
machine echo "Echo"
  accepts
    text as text, is required
  responds with
    text as text, is required
  implements
    compute echo
      {text: input.text}
  expresses
    websocket
      path: "/ws/echo"
      rate: "20/s burst 40"
    api
      path: "/api/echo"
    page
      path: "/echo"
      auth: none
"""

LogIn = Callable[..., Client]


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root", password="root")


@pytest.fixture
def admin(superuser: User) -> Client:
    """The test client of a superuser."""
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def staff(db: None) -> LogIn:
    """``staff("view_machine", …)``: the client of somebody with these permissions alone."""

    def log_in(*codenames: str, name: str = "sam") -> Client:
        user = User.objects.create_user(name, is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="mashin_surfaces", codename__in=codenames
        )
        assert len(found) == len(codenames), "a permission is not there"
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return log_in


def load(source: str = ECHO) -> Machine:
    """A machine as ``load_machines`` would store it."""
    return save_machine(examine(source).definition, source).machine


@pytest.fixture
def echo(db: None) -> Machine:
    return load()
