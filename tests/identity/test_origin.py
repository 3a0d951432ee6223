"""Which pages a session cookie is taken from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from mashin_surfaces.identity.origin import origin_is_ours


@pytest.fixture(autouse=True)
def _hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["app.example", "[::1]"]
    settings.MASHIN_SURFACES = {"ALLOWED_ORIGINS": ["https://other.example", "http://lab:8080"]}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example", "app.example"),
        ("http://app.example", "app.example"),
        ("https://app.example", "app.example:443"),
        ("https://app.example:443", "app.example"),
        ("http://app.example:9000", "app.example:9000"),
        ("HTTPS://APP.example", "app.EXAMPLE"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("https://other.example", "app.example"),
        ("https://other.example:443", "app.example"),
        ("http://lab:8080", "app.example"),
    ],
)
def test_our_own_pages(origin: str, host: str) -> None:
    assert origin_is_ours(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "app.example"),
        ("https://app.example.evil.example", "app.example"),
        ("https://evilapp.example", "app.example"),
        ("https://app.example:8443", "app.example"),
        ("http://app.example", "app.example:9000"),
        ("http://other.example", "app.example"),
        ("null", "app.example"),
        ("", "app.example"),
        ("app.example", "app.example"),
        ("https://", ""),
        ("https://app.example@evil.example", "app.example"),
        ("https://app.example/path", "app.example"),
        ("https://app.example, https://evil.example", "app.example"),
        ("file://app.example", "app.example"),
        ("https://app.example:port", "app.example"),
        ("https://[::1", "[::1]"),
        # A name that was made to point at us (DNS rebinding) is no host of ours.
        ("https://evil.example", "evil.example"),
        ("https://app.example", ""),
    ],
)
def test_other_pages(origin: str, host: str) -> None:
    assert not origin_is_ours(origin, host)


@given(origin=st.text(max_size=60), host=st.text(max_size=60))
def test_no_text_breaks_it(origin: str, host: str) -> None:
    assert origin_is_ours(origin, host) in {True, False}


def test_with_debug_and_no_hosts_it_is_this_machine(settings: Settings) -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG = [], True
    assert origin_is_ours("http://localhost:9000", "localhost:9000")
    assert not origin_is_ours("http://app.example", "app.example")
