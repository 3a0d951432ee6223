"""Remembered principals: bounded, ended in time, forgotten together."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from mashin_surfaces.exceptions import Refusal
from mashin_surfaces.identity import api_keys, cache
from mashin_surfaces.identity.authenticate import authenticate_now
from mashin_surfaces.identity.cache import PrincipalCache
from mashin_surfaces.identity.presented import Token
from mashin_surfaces.identity.principal import Credential, Principal

from .conftest import handshake, token_for

ALL = frozenset({"session", "jwt", "api_key"})


def principal(expires_at: float | None = None) -> Principal:
    return Principal("ci", Credential("jwt", "1", expires_at))


def test_the_least_recently_used_goes_first() -> None:
    held = PrincipalCache(capacity=2)
    first, second, third = (Token("jwt", name) for name in "abc")
    held.put(first, principal(), held.generation)
    held.put(second, principal(), held.generation)
    held.get(first)
    held.put(third, principal(), held.generation)
    assert [held.get(token) is not None for token in (first, second, third)] == [True, False, True]
    assert len(held) == 2


def test_an_entry_ends_when_its_credential_does(monkeypatch: pytest.MonkeyPatch) -> None:
    held, token = PrincipalCache(), Token("jwt", "a")
    held.put(token, principal(expires_at=1000.0), held.generation)
    monkeypatch.setattr(cache, "time", lambda: 999.0)
    assert held.get(token) is not None
    monkeypatch.setattr(cache, "time", lambda: 1000.0)
    assert held.get(token) is None
    assert len(held) == 0


def test_what_was_looked_up_before_all_was_forgotten_does_not_come_back() -> None:
    held, token = PrincipalCache(), Token("jwt", "a")
    generation = held.generation
    held.forget()
    held.put(token, principal(), generation)
    assert held.get(token) is None


def test_a_token_of_one_kind_is_not_one_of_another() -> None:
    held = PrincipalCache()
    held.put(Token("jwt", "a"), principal(), held.generation)
    assert held.get(Token("api_key", "a")) is None


def test_no_secret_is_kept() -> None:
    held = PrincipalCache()
    held.put(Token("jwt", "the-secret"), principal(), held.generation)
    assert "the-secret" not in repr(vars(held))


@pytest.mark.django_db
def test_a_revoked_key_is_refused_once_all_is_forgotten() -> None:
    key, text = api_keys.issue("billing", ["*"])
    authenticate_now(handshake(token=text), ALL)
    api_keys.revoke(key)
    cache.forget()
    with pytest.raises(Refusal, match="not good"):
        authenticate_now(handshake(token=text), ALL)


def test_a_deactivated_user_is_refused_once_all_is_forgotten(alice: User) -> None:
    token = handshake(token=token_for("alice", "*"))
    authenticate_now(token, ALL)
    alice.is_active = False
    alice.save()
    cache.forget()
    with pytest.raises(Refusal, match="not active"):
        authenticate_now(token, ALL)
