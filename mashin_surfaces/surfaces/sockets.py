"""The websockets of a machine that a page can use for whoever looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..governance.door import Door
from ..identity.principal import Principal, anonymous
from ..incubators.doors import entrances, grant_of
from ..machines.registry import registry
from .routes import Route, routes


def takes(door: Door, principal: Principal) -> bool:
    """Whether the door takes somebody as their browser brings them.

    A browser sends its session cookie or nothing: with other credentials the page does without.
    """
    return _takes(door, principal, door.grant, (door,))


def takes_on_bus(door: Door, namespace: str, principal: Principal) -> bool:
    """Whether a socket of incubators takes somebody as their browser brings them: the rights in
    the namespace count there."""
    return _takes(door, principal, grant_of(door), entrances(door, namespace))


def _takes(
    door: Door, principal: Principal, grant: Iterable[str], entrances: Iterable[Door]
) -> bool:
    kind = principal.credential.kind
    if kind not in {"session", "none"} or kind not in door.accepted:
        return False
    comer = anonymous(grant) if kind == "none" else principal
    return all(entrance.admits(comer) for entrance in entrances)


def sockets_for(machine: str, principal: Principal, dialect: str) -> Iterator[Route]:
    """The machine's websockets of this dialect that take the principal."""
    for route, door in _sockets(machine, dialect):
        if takes(door, principal):
            yield route


def bus_sockets_for(machine: str, namespace: str, principal: Principal) -> Iterator[Route]:
    """The machine's websockets of incubators that take the principal in the namespace."""
    for route, door in _sockets(machine, "incubator"):
        if takes_on_bus(door, namespace, principal):
            yield route


def speaks(machine: str, dialect: str) -> bool:
    """Whether the machine has a websocket of this dialect, whoever may come to it."""
    return any(True for _ in _sockets(machine, dialect))


def _sockets(machine: str, dialect: str) -> Iterator[tuple[Route, Door]]:
    for (protocol, path), surface in sorted(registry.snapshot.surfaces.items()):
        if protocol != "websocket" or surface.machine.name != machine:
            continue
        route = routes.find(protocol, path)
        if route is None or (door := route.door) is None:
            continue
        if door.options.get("dialect", "machine") == dialect:
            yield route, door
