"""The page door: a machine's form and its result as HTML, whole without a script.

GET shows the form that ``accepts`` asks for; POST runs the machine with what was filled in. Where
the machine has a websocket that takes the same caller, ``page.js`` sends over that instead. What a
form and a result look like is in ``forms.py``, ``presentation.py`` and the templates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import resolve_url
from django.template.loader import select_template
from django.urls import NoReverseMatch, Resolver404, resolve

from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller, govern, note
from ..identity.authenticate import authenticate
from ..identity.presented import Presented
from ..identity.principal import anonymous
from ..machines.registry import registry
from .csrf import check_csrf, keep_csrf_cookie
from .denial import headers_of
from .entrance import enter
from .forms import Form, fresh_form, pairs_of, sent_form
from .presentation import outline, present
from .routes import routes
from .words import marked_fields, script_words

METHODS = ("GET", "HEAD", "POST")
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
#: Django's own field in a form; it is no input.
CSRF_FIELD = "csrfmiddlewaretoken"
ERROR = ("mashin_surfaces/error.html",)
ADMIN_LOGIN = "admin:login"


@dataclass(frozen=True, slots=True)
class Visit:
    """An access to a page that was governed and recorded, and still has to be answered."""

    request: HttpRequest
    door: Door
    caller: Caller
    answer: Answer


@dataclass(frozen=True, slots=True)
class Socket:
    """What the page's script connects to. ``topic_field``: the field whose values are topics."""

    path: str = ""
    topic_field: str = ""


async def page(request: HttpRequest, door: Door) -> HttpResponseBase:
    """One access to a page surface."""
    if request.method in {"GET", "HEAD"}:
        return await _view(request, door)
    if request.method == "POST":
        return await _submit(request, door)
    refusal = Refusal(Code.UNKNOWN_MESSAGE, f"A page answers {', '.join(METHODS)}.")
    caller = Caller(anonymous(()), Presented.from_request(request).client)
    answer = await note(door, caller, event="message", refusal=refusal)
    visit = Visit(request, door, caller, answer)
    response = await _rendered(visit, ERROR, {}, HTTPStatus.METHOD_NOT_ALLOWED)
    response["Allow"] = ", ".join(METHODS)
    return response


async def _view(request: HttpRequest, door: Door) -> HttpResponseBase:
    presented = Presented.from_request(request)
    answer, caller = await enter(door, presented, event="view")
    visit = Visit(request, door, caller, answer)
    if answer.refusal is not None:
        login = _login(visit, presented)
        if login is not None:
            return _told(HttpResponseRedirect(login), visit)
        return await _rendered(visit, ERROR, {})
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
        sent = _read(request)
        if principal.credential.kind == "session":
            await check_csrf(request)
        value = accepts.coerce(pairs_of(sent, accepts.fields))
    except Refusal as refusal:
        answer = await note(door, caller, event="message", refusal=refusal)
    else:
        answer = await govern(door, caller, value, coerced=True)
    visit = Visit(request, door, caller, answer)
    if not may_enter:
        return await _rendered(visit, ERROR, {"login": _login(visit, presented)})
    return await _with_form(visit, sent_form(accepts.fields, sent, answer.refusal))


def _read(request: HttpRequest) -> dict[str, list[str]]:
    """The fields of a posted form; raises ``Refusal``."""
    if request.content_type not in FORM_TYPES:
        raise Refusal(
            Code.UNKNOWN_MESSAGE,
            "A page takes its form (application/x-www-form-urlencoded or multipart/form-data); "
            "JSON goes to an API surface.",
        )
    try:
        posted: QueryDict = request.POST
        has_files = bool(request.FILES)
    except (RequestDataTooBig, TooManyFieldsSent):
        raise Refusal(Code.TOO_LARGE, "The form is too large.") from None
    except MultiPartParserError:
        raise Refusal(Code.UNKNOWN_MESSAGE, "The form that was sent can't be read.") from None
    if has_files:
        raise Refusal(Code.UNKNOWN_MESSAGE, "not supported yet: uploads")
    return {name: texts for name, texts in posted.lists() if name != CSRF_FIELD}


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
    }
    own = f"mashin_surfaces/pages/{machine.compiled.name}.html"
    return await _rendered(visit, (own, "mashin_surfaces/page.html"), context)


async def _rendered(
    visit: Visit, names: tuple[str, ...], context: dict[str, Any], status: int | None = None
) -> HttpResponse:
    """The first of the templates that there is, with the status of the refusal."""
    compiled, answer = visit.door.machine.compiled, visit.answer
    principal = visit.caller.principal
    if status is None:
        status = 200 if answer.refusal is None else TABLE[answer.refusal.code].status
    full = {
        "title": visit.door.options.get("title") or compiled.title,
        "machine": compiled,
        "principal": None if principal.is_anonymous else principal,
        "refusal": answer.refusal,
        "reason": HTTPStatus(status).phrase,
        "request_id": answer.request_id,
        **context,
    }
    # Templates may query: a project's own read the user, and context processors do as they like.
    response = await sync_to_async(_render, thread_sensitive=False)(visit.request, names, full)
    response.status_code = status
    return _told(response, visit)


def _render(request: HttpRequest, names: tuple[str, ...], context: dict[str, Any]) -> HttpResponse:
    try:
        response = HttpResponse(select_template(names).render(context, request))
        keep_csrf_cookie(request, response)
        return response
    finally:
        close_old_connections()


def _told(response: HttpResponse, visit: Visit) -> HttpResponse:
    """With the headers that every answer of a page has."""
    refusal = visit.answer.refusal
    response["X-Request-ID"] = visit.answer.request_id
    response["Cache-Control"] = "private, no-store"
    if refusal is not None and response.status_code != HTTPStatus.FOUND:
        for name, value in headers_of(refusal, visit.door.accepted):
            response[name] = value
    return response


# -- ways on ------------------------------------------------------------------------------------


def _login(visit: Visit, presented: Presented) -> str | None:
    """Where somebody signs in to see this page; None when that would not help."""
    refusal = visit.answer.refusal
    is_unknown = refusal is not None and refusal.code is Code.UNAUTHENTICATED
    if not is_unknown or "session" not in visit.door.accepted:
        return None
    if presented.token is not None or presented.problem is not None:
        return None  # who sent a token did not want to sign in
    url = _login_url()
    if url is None:
        return None
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode({'next': visit.request.get_full_path()})}"


def _login_url() -> str | None:
    """``LOGIN_URL`` where there is such a page, else the admin's, else None."""
    for candidate in (django_settings.LOGIN_URL, ADMIN_LOGIN):
        try:
            url = resolve_url(candidate)
            if not urlsplit(url).netloc:
                resolve(urlsplit(url).path)
        except (NoReverseMatch, Resolver404):
            continue
        return url
    return None


def _socket(door: Door, caller: Caller) -> Socket:
    """A websocket of the same machine that takes the same caller; without a path, there is none.

    A browser sends its session cookie or nothing: with other credentials the page does without.
    """
    principal = caller.principal
    kind = principal.credential.kind
    if kind not in {"session", "none"}:
        return Socket()
    for (protocol, path), surface in sorted(registry.snapshot.surfaces.items()):
        if protocol != "websocket" or surface.machine.name != door.name:
            continue
        route = routes.find(protocol, path)
        if route is None or (other := route.door) is None:
            continue
        if other.options.get("dialect", "machine") != "machine":
            continue
        speaker = anonymous(other.grant) if kind == "none" else principal
        if kind in other.accepted and other.admits(speaker):
            source = routes.topics_of(route).door
            topic_field = None if source is None else source.options.get("subscribe")
            return Socket(path, topic_field or "")
    return Socket()
