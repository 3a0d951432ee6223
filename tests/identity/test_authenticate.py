"""From what a client presents to a principal, on the real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.identity import api_keys
from mashin_surfaces.identity.authenticate import authenticate, authenticate_now, challenges
from mashin_surfaces.identity.cache import forget
from mashin_surfaces.identity.models import ApiKey
from mashin_surfaces.identity.presented import Presented
from mashin_surfaces.identity.principal import Principal

from .conftest import ORIGIN, handshake, token_for

ALL = frozenset({"session", "jwt", "api_key"})
OPEN = ALL | {"none"}
pytestmark = pytest.mark.django_db

SignIn = Callable[[User], str]


def refused(presented: Presented, accepted: frozenset[str] = ALL) -> str:
    with pytest.raises(Refusal) as caught:
        authenticate_now(presented, accepted, ["machines:run"])
    assert caught.value.code is Code.UNAUTHENTICATED
    assert caught.value.message.endswith(".")
    return caught.value.message


def known(presented: Presented, accepted: frozenset[str] = ALL) -> Principal:
    principal = authenticate_now(presented, accepted, ["machines:run:open"])
    assert not principal.is_anonymous
    return principal


def is_anonymous(presented: Presented) -> bool:
    return authenticate_now(presented, OPEN, ["machines:run:open"]).is_anonymous


# -- kinds ----------------------------------------------------------------------------------------


def test_who_shows_nothing_is_refused_unless_that_is_said_to_be_fine() -> None:
    assert "takes session, jwt, api_key" in refused(handshake())
    nobody = authenticate_now(handshake(), OPEN, ["machines:run:open"])
    assert (nobody.name, nobody.credential.label, nobody.user_id) == ("anonymous", "none", None)
    assert nobody.holds("machines:run:open")
    assert not nobody.holds("machines:run:other")


def test_a_credential_of_a_kind_that_is_not_taken_is_refused() -> None:
    _, key = api_keys.issue("billing", ["*"])
    assert "takes session, jwt;" in refused(handshake(token=key), frozenset({"session", "jwt"}))
    assert "takes api_key" in refused(handshake(token=token_for("ci")), frozenset({"api_key"}))
    assert "no credential" in refused(handshake(token=token_for("ci")), frozenset({"none"}))


def test_a_credential_that_is_sent_must_be_good_where_none_is_fine_too() -> None:
    refused(handshake(token="a.b.c"), OPEN)
    refused(handshake(token="msk_1_2"), OPEN)
    refused(Presented(problem="It can't be read."), OPEN)


def test_what_can_not_be_read_is_refused_in_its_own_words() -> None:
    assert refused(Presented(problem="It can't be read.")) == "It can't be read."


def test_challenges_name_the_schemes() -> None:
    assert challenges(ALL) == ["Bearer", "Api-Key"]
    assert challenges({"session"}) == []


# -- tokens and keys ------------------------------------------------------------------------------


def test_a_token_is_of_a_service_when_no_user_has_its_name() -> None:
    principal = known(handshake(token=token_for("ci", "machines:run", "panels:read")))
    assert (principal.name, principal.user_id) == ("ci", None)
    assert principal.credential.kind == "jwt"
    assert principal.credential.expires_at is not None
    assert principal.holds("panels:read")
    assert not principal.holds("runs:view")


def test_a_users_token_is_cut_down_to_what_the_user_may_do(alice: User) -> None:
    principal = known(handshake(token=token_for("alice", "*")))
    assert (principal.name, principal.user_id) == ("alice", alice.pk)
    assert principal.holds("machines:run:echo")
    assert not principal.holds("panels:read")


def test_a_users_token_holds_no_more_than_it_says(root: User) -> None:
    principal = known(handshake(token=token_for("root", "panels:read")))
    assert principal.holds("panels:read")
    assert not principal.holds("machines:run")


def test_a_token_of_an_inactive_user_is_refused(alice: User) -> None:
    alice.is_active = False
    alice.save()
    assert "not active" in refused(handshake(token=token_for("alice", "*")))


def test_a_token_made_for_a_user_does_not_outlive_them(alice: User) -> None:
    token = token_for("alice", "*", is_user=True)
    known(handshake(token=token))
    alice.delete()
    forget()
    assert "no more" in refused(handshake(token=token))


def test_a_key_without_an_owner_is_a_service() -> None:
    key, text = api_keys.issue("billing", ["machines:run:invoice"], ttl=60)
    principal = known(handshake(token=text))
    assert (principal.name, principal.user_id) == ("billing", None)
    assert principal.credential.label == f"api_key:{key.id}"
    assert principal.credential.expires_at == key.expires_at.timestamp()  # type: ignore[union-attr]  # it has one
    assert principal.holds("machines:run:invoice")
    assert not principal.holds("machines:run")


def test_an_owners_key_is_cut_down_to_what_the_owner_may_do(alice: User, root: User) -> None:
    _, text = api_keys.issue("laptop", ["*"], owner=alice)
    principal = known(handshake(token=text))
    assert (principal.name, principal.user_id) == ("alice", alice.pk)
    assert principal.holds("machines:run")
    assert not principal.holds("panels:read")
    _, text = api_keys.issue("laptop", ["panels:*"], owner=root)
    assert known(handshake(token=text)).holds("panels:read")


@pytest.mark.parametrize("damaged", ["*", {"*": 1}, [""], [7], None])
def test_a_key_with_damaged_scopes_is_good_for_nothing(damaged: Any) -> None:
    key, text = api_keys.issue("billing", ["*"])
    ApiKey.objects.filter(pk=key.pk).update(scopes=damaged if damaged is not None else [None])
    assert not known(handshake(token=text)).holds("*")


def test_a_token_in_mid_connection_is_a_token() -> None:
    assert known(Presented.bearer(token_for("ci", "*"), client="::1")).name == "ci"


# -- what a user may do ---------------------------------------------------------------------------


def test_permissions_and_groups_give_scopes(alice: User, settings: Settings) -> None:
    settings.MASHIN_SURFACES = {
        "USER_SCOPES": ["machines:run"],
        "SCOPES": {"perm:auth.view_group": ["panels:read"], "group:Operators": ["runs:*"]},
    }
    token = token_for("alice", "*")
    before = known(handshake(token=token))
    assert [before.holds(scope) for scope in ("machines:run", "panels:read", "runs:decide")] == [
        True,
        False,
        False,
    ]
    alice.user_permissions.add(Permission.objects.get(codename="view_group"))
    alice.groups.add(Group.objects.create(name="Operators"))
    forget()
    after = known(handshake(token=token))
    assert all(map(after.holds, ("machines:run", "panels:read", "runs:decide")))
    assert not after.holds("bus:act")


def test_a_superuser_may_do_all(root: User, sign_in: SignIn) -> None:
    assert known(handshake(sign_in(root))).holds("anything:at:all")


# -- sessions -------------------------------------------------------------------------------------


def test_a_session_from_our_own_page_is_its_user(alice: User, sign_in: SignIn) -> None:
    key = sign_in(alice)
    principal = known(handshake(key))
    assert (principal.name, principal.user_id) == ("alice", alice.pk)
    assert principal.credential.kind == "session"
    assert principal.holds("machines:run:echo")
    assert not principal.holds("panels:read")
    assert key not in repr(principal)
    assert key not in principal.credential.label
    session = Session.objects.get(session_key=key)
    assert principal.credential.expires_at == session.expire_date.timestamp()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver:81", None])
def test_a_session_from_elsewhere_is_refused_or_left_aside(
    alice: User, sign_in: SignIn, origin: str | None
) -> None:
    presented = handshake(sign_in(alice), origin=origin)
    assert "session cookie" in refused(presented)
    assert is_anonymous(presented)


def test_a_token_beside_a_session_from_elsewhere_counts(alice: User, sign_in: SignIn) -> None:
    presented = handshake(sign_in(alice), origin="https://evil.example", token=token_for("ci"))
    assert known(presented).name == "ci"


def test_a_session_is_left_aside_where_no_session_is_taken(alice: User, sign_in: SignIn) -> None:
    assert "nothing good" in refused(handshake(sign_in(alice)), frozenset({"jwt"}))


def test_an_allowed_origin_is_ours_too(alice: User, sign_in: SignIn, settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"ALLOWED_ORIGINS": ["https://app.example"]}
    assert known(handshake(sign_in(alice), origin="https://app.example")).name == "alice"


def test_a_session_that_is_over_is_like_none(alice: User, sign_in: SignIn) -> None:
    ended, expired, unknown = sign_in(alice), sign_in(alice), "a" * 32
    Session.objects.get(session_key=ended).delete()
    Session.objects.filter(session_key=expired).update(expire_date=timezone.now())
    for key in (ended, expired, unknown, "x"):
        assert "nothing good" in refused(handshake(key))
        assert is_anonymous(handshake(key))


def test_a_session_without_a_user_is_like_none() -> None:
    store = Client().session
    store["basket"] = [1]
    store.save()
    assert store.session_key
    assert is_anonymous(handshake(store.session_key))


def test_a_session_ends_with_the_password(alice: User, sign_in: SignIn) -> None:
    key = sign_in(alice)
    alice.set_password("another")
    alice.save()
    refused(handshake(key))
    assert Session.objects.filter(session_key=key).exists(), "looking must change nothing"


def test_a_session_of_an_inactive_user_is_refused(alice: User, sign_in: SignIn) -> None:
    key = sign_in(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    refused(handshake(key))


def test_a_session_survives_a_new_secret_key_with_its_fallback(
    alice: User, sign_in: SignIn, settings: Settings
) -> None:
    key = sign_in(alice)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret key, as long as a secret key should be, at least"
    assert known(handshake(key)).name == "alice"
    assert Session.objects.filter(session_key=key).exists(), "looking must change nothing"


@pytest.mark.parametrize(
    "engine",
    [
        "django.contrib.sessions.backends.cache",
        "django.contrib.sessions.backends.cached_db",
        "django.contrib.sessions.backends.file",
        "django.contrib.sessions.backends.signed_cookies",
    ],
)
def test_every_session_engine_is_read(
    engine: str, alice: User, sign_in: SignIn, settings: Settings, tmp_path: Any
) -> None:
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.SESSION_ENGINE = engine
    assert known(handshake(sign_in(alice))).name == "alice"
    refused(handshake("a" * 32))


# -- Django requests ------------------------------------------------------------------------------


def test_a_requests_user_is_the_one_that_django_found(rf: RequestFactory, alice: User) -> None:
    request = rf.post("/api/echo", headers={"Origin": ORIGIN})
    request.user = alice
    assert known(Presented.from_request(request)).name == "alice"


def test_a_request_without_an_origin_leaves_it_to_csrf(rf: RequestFactory, alice: User) -> None:
    request = rf.get("/api/echo")
    request.user = alice
    assert known(Presented.from_request(request)).name == "alice"


def test_a_request_from_another_sites_page_has_no_user(rf: RequestFactory, alice: User) -> None:
    request = rf.post("/api/echo", headers={"Origin": "https://evil.example"})
    request.user = alice
    assert "nothing good" in refused(Presented.from_request(request))
    request.COOKIES["sessionid"] = "abcdefgh"
    assert "session cookie" in refused(Presented.from_request(request))
    assert is_anonymous(Presented.from_request(request))


def test_a_request_of_nobody_is_refused(rf: RequestFactory) -> None:
    request = rf.get("/api/echo")
    assert "nothing good" in refused(Presented.from_request(request))
    request.user = AnonymousUser()
    assert "nothing good" in refused(Presented.from_request(request))


def test_a_request_with_a_token_does_not_ask_for_the_session(
    rf: RequestFactory, alice: User
) -> None:
    request = rf.get("/api/echo", headers={"Authorization": f"Bearer {token_for('ci')}"})
    request.user = alice
    assert known(Presented.from_request(request)).name == "ci"


# -- speed, threads, and a database that is gone --------------------------------------------------


def test_a_token_is_looked_up_once(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token = handshake(token=token_for("alice", "*"))
    with django_assert_num_queries(1):
        first = known(token)
    with django_assert_num_queries(0):
        assert known(token) is first


@pytest.fixture
def alices_session(alice: User, sign_in: SignIn) -> str:
    return sign_in(alice)


@pytest.mark.django_db(transaction=True)
async def test_the_same_principals_off_the_event_loop(
    alice: User, alices_session: str, rf: RequestFactory
) -> None:
    for presented in (handshake(alices_session), handshake(token=token_for("alice", "*"))):
        principal = await authenticate(presented, ALL)
        assert (principal.name, principal.user_id) == ("alice", alice.pk)
        with pytest.raises(Refusal):
            await authenticate(presented, {"api_key"})
    request = rf.get("/")
    request.user = alice
    assert (await authenticate(Presented.from_request(request), ALL)).name == "alice"
    assert (await authenticate(handshake(), OPEN, ["a"])).holds("a")


@pytest.mark.django_db(transaction=True)
def test_without_the_database_it_is_nobodys_fault(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = handshake(token=token_for("alice"))
    connection.close()
    with monkeypatch.context() as gone:
        nowhere = {"NAME": "/nowhere/at/all", "HOST": "127.0.0.1", "PORT": "1"}
        for name, value in nowhere.items():
            gone.setitem(connection.settings_dict, name, value)
        with pytest.raises(Refusal) as caught:
            authenticate_now(token, ALL)
    assert caught.value.code is Code.LEDGER_UNAVAILABLE
    assert caught.value.retry_after == 1
    assert known(token).name == "alice"
