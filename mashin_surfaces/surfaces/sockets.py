"""The websockets of a machine that a page can use for whoever looks at it."""

from __future__ import annotations

from collections.abc import Iterator

from ..governance.door import Door
from ..identity.principal import Principal, anonymous
from ..machines.registry import registry
from .routes import Route, routes


def takes(door: Door, principal: Principal) -> bool:
    """Whether the door takes somebody as their browser brings them.

    A browser sends its session cookie or nothing: with other credentials the page does without.
    """
    kind = principal.credential.kind
    if kind not in {"session", "none"} or kind not in door.accepted:
        return False
    return door.admits(anonymous(door.grant) if kind == "none" else principal)


def sockets_for(machine: str, principal: Principal, dialect: str) -> Iterator[Route]:
    """The machine's websockets of this dialect that take the principal."""
    for (protocol, path), surface in sorted(registry.snapshot.surfaces.items()):
        if protocol != "websocket" or surface.machine.name != machine:
            continue
        route = routes.find(protocol, path)
        if route is None or (door := route.door) is None:
            continue
        if door.options.get("dialect", "machine") == dialect and takes(door, principal):
            yield route
