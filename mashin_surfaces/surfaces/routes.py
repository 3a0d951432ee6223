"""Where the doors are: address → route, made anew from every snapshot while connections live on.

A route outlives revisions of its machine: a connection keeps its route and finds the door of now
in it. A route whose surface went away has no door; its connections are told.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from django.db import DatabaseError, connections

from ..exceptions import Code, Refusal
from ..governance.door import Door, door_of
from ..governance.govern import Caller
from ..identity.principal import Principal
from ..machines.registry import DEFINITIONS, Address, Snapshot, registry
from ..machines.watch import watcher

logger = logging.getLogger(__name__)


class Connection(Protocol):
    """A live socket of a route."""

    caller: Caller

    def surface_changed(self) -> None:
        """Look at the route again; called on any thread."""

    def principal_changed(self, before: Principal, now: Principal | None) -> None:
        """``before`` is worth something else now, or nothing; called on any thread."""


class Route:
    """One address and its door, which is None once the surface is gone."""

    __slots__ = ("connections", "consumer", "door", "path", "protocol")

    def __init__(self, protocol: str, path: str, door: Door) -> None:
        self.protocol = protocol
        self.path = path
        self.door: Door | None = door
        self.connections: set[Connection] = set()
        self.consumer: Any = None  # a websocket's class, made when the first client comes


class Routes:
    """All routes of this process."""

    def __init__(self) -> None:
        self._routes: dict[Address, Route] = {}
        #: Routes of what is no surface (panels), while somebody is connected.
        self.besides: set[Route] = set()
        self._lock = threading.Lock()
        self._ready = False

    def find(self, protocol: str, path: str) -> Route | None:
        """The route of an address; no query. ``prepare`` must have run."""
        return self._routes.get((protocol, path))

    def topics_of(self, route: Route) -> Route:
        """The route whose surface says what this machine's topics are, and feeds them: the route
        itself or a websocket of the same machine; without ``subscribe:`` anywhere, the route."""
        door = route.door
        if door is None or door.options.get("subscribe") is not None:
            return route
        for other in self._routes.values():
            candidate = other.door
            if (
                candidate is not None
                and candidate.name == door.name
                and candidate.options.get("subscribe") is not None
            ):
                return other
        return route

    def source_of(self, machine: str) -> Route | None:
        """The route whose surface says what the topics of this machine are."""
        for route in self._routes.values():
            door = route.door
            if door is not None and door.name == machine and door.options.get("subscribe"):
                return route
        return None

    def connections(self) -> list[Connection]:
        """Every live socket of this process."""
        every = (*self._routes.values(), *self.besides)
        return [each for route in every for each in tuple(route.connections)]

    def count(self) -> int:
        """How many live sockets this process has."""
        return sum(len(route.connections) for route in (*self._routes.values(), *self.besides))

    def prepare(self) -> None:
        """Read the definitions once and watch them from now on. Blocks for a few queries.

        Raises ``Refusal`` (ledger_unavailable) when the database can't be read yet.
        """
        if self._ready:
            return
        with self._lock:
            if not self._ready:
                # On a thread: the caller may be on an event loop, where Django refuses to query.
                reader = ThreadPoolExecutor(1, thread_name_prefix="mashin-prepare")
                try:
                    reader.submit(self._read).result()
                finally:
                    reader.shutdown()
                registry.listen(self._take)
                watcher.on_change(DEFINITIONS, registry.refresh)
                watcher.start()
                self._ready = True

    def _read(self) -> None:
        try:
            self._take(registry.refresh())
        except DatabaseError as error:
            logger.error("The definitions can't be read: %s", error)
            raise Refusal(
                Code.LEDGER_UNAVAILABLE, "The database can't be read; try again.", retry_after=1
            ) from error
        finally:
            connections.close_all()

    @property
    def is_ready(self) -> bool:
        return self._ready

    def _take(self, snapshot: Snapshot) -> None:
        before = self._routes
        now: dict[Address, Route] = {}
        changed: list[Route] = []
        for address, surface in snapshot.surfaces.items():
            route = before.get(address)
            if route is None:
                route = Route(*address, door_of(surface))
            elif route.door is None or route.door.surface is not surface:
                route.door = door_of(surface)
                changed.append(route)
            now[address] = route
        for address, route in before.items():
            if address not in now:
                route.door = None
                changed.append(route)
        self._routes = now
        for route in changed:
            for connection in tuple(route.connections):
                connection.surface_changed()


routes = Routes()
