"""Live principals, looked at again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from mashin_surfaces.identity import api_keys, freshness
from mashin_surfaces.identity.authenticate import authenticate_now
from mashin_surfaces.identity.freshness import refresh, refresh_now
from mashin_surfaces.identity.principal import Principal, anonymous

from .conftest import handshake, token_for

pytestmark = pytest.mark.django_db

ALL = frozenset({"session", "jwt", "api_key"})
SignIn = Callable[[User], str]


def by_token(token: str) -> Principal:
    return authenticate_now(handshake(token=token), ALL)


def by_session(key: str) -> Principal:
    return authenticate_now(handshake(key), ALL)


def fresh(principal: Principal) -> Principal | None:
    [answer] = refresh_now([principal])
    return answer


def test_nothing_changed_means_equal_principals(alice: User, sign_in: SignIn) -> None:
    _, service_key = api_keys.issue("billing", ["a"])
    _, owned_key = api_keys.issue("laptop", ["b"], owner=alice)
    principals = [
        by_token(service_key),
        by_token(owned_key),
        by_token(token_for("ci", "c")),
        by_token(token_for("alice", "d")),
        by_session(sign_in(alice)),
        anonymous(["e"]),
    ]
    assert refresh_now(principals) == principals
    assert refresh_now([]) == []


def test_a_revoked_or_deleted_key_ends(alice: User) -> None:
    revoked, revoked_text = api_keys.issue("one", ["*"])
    deleted, deleted_text = api_keys.issue("two", ["*"])
    _, good_text = api_keys.issue("three", ["*"])
    principals = [by_token(text) for text in (revoked_text, deleted_text, good_text)]
    api_keys.revoke(revoked)
    deleted.delete()
    assert refresh_now(principals) == [None, None, principals[2]]


def test_an_expired_key_ends_and_a_prolonged_one_goes_on() -> None:
    key, text = api_keys.issue("one", ["*"], ttl=60)
    principal = by_token(text)
    key.expires_at = timezone.now() + timedelta(hours=1)
    key.save()
    prolonged = fresh(principal)
    assert prolonged is not None
    assert prolonged.credential.expires_at == key.expires_at.timestamp()
    key.expires_at = timezone.now()
    key.save()
    assert fresh(principal) is None


def test_a_key_has_the_scopes_of_now() -> None:
    key, text = api_keys.issue("one", ["panels:read"])
    principal = by_token(text)
    key.scopes = ["runs:view"]
    key.save()
    now = fresh(principal)
    assert now is not None
    assert (now.holds("panels:read"), now.holds("runs:view")) == (False, True)


def test_a_key_that_went_to_another_owner_ends(alice: User, root: User) -> None:
    key, text = api_keys.issue("laptop", ["*"], owner=alice)
    principal = by_token(text)
    key.owner = root
    key.save()
    assert fresh(principal) is None


def test_all_of_a_deactivated_user_ends(alice: User, sign_in: SignIn) -> None:
    _, key = api_keys.issue("laptop", ["*"], owner=alice)
    principals = [by_token(key), by_token(token_for("alice")), by_session(sign_in(alice))]
    alice.is_active = False
    alice.save()
    assert refresh_now(principals) == [None, None, None]


def test_all_of_a_deleted_user_ends(alice: User, sign_in: SignIn) -> None:
    _, key = api_keys.issue("laptop", ["*"], owner=alice)
    principals = [by_token(key), by_token(token_for("alice")), by_session(sign_in(alice))]
    alice.delete()
    assert refresh_now(principals) == [None, None, None]


def test_a_session_that_ended_ends(alice: User, sign_in: SignIn) -> None:
    ended, expired, kept = (by_session(sign_in(alice)) for _ in range(3))
    Session.objects.get(session_key=ended.credential.session_key).delete()
    Session.objects.filter(session_key=expired.credential.session_key).update(
        expire_date=timezone.now()
    )
    assert refresh_now([ended, expired, kept]) == [None, None, kept]


def test_a_session_ends_with_the_password(alice: User, sign_in: SignIn) -> None:
    principal = by_session(sign_in(alice))
    alice.set_password("another")
    alice.save()
    assert fresh(principal) is None


def test_a_session_that_another_user_took_over_ends(
    alice: User, root: User, sign_in: SignIn
) -> None:
    principal = by_session(sign_in(alice))
    other = Session.objects.get(session_key=sign_in(root))
    Session.objects.filter(session_key=principal.credential.session_key).update(
        session_data=other.session_data
    )
    assert fresh(principal) is None


def test_a_prolonged_session_goes_on(alice: User, sign_in: SignIn) -> None:
    principal = by_session(sign_in(alice))
    later = timezone.now() + timedelta(days=100)
    Session.objects.update(expire_date=later)
    now = fresh(principal)
    assert now is not None
    assert now.credential.expires_at == later.timestamp()


def test_a_user_has_the_scopes_of_now(alice: User, sign_in: SignIn, settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"SCOPES": {"group:Operators": ["runs:*"]}}
    group = Group.objects.create(name="Operators")
    alice.groups.add(group)
    _, key = api_keys.issue("laptop", ["*"], owner=alice)
    principals = [by_token(key), by_token(token_for("alice", "*")), by_session(sign_in(alice))]
    assert all(principal.holds("runs:decide") for principal in principals)
    alice.groups.remove(group)
    now = refresh_now(principals)
    assert [principal is not None and principal.holds("machines:run") for principal in now] == [
        True
    ] * 3
    assert not any(principal and principal.holds("runs:decide") for principal in now)


def test_an_expired_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    principal = by_token(token_for("ci"))
    expires_at = principal.credential.expires_at
    assert expires_at is not None
    monkeypatch.setattr(freshness, "time", lambda: expires_at)
    assert fresh(principal) is None


def test_a_service_whose_name_became_a_users_must_come_anew() -> None:
    principal = by_token(token_for("bob", "*"))
    User.objects.create_user("bob")
    assert fresh(principal) is None


def test_a_renamed_user_must_come_anew(alice: User) -> None:
    principal = by_token(token_for("alice", "*"))
    alice.username = "alicia"
    alice.save()
    assert fresh(principal) is None


def test_many_are_looked_up_in_few_queries(
    alice: User, sign_in: SignIn, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    users = [User.objects.create_user(f"user{number}") for number in range(20)]
    principals = []
    for user in users:
        principals.append(by_session(sign_in(user)))
        principals.append(by_token(api_keys.issue("laptop", ["*"], owner=user)[1]))
        principals.append(by_token(token_for(user.username, "*")))
        principals.append(by_token(token_for(f"service-{user.username}", "*")))
    with django_assert_max_num_queries(4):
        assert refresh_now(principals) == principals


@pytest.mark.django_db(transaction=True)
async def test_the_same_off_the_event_loop() -> None:
    principal = anonymous(["a"])
    assert await refresh([principal]) == [principal]
