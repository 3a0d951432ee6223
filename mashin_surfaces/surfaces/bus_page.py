"""An incubator on its page: its events, agents, claims, state and metrics looked at, events
published, the bus paused and resumed; whole without a script.

To look takes ``bus:observe``, to publish ``bus:publish``, to control ``bus:control``, as
everywhere; a page with ``auth: none`` grants strangers what a socket does. What is done goes the
way of what comes over a socket (``incubators/bus.py``). What is shown is put together by
``bus_shown.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase

from ..dialects import incubator as dialect
from ..exceptions import Code, Recorded, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, admit, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..incubators import bus, commands, store
from ..incubators.doors import Verb, bus_door, entrances, grant_of, owner_of
from ..incubators.models import Incubator
from .bus_shown import PUBLISHED, Look, Sent, page_of
from .bus_socket import agent_of
from .csrf import check_csrf
from .database import in_database
from .entrance import must_admit
from .forms import pairs_of
from .sockets import bus_sockets_for
from .visit import ERROR, Visit, login_of, read_form, rendered, see_other, turned_away

#: The namespace of a page that is asked for none.
DEFAULT: Final = "default"


@dataclass(slots=True)
class _Guest:
    """Who came, as far as they came. ``bus``: of the namespace, once they may look at it."""

    presented: Presented
    caller: Caller
    namespace: str = ""
    bus: Incubator | None = None


async def view(request: HttpRequest, door: Door) -> HttpResponseBase:
    """The bus as it stands; a login, where that helps."""
    guest, refusal = await _enter(request, door)
    answer = await note(_at(door, guest), guest.caller, event="view", refusal=refusal)
    visit = Visit(request, door, guest.caller, answer)
    if answer.refusal is not None or guest.bus is None:
        return await turned_away(visit, guest.presented)
    return await _shown(visit, guest.bus, Sent())


async def command(request: HttpRequest, door: Door) -> HttpResponseBase:
    """``do=publish`` or ``do=control`` with their fields.

    What is done is recorded with it; what is refused, here.
    """
    guest, refusal = await _enter(request, door)
    sent = Sent()
    if refusal is None and guest.bus is not None:
        try:
            sent = Sent(read_form(request))
            if guest.caller.principal.credential.kind == "session":
                await check_csrf(request)
            await _do(guest.bus, guest.caller, sent)
        except Refusal as refused:
            refusal = refused
    if refusal is None or isinstance(refusal, Recorded):
        answer = Answer(refusal.access_id if refusal else "", None, refusal)
    else:
        answer = await note(_at(door, guest), guest.caller, event="message", refusal=refusal)
    visit = Visit(request, door, guest.caller, answer)
    if guest.bus is None:
        return await rendered(visit, ERROR, {"login": login_of(visit, guest.presented)})
    if answer.refusal is None:
        return see_other(visit, namespace=guest.namespace, done=sent.text("do"))
    return await _shown(visit, guest.bus, sent)


async def _enter(request: HttpRequest, door: Door) -> tuple[_Guest, Refusal | None]:
    """Who came, with the bus that they may look at, or why they may not."""
    presented = Presented.from_request(request)
    guest = _Guest(presented, Caller(anonymous(()), presented.client))
    try:
        principal = await authenticate(presented, door.accepted, grant_of(door))
        guest.caller = Caller(principal, presented.client)
        guest.namespace = store.check_namespace(request.GET.get("namespace") or DEFAULT)
        for entrance in entrances(door, guest.namespace):
            must_admit(entrance, principal)
        guest.bus = await in_database(_find, guest.namespace, door)
    except Refusal as refusal:
        return guest, refusal
    return guest, None


def _find(namespace: str, door: Door) -> Incubator:
    """The default one is made by who comes first, as by a socket; others are not made by a look."""
    if namespace != DEFAULT:
        return store.known(namespace)
    return store.find(namespace, owner_of(door))


def _at(door: Door, guest: _Guest) -> Door:
    """The door as the ledger shall have it: its path says which namespace."""
    if guest.namespace in {"", DEFAULT}:
        return door
    return replace(door, path=f"{door.path}?{urlencode({'namespace': guest.namespace})}")


# -- what is done -------------------------------------------------------------------------------


async def _do(incubator: Incubator, caller: Caller, sent: Sent) -> None:
    """What a form asks for; raises ``Refusal``."""
    match sent.text("do"):
        case "publish":
            door = bus_door("publish", incubator.room.key, incubator.machine)
            admit(door, caller.principal)
            actor = bus.Actor(caller, agent_of(caller.principal, None))
            given = PUBLISHED.coerce(pairs_of(sent.inputs, PUBLISHED.fields))
            event, data = given["event"], given.get("data")

            def publish(writer: bus.Writer) -> None:
                writer.publish(event, data)

            await bus.act(incubator.pk, door, actor, given, publish)
        case "control":
            given = {name: sent.text(name) for name in ("command", "reason")}
            await commands.control(incubator, dialect.control_of(given), caller)
        case _:
            raise Refusal(Code.UNKNOWN_MESSAGE, 'A bus\'s page takes "publish" and "control".')


# -- what is shown ------------------------------------------------------------------------------


async def _shown(visit: Visit, incubator: Incubator, sent: Sent) -> HttpResponseBase:
    """The page, with what became of what was sent."""
    door, answer, principal = visit.door, visit.answer, visit.caller.principal
    namespace = incubator.room.key
    try:
        look = Look.of(visit.request)
        shown = await in_database(page_of, incubator.pk, look, sent, answer.refusal)
    except Refusal as refusal:
        lost = replace(visit, answer=Answer(answer.request_id, None, refusal))
        return await rendered(lost, ERROR, {})
    verbs: tuple[Verb, ...] = ("publish", "control")
    socket = next(bus_sockets_for(door.name, namespace, principal), None)
    context = {
        **shown,
        "websocket": "" if socket is None else f"{socket.path}?namespace={namespace}",
        "may": [verb for verb in verbs if bus_door(verb, namespace).admits(principal)],
        "has_csrf": "session" in door.accepted,
        "address": visit.request.path,
        "done": visit.request.GET.get("done", ""),
    }
    own = f"mashin_surfaces/incubators/{door.name}.html"
    return await rendered(visit, (own, "mashin_surfaces/incubator.html"), context)
