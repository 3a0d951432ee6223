"""Django sessions, read and never written: who is signed in, and until when.

``django.contrib.auth.get_user`` would renew or end a session while it looks; a websocket can't
hand a new cookie to the browser, so here it is only read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils import timezone
from django.utils.crypto import constant_time_compare

#: Keys in one query.
MOST_KEYS = 500
_ENGINES_WITH_ROWS = {
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
}


@dataclass(frozen=True, slots=True)
class Session:
    """What a session says of its user. ``user_key``: the primary key, as the session writes it."""

    user_key: str
    backend: str
    auth_hash: str
    expires_at: datetime

    def is_of(self, user: AbstractBaseUser) -> bool:
        """Whether it was opened by this user with the password of now (and ``SECRET_KEY``)."""
        hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
        return any(constant_time_compare(self.auth_hash, good) for good in hashes)


def session_model() -> type[Model] | None:
    """The model of the session rows, where the engine keeps rows."""
    store = _store()
    if store is None or not issubclass(store, DatabaseStore):
        return None
    return store.get_model_class()


def read(keys: Iterable[str]) -> dict[str, Session]:
    """The sessions that live and have a user, by their keys; few queries where they are rows."""
    wanted = list(set(keys))
    store, model = _store(), session_model()
    found: dict[str, Session | None] = {}
    if store is None:
        return {}
    if model is not None:
        live = model._default_manager.filter(expire_date__gt=timezone.now())
        for start in range(0, len(wanted), MOST_KEYS):
            rows = live.filter(session_key__in=wanted[start : start + MOST_KEYS]).values_list(
                "session_key", "session_data", "expire_date"
            )
            for key, data, expires_at in rows:
                found[key] = _session(store().decode(data), expires_at)
    else:
        for key in wanted:
            session = store(key)
            expires_at = timezone.now() + timedelta(seconds=session.get_expiry_age())
            found[key] = _session(dict(session.items()), expires_at)
    return {key: session for key, session in found.items() if session is not None}


def user_of(session: Session) -> AbstractBaseUser | None:
    """The session's user by its backend, as Django finds them; None when they may not come in."""
    if session.backend not in settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        key = get_user_model()._meta.pk.to_python(session.user_key)
    except ValidationError:
        return None
    user = load_backend(session.backend).get_user(key)
    if user is None or not user.is_active or not session.is_of(user):
        return None
    found: AbstractBaseUser = user
    return found


def _store() -> type[SessionBase] | None:
    """The engine's store; None where it keeps rows and the project has no table for them."""
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    engine_has_rows = settings.SESSION_ENGINE in _ENGINES_WITH_ROWS
    return None if engine_has_rows and not apps.is_installed("django.contrib.sessions") else store


def _session(data: dict[str, Any], expires_at: datetime) -> Session | None:
    try:
        return Session(
            user_key=str(data[SESSION_KEY]),
            backend=str(data[BACKEND_SESSION_KEY]),
            auth_hash=str(data[HASH_SESSION_KEY]),
            expires_at=expires_at,
        )
    except KeyError:
        return None
