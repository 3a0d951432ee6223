"""One visit to a page: who came with what, how it is answered, and where somebody may sign in.

What stands on the pages is left to ``page.py`` and ``run_page.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import close_old_connections
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    QueryDict,
)
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import resolve_url
from django.template.loader import select_template
from django.urls import NoReverseMatch, Resolver404, resolve

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller
from ..identity.presented import Presented
from .csrf import keep_csrf_cookie
from .denial import headers_of
from .words import reason

FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
#: Django's own field in a form; it is no input.
CSRF_FIELD = "csrfmiddlewaretoken"
ERROR = ("mashin_surfaces/error.html",)
ADMIN_LOGIN = "admin:login"
_MOVED = frozenset({HTTPStatus.FOUND, HTTPStatus.SEE_OTHER})


@dataclass(frozen=True, slots=True)
class Visit:
    """An access to a page that was governed and recorded, and still has to be answered."""

    request: HttpRequest
    door: Door
    caller: Caller
    answer: Answer


def read_form(request: HttpRequest) -> dict[str, list[str]]:
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


async def rendered(
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
        "reason": reason(status),
        "request_id": answer.request_id,
        **context,
    }
    # Templates may query: a project's own read the user, and context processors do as they like.
    response = await sync_to_async(_render, thread_sensitive=False)(visit.request, names, full)
    response.status_code = status
    return told(response, visit)


def _render(request: HttpRequest, names: tuple[str, ...], context: dict[str, Any]) -> HttpResponse:
    try:
        response = HttpResponse(select_template(names).render(context, request))
        keep_csrf_cookie(request, response)
        return response
    finally:
        close_old_connections()


def told(response: HttpResponse, visit: Visit) -> HttpResponse:
    """With the headers that every answer of a page has."""
    refusal = visit.answer.refusal
    response["X-Request-ID"] = visit.answer.request_id
    response["Cache-Control"] = "private, no-store"
    if refusal is not None and response.status_code not in _MOVED:
        for name, value in headers_of(refusal, visit.door.accepted):
            response[name] = value
    return response


def see_other(visit: Visit, **query: str) -> HttpResponse:
    """What was sent is done: the browser gets the page anew, by GET."""
    response = HttpResponseRedirect(f"{visit.request.path}?{urlencode(query)}")
    response.status_code = HTTPStatus.SEE_OTHER
    return told(response, visit)


# -- ways on ------------------------------------------------------------------------------------


def login_of(visit: Visit, presented: Presented) -> str | None:
    """Where somebody signs in to see this page; None when that would not help."""
    refusal = visit.answer.refusal
    if refusal is None or refusal.code is not Code.UNAUTHENTICATED:
        return None
    if presented.token is not None or presented.problem is not None:
        return None  # who sent a token did not want to sign in
    return sign_in(visit)


async def turned_away(visit: Visit, presented: Presented) -> HttpResponseBase:
    """The answer to who may not look: a login, where that helps, else the reason."""
    login = login_of(visit, presented)
    if login is not None:
        return told(HttpResponseRedirect(login), visit)
    return await rendered(visit, ERROR, {})


def sign_in(visit: Visit) -> str | None:
    """Where somebody signs in and comes back; None where a session opens nothing, or there is no
    such page."""
    return login_to(visit.request.get_full_path()) if "session" in visit.door.accepted else None


def login_to(path: str) -> str | None:
    """Where somebody signs in to come to ``path``; None where there is no such page."""
    url = _login_url()
    if url is None:
        return None
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode({'next': path})}"


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
