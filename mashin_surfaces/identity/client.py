"""The client's address behind proxies, by ``MASHIN_SURFACES["TRUSTED_PROXIES"]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from ..conf import settings

Address = IPv4Address | IPv6Address

#: ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1``, ``[2001:db8::1]:443`` (RFC 7239, 6).
_HOP = re.compile(r"\[(?P<six>[^\]]*)\](?::\d+)?|(?P<four>[^:]*)(?::\d+)?|(?P<bare>.*)")


def client_address(peer: str, forwarded_for: Sequence[str]) -> str:
    """Who is at the other end; ``forwarded_for``: the ``X-Forwarded-For`` headers, in order.

    Read from the right, each entry was written by the hop before it: it is believed only as long
    as every hop up to it is one of our proxies. What a client wrote itself is never believed.
    """
    address = _parse(peer)
    if address is None:
        return peer[:64]
    networks = _networks(tuple(settings.TRUSTED_PROXIES))
    hops = [hop for header in forwarded_for for hop in header.split(",")]
    while hops and _is_in(address, networks):
        earlier = _parse(hops.pop())
        if earlier is None:
            break
        address = earlier
    return str(address)


def _parse(hop: str) -> Address | None:
    """An address without its port; an IPv4 one even when it is written as IPv6."""
    match = _HOP.fullmatch(hop.strip())
    if match is None:
        return None
    try:
        address = ip_address(match["six"] or match["four"] or match["bare"] or "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=8)
def _networks(texts: tuple[str, ...]) -> tuple[IPv6Network, ...]:
    """All networks as IPv6 (IPv4 as ``::ffff:0:0/96``), so that there is one comparison."""
    networks = []
    for text in texts:
        network = ip_network(text, strict=False)
        if isinstance(network, IPv6Network):
            networks.append(network)
        else:
            length = 96 + network.prefixlen
            networks.append(IPv6Network(f"::ffff:{network.network_address}/{length}"))
    return tuple(networks)


def _is_in(address: Address, networks: tuple[IPv6Network, ...]) -> bool:
    six = address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
    return any(six in network for network in networks)
