"""From a verified credential to a principal: the Django user it names, or a service.

What a user may do at most comes from ``USER_SCOPES`` and ``SCOPES``; superusers may do all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser

from ..conf import settings
from ..exceptions import Code, Refusal
from . import jwt, sessions
from .models import ApiKey
from .principal import Credential, Principal
from .scopes import EVERYTHING, NOTHING, Scopes
from .secret_keys import derived_keys, keyed_digest


def of_claims(claims: jwt.Claims) -> Principal:
    """The principal of a good token."""
    credential = Credential("jwt", claims.id, claims.expires_at)
    user = user_named(claims.sub)
    if user is None:
        if claims.must_be_user:
            raise Refusal(Code.UNAUTHENTICATED, "The token is for a user who is no more.")
        return Principal(claims.sub, credential, claims.scopes, agents=claims.agents)
    if not user.is_active:
        raise Refusal(Code.UNAUTHENTICATED, "The token is for a user who is not active.")
    return replace(of_user(user, credential, claims.scopes), agents=claims.agents)


def of_key(key: ApiKey) -> Principal:
    """The principal of a good key (``api_keys.verify``)."""
    credential = Credential("api_key", key.id, _seconds(key.expires_at))
    scopes = _scopes_of(key)
    if key.owner is None:
        return Principal(key.name, credential, scopes)
    return of_user(key.owner, credential, scopes)


def _scopes_of(key: ApiKey) -> Scopes:
    """The row's scopes; a row that was damaged by hand is good for nothing."""
    try:
        return Scopes(key.scopes) if isinstance(key.scopes, list) else NOTHING
    except ValueError:
        return NOTHING


def of_session_key(session_key: str) -> Principal | None:
    """The principal of a session; None when it is over or nobody is signed in."""
    session = sessions.read([session_key]).get(session_key)
    user = None if session is None else sessions.user_of(session)
    if session is None or user is None:
        return None
    return of_user(user, session_credential(session_key, session.expires_at), EVERYTHING)


def of_request(request: Any) -> Principal | None:
    """The principal whom Django's middleware found; None when nobody is signed in."""
    user = request.user
    if not user.is_authenticated or not user.is_active:
        return None
    session = getattr(request, "session", None)
    return of_user(user, session_credential(getattr(session, "session_key", None)), EVERYTHING)


def session_credential(session_key: str | None, expires_at: datetime | None = None) -> Credential:
    """A session as a credential: its key is a secret, so its id is a digest of it."""
    if not session_key:
        return Credential("session")
    digest = keyed_digest(derived_keys("session")[0], session_key)[:16]
    return Credential("session", digest, _seconds(expires_at), session_key)


def of_user(user: AbstractBaseUser, credential: Credential, scopes: Scopes) -> Principal:
    """A user by a credential: its scopes, cut down to what the user may do."""
    return Principal(user.get_username(), credential, scopes, user.pk, allowed_to(user))


def user_named(name: str) -> AbstractBaseUser | None:
    """The user of that natural key (``USERNAME_FIELD``)."""
    users = get_user_model()
    try:
        user: AbstractBaseUser = users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        return None
    return user


def allowed_to(user: Any) -> Scopes:
    """What a user may do at most. No query unless ``SCOPES`` names permissions or groups."""
    if getattr(user, "is_superuser", False):
        return EVERYTHING
    allowed = list(settings.USER_SCOPES)
    groups: set[str] | None = None
    for source, scopes in settings.SCOPES.items():
        kind, _, name = source.partition(":")
        if kind == "perm":
            holds = user.has_perm(name)
        else:
            if groups is None:
                groups = set(user.groups.values_list("name", flat=True))
            holds = name in groups
        if holds:
            allowed.extend(scopes)
    return Scopes(allowed)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
