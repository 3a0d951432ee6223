"""Whose address it is, behind proxies and in front of liars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from mashin_surfaces.identity.client import client_address

PROXIES = ["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"]


@pytest.fixture(autouse=True)
def _proxies(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {"TRUSTED_PROXIES": PROXIES}


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        # Nobody forwarded.
        ("203.0.113.9", [], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        # A client that writes the header itself.
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.5, 203.0.113.9"], "203.0.113.9"),
        # Through one proxy and two, in one header and two.
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9", "192.0.2.7"], "203.0.113.9"),
        # From one of our own machines: as far as is known.
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        # With ports, in IPv6, IPv4 written as IPv6.
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("2001:db8:1::1", ["2001:db8:2::9"], "2001:db8:2::9"),
        ("2001:db8:1::1", ["[2001:DB8:2::9]:443"], "2001:db8:2::9"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("2001:db8:2::1", ["1.1.1.1"], "2001:db8:2::1"),
        # What is no address is not believed, nor what stands before it.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1, <script>, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [""], "10.0.0.1"),
        # A Unix socket has no address.
        ("", ["1.1.1.1"], ""),
    ],
)
def test_the_client_is_the_last_address_that_a_proxy_of_ours_saw(
    peer: str, forwarded_for: list[str], client: str
) -> None:
    assert client_address(peer, forwarded_for) == client


def test_without_trusted_proxies_the_header_means_nothing(settings: Settings) -> None:
    settings.MASHIN_SURFACES = {}
    assert client_address("10.0.0.1", ["1.1.1.1"]) == "10.0.0.1"


@given(claimed=st.text(max_size=40))
def test_nothing_that_a_client_writes_hides_it(claimed: str) -> None:
    assert client_address("10.0.0.1", [f"{claimed}, 203.0.113.9"]) == "203.0.113.9"


@given(hop=st.text(max_size=60))
def test_no_text_breaks_it(hop: str) -> None:
    assert len(client_address("10.0.0.1", [hop])) <= 64
