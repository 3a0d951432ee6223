"""The page door: a machine's form and its result as HTML, whole without a script.

GET shows the form that ``accepts`` asks for; POST runs the machine with what was filled in. Where
the machine has a websocket that takes the same caller, ``page.js`` sends over that instead. What a
form and a result look like is in ``forms.py``, ``presentation.py`` and the templates. POST starts a
run of a machine that is one; how that is shown and decided is left to ``run_page.py``, panels to
``panel_page.py``, incubators to ``bus_page.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponseBase

from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, govern, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..machines.json_values import dumps
from . import bus_page, panel_page, run_page
from .csrf import check_csrf
from .entrance import enter
from .forms import Form, fresh_form, pairs_of, sent_form
from .presentation import outline, present
from .routes import routes
from .sockets import sockets_for, speaks
from .visit import ERROR, Visit, login_of, read_form, rendered, see_other, turned_away
from .words import marked_fields, script_words

METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True)
class Socket:
    """What the page's script connects to. ``topic_field``: the field whose values are topics."""

    path: str = ""
    topic_field: str = ""


async def page(request: HttpRequest, door: Door) -> HttpResponseBase:
    """One access to a page surface; ``?run=`` is a run of the machine."""
    run = request.GET.get("run") if door.machine.program.is_run else None
    other = _other_page(door)
    if request.method in {"GET", "HEAD"}:
        if run is not None:
            return await run_page.view(request, door, run)
        return await (_view if other is None else other.view)(request, door)
    if request.method == "POST":
        if run is not None:
            return await run_page.command(request, door, run)
        return await (_submit if other is None else other.command)(request, door)
    refusal = Refusal(Code.UNKNOWN_MESSAGE, f"A page answers {', '.join(METHODS)}.")
    caller = Caller(anonymous(()), Presented.from_request(request).client)
    answer = await note(door, caller, event="message", refusal=refusal)
    visit = Visit(request, door, caller, answer)
    response = await rendered(visit, ERROR, {}, HTTPStatus.METHOD_NOT_ALLOWED)
    response["Allow"] = ", ".join(METHODS)
    return response


def _other_page(door: Door) -> Any:
    """What shows this machine, when that is no form: its panel, its bus."""
    if door.machine.program.is_run:
        return None
    if speaks(door.name, "panel"):
        return panel_page
    return bus_page if speaks(door.name, "incubator") else None


async def _view(request: HttpRequest, door: Door) -> HttpResponseBase:
    presented = Presented.from_request(request)
    answer, caller = await enter(door, presented, event="view")
    visit = Visit(request, door, caller, answer)
    if answer.refusal is not None:
        return await turned_away(visit, presented)
    fields = door.machine.compiled.accepts.fields
    return await _with_form(visit, fresh_form(fields, dict(request.GET.lists())))


async def _submit(request: HttpRequest, door: Door) -> HttpResponseBase:
    presented = Presented.from_request(request)
    caller = Caller(anonymous(()), presented.client)
    accepts = door.machine.compiled.accepts
    sent: dict[str, list[str]] = {}
    may_enter = False
    try:
        principal = await authenticate(presented, door.accepted, door.grant)
        caller = Caller(principal, presented.client)
        if not door.admits(principal):
            raise Refusal(Code.FORBIDDEN, door.wants)
        may_enter = True
        sent = read_form(request)
        if principal.credential.kind == "session":
            await check_csrf(request)
        value = accepts.coerce(pairs_of(sent, accepts.fields))
    except Refusal as refusal:
        answer = await note(door, caller, event="message", refusal=refusal)
    else:
        key = _request_key(request, sent)
        answer = await govern(door, caller, value, coerced=True, request_key=key)
    visit = Visit(request, door, caller, answer)
    if not may_enter:
        return await rendered(visit, ERROR, {"login": login_of(visit, presented)})
    if (run := _begun(answer)) is not None:
        return see_other(visit, run=run)
    return await _with_form(visit, sent_form(accepts.fields, sent, answer.refusal))


def _request_key(request: HttpRequest, sent: Mapping[str, Sequence[str]]) -> str | None:
    """Of the form's address and what was filled in: two clicks send one request, who comes back to
    the form and fills in something else sends another one."""
    shown = request.GET.get("request")
    return sha256(dumps([shown, sent])).hexdigest() if shown else None


def _begun(answer: Answer) -> str | None:
    """The run that was started, when it goes on without the one who asked."""
    if answer.is_begun and answer.result is not None:
        return str(answer.result["run_id"])
    refusal = answer.refusal
    if refusal is not None and refusal.code is Code.APPROVAL_REQUIRED and refusal.details:
        return str(refusal.details[0]["run_id"])
    return None


# -- answers ------------------------------------------------------------------------------------


async def _with_form(visit: Visit, form: Form) -> HttpResponseBase:
    """The page with its form; under it the result or the refusal of what was sent, if anything."""
    machine, answer = visit.door.machine, visit.answer
    responds = machine.compiled.responds.fields
    problem = "" if answer.refusal is None else answer.refusal.message
    socket = _socket(visit.door, visit.caller)
    context = {
        "form": form,
        "problem": marked_fields() if form.has_marks else problem,
        "has_csrf": "session" in visit.door.accepted,
        "result": None if answer.result is None else present(answer.result, responds),
        "assumes": machine.program.assumes and settings.ASK == "assume",
        "websocket": socket.path,
        "topic_field": socket.topic_field,
        "streams": machine.program.is_stream,
        "responds": json.dumps(outline(responds), ensure_ascii=False),
        "words": json.dumps(script_words(), ensure_ascii=False),
        "is_run": machine.program.is_run,
        "request_key": uuid4().hex,
        "runs": await run_page.recent(visit) if machine.program.is_run else (),
    }
    own = f"mashin_surfaces/pages/{machine.compiled.name}.html"
    return await rendered(visit, (own, "mashin_surfaces/page.html"), context)


# -- ways on ------------------------------------------------------------------------------------


def _socket(door: Door, caller: Caller) -> Socket:
    """A websocket of the same machine that takes the same caller; without a path, there is none."""
    if door.machine.program.is_run:  # it is followed on a page of its own
        return Socket()
    for route in sockets_for(door.name, caller.principal, "machine"):
        source = routes.topics_of(route).door
        topic_field = None if source is None else source.options.get("subscribe")
        return Socket(route.path, topic_field or "")
    return Socket()
