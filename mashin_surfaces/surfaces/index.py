"""The index: every surface that whoever looks may come to, with how it is reached.

It is no surface: a project gives it a place in its URLs, ``path("", index, name="index")``. It
lists what is live now; doors that would not let the visitor in are not named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from ..conf import settings
from ..exceptions import Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import Principal, anonymous
from ..incubators.doors import entrances, grant_of
from ..machines.registry import CompiledMachine, registry
from ..machines.store import SURFACE_VIEW
from .bus_page import DEFAULT
from .routes import routes
from .sockets import speaks
from .visit import login_to
from .words import reason

_KINDS: Final = ("session", "jwt", "api_key", "none")
_ADMIN: Final = "admin:index"


@dataclass(frozen=True, slots=True)
class Entry:
    """A surface in the list. ``address``: of a page its path, of others the whole URL."""

    kind: str
    word: str
    title: str
    address: str
    method: str
    dialect: str
    credentials: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A machine with those of its surfaces that are shown."""

    name: str
    title: str
    description: str
    surfaces: tuple[Entry, ...]


async def index(request: HttpRequest) -> HttpResponse:
    """The list; a credential that is no good is refused with its status, as at every door."""
    try:
        routes.prepare()
        principal = await authenticate(Presented.from_request(request), _KINDS)
    except Refusal as refusal:
        context: dict[str, Any] = {
            "title": _("Machines and their surfaces"),
            "refusal": refusal,
            "reason": reason(TABLE[refusal.code].status),
        }
        return await sync_to_async(_render, thread_sensitive=False)(
            request, "mashin_surfaces/error.html", context, TABLE[refusal.code].status
        )
    machines = list(_listed(request, principal))
    context = {
        "title": _("Machines and their surfaces"),
        "principal": None if principal.is_anonymous else principal,
        "machines": machines,
        "assumes": settings.ASK == "assume",
        "login": login_to(request.get_full_path()) if principal.is_anonymous else None,
        "admin": _admin(),
    }
    return await sync_to_async(_render, thread_sensitive=False)(
        request, "mashin_surfaces/index.html", context, 200
    )


def _render(
    request: HttpRequest, template: str, context: dict[str, Any], status: int
) -> HttpResponse:
    try:
        response = render(request, template, context, status=status)
        response["Cache-Control"] = "private, no-store"
        return response
    finally:
        close_old_connections()


def _listed(request: HttpRequest, principal: Principal) -> Iterator[Listed]:
    """Machines by their titles; those without a surface for the visitor are left out."""
    doors: dict[str, list[Door]] = {}
    for address, surface in sorted(registry.snapshot.surfaces.items()):
        route = routes.find(*address)
        if route is not None and route.door is not None and _lets_in(route.door, principal):
            doors.setdefault(surface.machine.name, []).append(route.door)
    machines = registry.snapshot.machines
    for name in sorted(doors, key=lambda each: (machines[each].title.lower(), each)):
        entries = sorted(
            (_entry(request, door) for door in doors[name]),
            key=lambda entry: (entry.kind != "page", entry.kind, entry.address),
        )
        yield Listed(name, machines[name].title, _described(machines[name]), tuple(entries))


def _lets_in(door: Door, principal: Principal) -> bool:
    """Whether somebody could come in, with this credential or, where that is no page, with
    another one of theirs."""
    nobody = anonymous(grant_of(door) if _is_bus(door) else door.grant)
    if "none" in door.accepted and _admits(door, nobody):
        return True
    if principal.is_anonymous or not _admits(door, principal):
        return False
    return door.kind != "page" or principal.credential.kind in door.accepted


def _is_bus(door: Door) -> bool:
    if door.kind == "page":
        return speaks(door.name, "incubator") and not speaks(door.name, "panel")
    return door.options.get("dialect") == "incubator"


def _admits(door: Door, principal: Principal) -> bool:
    """By its scopes; on a bus by the rights in its namespace, and what the surface itself wants."""
    doors = entrances(door, DEFAULT) if _is_bus(door) else (door,)
    return all(each.admits(principal) for each in doors)


def _described(machine: CompiledMachine) -> str:
    """What its author wants of it."""
    return " ".join(machine.definition.achieves.goals)


def _entry(request: HttpRequest, door: Door) -> Entry:
    words = {"page": _("Page"), "websocket": _("Socket"), "api": _("API")}
    credentials = {
        "session": _("session"),
        "jwt": _("token"),
        "api_key": _("API key"),
    }
    taken = [word for kind, word in credentials.items() if kind in door.accepted]
    is_open = "none" in door.accepted
    return Entry(
        kind=door.kind,
        word=words[door.kind],
        title=door.options.get("title") or door.machine.compiled.title,
        address=_address(request, door),
        method=door.options.get("method", "POST") if door.kind == "api" else "",
        dialect=door.options.get("dialect", "machine") if door.kind == "websocket" else "",
        credentials=_("open to everybody") if is_open else _("with %s") % ", ".join(taken),
        scopes="" if is_open else ", ".join(door.wanted),
    )


def _address(request: HttpRequest, door: Door) -> str:
    """Where it is under this project's URLs; a socket is beside them, at the site's root."""
    if door.kind == "websocket":
        scheme = "wss" if request.is_secure() else "ws"
        return f"{scheme}://{request.get_host()}{door.path}"
    try:
        path = reverse(SURFACE_VIEW, kwargs={"route": door.path})
    except NoReverseMatch:  # the project does not include our URLs
        path = door.path
    return path if door.kind == "page" else request.build_absolute_uri(path)


def _admin() -> str | None:
    try:
        return reverse(_ADMIN)
    except NoReverseMatch:
        return None
