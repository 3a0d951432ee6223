"""API keys: issued once, kept as a hash, refused alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.identity import api_keys
from mashin_surfaces.identity.models import ApiKey


def refused(text: str) -> str:
    with pytest.raises(Refusal) as caught:
        api_keys.verify(text)
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value.message


@pytest.mark.django_db
def test_a_key_is_shown_once_and_kept_as_a_hash() -> None:
    key, text = api_keys.issue("billing", ["machines:run"], ttl=60)
    assert text.startswith(f"msk_{key.id}_")
    secret = text.rpartition("_")[2]
    stored = ApiKey.objects.values().get(pk=key.pk)
    assert secret not in repr(stored)
    assert stored["scopes"] == ["machines:run"]
    assert api_keys.verify(text) == key


@pytest.mark.django_db
def test_a_key_costs_one_query(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, text = api_keys.issue("laptop", ["*"], owner=alice)
    with django_assert_num_queries(1):
        assert api_keys.verify(text).owner == alice


@pytest.mark.django_db
def test_every_bad_key_is_refused_alike_and_costs_the_same(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, good = api_keys.issue("good", ["*"])
    revoked, revoked_text = api_keys.issue("revoked", ["*"])
    api_keys.revoke(revoked)
    expired, expired_text = api_keys.issue("expired", ["*"], ttl=60)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    _, of_inactive = api_keys.issue("laptop", ["*"], owner=alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    bad = [
        revoked_text,
        expired_text,
        of_inactive,
        good[:-1] + ("0" if not good.endswith("0") else "1"),
        f"msk_{'0' * 16}_{good.rpartition('_')[2]}",
        good.upper(),
        good + "0",
        "msk_",
        "msk__",
        "msk_%00_%00",
        "",
    ]
    sentences = set()
    for text in bad:
        with django_assert_num_queries(1):
            sentences.add(refused(text))
    assert sentences == {api_keys.BAD_KEY}


@pytest.mark.django_db
def test_one_keys_secret_does_not_open_another() -> None:
    first, first_text = api_keys.issue("first", ["*"])
    second, _ = api_keys.issue("second", ["*"])
    refused(first_text.replace(first.id, second.id))
    # Nor does a hash that was copied from another row.
    ApiKey.objects.filter(pk=second.pk).update(hash=first.hash)
    refused(first_text.replace(first.id, second.id))


@pytest.mark.django_db
def test_revoking_twice_keeps_the_first_time() -> None:
    key, _ = api_keys.issue("billing", [])
    api_keys.revoke(key)
    first = key.revoked_at
    api_keys.revoke(key)
    key.refresh_from_db()
    assert key.revoked_at == first


@pytest.mark.django_db
def test_a_changed_secret_key_keeps_keys_while_it_is_a_fallback(settings: Settings) -> None:
    _, text = api_keys.issue("billing", [])
    before = settings.SECRET_KEY
    settings.SECRET_KEY = "another secret key, as long as a secret key should be, at least"
    refused(text)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert api_keys.verify(text).name == "billing"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", " x", "x" * 101, "anonymous", "a\0b"])
def test_what_is_no_name_gets_no_key(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        api_keys.issue(name, [])
    assert not ApiKey.objects.exists()


@pytest.mark.django_db
def test_what_is_no_scope_gets_no_key() -> None:
    with pytest.raises(ValueError, match="is no scope"):
        api_keys.issue("billing", ["two words"])
    assert not ApiKey.objects.exists()


def test_a_service_can_not_have_a_users_name(alice: User) -> None:
    with pytest.raises(ValueError, match="make them the owner"):
        api_keys.issue("alice", [])


@pytest.mark.django_db(transaction=True)
def test_the_last_use_is_noted_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = api_keys.issue("billing", [])
    now = 1000.0
    monkeypatch.setattr(api_keys, "monotonic", lambda: now)
    note = api_keys.note_use(key.id)
    assert note is not None
    note.result(timeout=20)
    key.refresh_from_db()
    assert key.last_used_at is not None
    now += 59
    assert api_keys.note_use(key.id) is None
    now += 2
    assert api_keys.note_use(key.id) is not None
