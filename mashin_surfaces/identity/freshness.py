"""Principals of live connections, as they are now: keys, users, sessions and scopes may change.

Many are looked up in few queries; a watcher does it when the epoch of the credentials moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import time
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from . import api_keys, sessions, subjects, threads
from .authenticate import database_needed
from .models import ApiKey
from .principal import Principal
from .scopes import Scopes

#: Values in one query.
MOST_VALUES = 500


async def refresh(principals: Sequence[Principal]) -> list[Principal | None]:
    """``refresh_now`` on a thread of ours."""
    return await threads.run(refresh_now, principals)


def refresh_now(principals: Sequence[Principal]) -> list[Principal | None]:
    """Each principal with the scopes of now (equal when nothing changed), or None: end it.

    Raises ``Refusal(ledger_unavailable)`` when the database can't be read; then nothing is known.
    """
    with database_needed():
        facts = _Facts(principals)
        return [facts.fresh(principal) for principal in principals]


class _Facts:
    """All that the database says of these principals."""

    def __init__(self, principals: Sequence[Principal]) -> None:
        by_kind: dict[str, list[Principal]] = {}
        for principal in principals:
            by_kind.setdefault(principal.credential.kind, []).append(principal)
        key_ids = {principal.credential.id for principal in by_kind.get("api_key", ())}
        self.keys: dict[str, ApiKey] = _by_many(
            ApiKey.objects.select_related("owner"), "pk", key_ids
        )
        session_keys = (p.credential.session_key for p in by_kind.get("session", ()))
        self.sessions = sessions.read(key for key in session_keys if key)
        users = get_user_model()
        signed_in = (*by_kind.get("session", ()), *by_kind.get("jwt", ()))
        user_ids = {p.user_id for p in signed_in if p.user_id is not None}
        self.users = _by_many(users._default_manager.all(), "pk", user_ids)
        names = {p.name for p in by_kind.get("jwt", ()) if p.user_id is None}
        self.taken_names = _by_many(users._default_manager.all(), users.USERNAME_FIELD, names)
        self._allowed: dict[Any, Scopes] = {}

    def fresh(self, principal: Principal) -> Principal | None:
        looks: dict[str, Callable[[Principal], Principal | None]] = {
            "api_key": self._of_key,
            "session": self._of_session,
            "jwt": self._of_jwt,
        }
        look = looks.get(principal.credential.kind)
        # Nobody in particular stays so.
        return principal if look is None else look(principal)

    def _of_key(self, principal: Principal) -> Principal | None:
        key = self.keys.get(principal.credential.id)
        if key is None or not api_keys.is_good(key) or key.owner_id != principal.user_id:
            return None
        fresh = subjects.of_key(key)
        return fresh if fresh.name == principal.name else None

    def _of_session(self, principal: Principal) -> Principal | None:
        session = self.sessions.get(principal.credential.session_key or "")
        user = self.users.get(principal.user_id)
        if session is None or user is None or not user.is_active:
            return None
        if session.user_key != user._meta.pk.value_to_string(user) or not session.is_of(user):
            return None
        credential = replace(
            principal.credential, expires_at=session.expires_at.timestamp()
        )  # it may have been prolonged
        return replace(principal, credential=credential, allowed=self._allowed_to(user))

    def _of_jwt(self, principal: Principal) -> Principal | None:
        expires_at = principal.credential.expires_at
        if expires_at is not None and expires_at <= time():
            return None
        if principal.user_id is None:
            # Now that a user has this name, the token is theirs and is cut down to them.
            return None if principal.name in self.taken_names else principal
        user = self.users.get(principal.user_id)
        if user is None or not user.is_active or user.get_username() != principal.name:
            return None
        return replace(principal, allowed=self._allowed_to(user))

    def _allowed_to(self, user: Any) -> Scopes:
        if user.pk not in self._allowed:
            self._allowed[user.pk] = subjects.allowed_to(user)
        return self._allowed[user.pk]


def _by_many(rows: QuerySet[Any], field: str, values: Iterable[Any]) -> dict[Any, Any]:
    """The rows by the value of a field, some hundreds in a query."""
    wanted = list(values)
    found = {}
    for start in range(0, len(wanted), MOST_VALUES):
        for row in rows.filter(**{f"{field}__in": wanted[start : start + MOST_VALUES]}):
            found[getattr(row, field)] = row
    return found
