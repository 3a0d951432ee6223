"""People, keys and handshakes for the tests of identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from mashin_surfaces.identity import cache, jwt
from mashin_surfaces.identity.presented import Presented
from mashin_surfaces.identity.scopes import Scopes

ORIGIN = "http://testserver"


@pytest.fixture(autouse=True)
def _nobody_is_remembered() -> Iterator[None]:
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password="secret")


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="secret")


@pytest.fixture
def sign_in() -> Callable[[User], str]:
    """Sign in a user; the session's key."""

    def signed_in(user: User) -> str:
        client = Client()
        client.force_login(user)
        return client.cookies[django_settings.SESSION_COOKIE_NAME].value

    return signed_in


def handshake(
    session: str | None = None, *, origin: str | None = ORIGIN, token: str | None = None
) -> Presented:
    """What a websocket's handshake presents."""
    headers = {
        "host": "testserver",
        "origin": origin,
        "cookie": session and f"{django_settings.SESSION_COOKIE_NAME}={session}",
        "authorization": token and f"Bearer {token}",
    }
    scope: dict[str, Any] = {
        "type": "websocket",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
    }
    return Presented.from_scope(scope)


def token_for(name: str, *scopes: str, is_user: bool = False) -> str:
    """A token that is good for a minute."""
    return jwt.sign(name, Scopes(scopes), 60, is_user=is_user)[0]
