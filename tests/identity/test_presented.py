"""Reading what a client presents, from a handshake and from a request."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from mashin_surfaces.identity.presented import Presented, Token, answer_subprotocol

KEY = "msk_0123456789abcdef_" + "0" * 48
JWT = "eyJhbGciOi.eyJzdWIi.c2ln"


def scope(
    *headers: tuple[str, str], query: str = "", subprotocols: list[str] | None = None
) -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/ws/echo",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "query_string": query.encode(),
        "subprotocols": subprotocols or [],
        "client": ("203.0.113.9", 4711),
    }


@pytest.mark.parametrize(
    ("given_scope", "token"),
    [
        (scope(), None),
        (scope(("authorization", f"Bearer {JWT}")), Token("jwt", JWT)),
        (scope(("authorization", f"bearer   {JWT} ")), Token("jwt", JWT)),
        (scope(("authorization", f"Api-Key {KEY}")), Token("api_key", KEY)),
        (scope(("authorization", f"Bearer {KEY}")), Token("api_key", KEY)),
        (scope(query=f"a=1&token={JWT}"), Token("jwt", JWT)),
        (scope(query=f"api_key={KEY}"), Token("api_key", KEY)),
        (scope(query=f"token={KEY}"), Token("api_key", KEY)),
        (scope(subprotocols=["mashin.v1", f"bearer.{JWT}"]), Token("jwt", JWT)),
        (scope(subprotocols=[f"bearer.{KEY}"]), Token("api_key", KEY)),
        # The same one twice is one.
        (scope(("authorization", f"Bearer {JWT}"), query=f"token={JWT}"), Token("jwt", JWT)),
    ],
)
def test_a_token_is_found_wherever_it_stands(
    given_scope: dict[str, Any], token: Token | None
) -> None:
    presented = Presented.from_scope(given_scope)
    assert presented.problem is None
    assert presented.token == token


@pytest.mark.parametrize(
    "given_scope",
    [
        scope(("authorization", "")),
        scope(("authorization", "Bearer")),
        scope(("authorization", "Bearer ")),
        scope(("authorization", JWT)),
        scope(("authorization", f"Basic {JWT}")),
        scope(("authorization", f"Bearer {JWT} {JWT}")),
        scope(("authorization", f"Bearer {JWT},Bearer {JWT}x")),
        scope(("authorization", "Bearer tök.en.x")),
        scope(query="token="),
        scope(query="token=%00"),
        scope(query="api_key"),
        scope(subprotocols=["bearer."]),
        scope(("authorization", f"Bearer {JWT}"), query=f"token={JWT}x"),
        scope(("authorization", f"Bearer {JWT}"), ("authorization", f"Bearer {JWT}x")),
        scope(("authorization", f"Bearer {JWT}"), query=f"api_key={KEY}"),
        scope(query=f"token={JWT}&token={JWT}x"),
        scope(query="a=1&" * 1001),
    ],
)
def test_what_can_not_be_read_is_a_problem_in_a_sentence(given_scope: dict[str, Any]) -> None:
    presented = Presented.from_scope(given_scope)
    assert presented.token is None
    assert presented.problem is not None
    assert presented.problem.endswith(".")
    assert JWT not in presented.problem


def test_a_handshake_is_read_whole() -> None:
    presented = Presented.from_scope(
        scope(("host", "app.example"), ("origin", "https://app.example"), ("cookie", "a=1"))
    )
    assert (presented.host, presented.origin) == ("app.example", "https://app.example")
    assert (presented.client, presented.is_upgrade) == ("203.0.113.9", True)
    assert presented.session_key is None


def test_the_session_is_the_cookie_that_the_settings_name(settings: Settings) -> None:
    settings.SESSION_COOKIE_NAME = "our_session"
    cookie = ("cookie", "sessionid=other; our_session=abcdefgh12")
    assert Presented.from_scope(scope(cookie)).session_key == "abcdefgh12"


@pytest.mark.parametrize("value", ['"\\000abcdefgh"', '"\\351abcdefgh"', ""])
def test_a_cookie_that_no_session_can_have_is_none(value: str) -> None:
    cookie = ("cookie", f"{django_settings.SESSION_COOKIE_NAME}={value}")
    assert Presented.from_scope(scope(cookie)).session_key is None


def test_two_origins_are_nobodys_and_two_hosts_are_none() -> None:
    presented = Presented.from_scope(
        scope(("origin", "https://a"), ("origin", "https://b"), ("host", "a"), ("host", "b"))
    )
    assert presented.origin == "https://a, https://b"
    assert presented.host == ""


def test_the_forwarded_host_counts_only_where_django_believes_it(
    settings: Settings,
) -> None:
    headers = scope(("host", "inner"), ("x-forwarded-host", "app.example"))
    assert Presented.from_scope(headers).host == "inner"
    settings.USE_X_FORWARDED_HOST = True
    assert Presented.from_scope(headers).host == "app.example"


def test_a_bare_scope_is_nobody() -> None:
    presented = Presented.from_scope({"type": "websocket"})
    assert (presented.token, presented.problem, presented.client) == (None, None, "")


def test_secrets_do_not_show() -> None:
    cookie = ("cookie", f"{django_settings.SESSION_COOKIE_NAME}=abcdefgh12")
    shown = repr(Presented.from_scope(scope(("authorization", f"Bearer {JWT}"), cookie)))
    assert JWT not in shown
    assert "abcdefgh12" not in shown


def test_a_request_is_read_like_a_handshake(rf: RequestFactory) -> None:
    request = rf.get(
        f"/api/echo?token={JWT}",
        headers={"Origin": "https://a", "X-Forwarded-For": "1.1.1.1", "Host": "localhost"},
    )
    presented = Presented.from_request(request)
    assert presented.token == Token("jwt", JWT)
    assert (presented.origin, presented.host) == ("https://a", "localhost")
    assert (presented.client, presented.is_upgrade) == ("127.0.0.1", False)
    assert presented.request is request


def test_a_request_to_a_host_that_is_not_ours_has_none(rf: RequestFactory) -> None:
    assert Presented.from_request(rf.get("/", headers={"Host": "evil.example"})).host == ""


def test_a_bare_request_is_nobody(rf: RequestFactory) -> None:
    presented = Presented.from_request(rf.get("/"))
    assert (presented.token, presented.problem, presented.session_key) == (None, None, None)


def test_a_token_in_a_message_is_read_the_same_way() -> None:
    assert Presented.bearer(KEY, client="::1").token == Token("api_key", KEY)
    assert Presented.bearer("", client="::1").problem is not None


@given(header=st.binary(max_size=80), query=st.binary(max_size=80), name=st.text(max_size=30))
def test_no_bytes_break_it(header: bytes, query: bytes, name: str) -> None:
    read = Presented.from_scope(
        {
            "type": "websocket",
            "headers": [(b"authorization", header), (b"cookie", header), (b"origin", header)],
            "query_string": query,
            "subprotocols": [name, f"bearer.{name}"],
        }
    )
    assert read.token is None or read.problem is None


@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80))
def test_a_token_survives_the_query_string(text: str) -> None:
    token = Presented.from_scope(scope(query=f"token={quote(text)}")).token
    assert token is not None
    assert token.text == text


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ([], None),
        (["mashin.v1"], "mashin.v1"),
        (["other"], None),
        (["other", "mashin.v1"], "mashin.v1"),
        (["mashin", "mashin.v1"], "mashin.v1"),
        (["other", "mashin"], "mashin"),
        ([f"bearer.{JWT}"], None),
        ([f"bearer.{JWT}", "mashin.v1"], "mashin.v1"),
        ([f"bearer.{JWT}", "harmless"], "harmless"),
        ([f"bearer.{JWT}", "bearer.x", "harmless", "mashin.v1"], "mashin.v1"),
    ],
)
def test_a_token_is_never_echoed(offered: list[str], answer: str | None) -> None:
    assert answer_subprotocol(offered, ["mashin.v1"]) == answer
