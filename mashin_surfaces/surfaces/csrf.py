"""The CSRF check of the doors that take a session cookie.

Django's middleware passes them over, since clients with tokens of their own must get through; so
each door asks here once it knows that the caller came by a session.
"""

from __future__ import annotations

from typing import NoReturn

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from ..exceptions import Code, Refusal


class CsrfCheck(CsrfViewMiddleware):
    """Django's check, with a refusal that the door can record and tell in its own way."""

    def _reject(self, request: HttpRequest, reason: str) -> NoReturn:
        raise Refusal(Code.FORBIDDEN, f"CSRF check failed: {reason}")


async def check_csrf(request: HttpRequest) -> None:
    """Raises ``Refusal`` (forbidden) when another site could have made the browser send this."""
    # On a thread: with CSRF_USE_SESSIONS the secret is in the session, which may be a query.
    await sync_to_async(_check, thread_sensitive=False)(request)


def _check(request: HttpRequest) -> None:
    check = CsrfCheck(_nothing)
    check.process_request(request)
    check.process_view(request, _nothing, (), {})


def keep_csrf_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie that goes with a token in the page, also in a project without the middleware.

    Where the middleware is there, it sees that this was done.
    """
    CsrfCheck(_nothing).process_response(request, response)


def _nothing(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse()
