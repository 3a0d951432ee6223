"""The CSRF check of the doors that take a session cookie.

Django's middleware passes them over, since clients with tokens of their own must get through; so
each door asks here once it knows that the caller came by a session.
"""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.authentication import CSRFCheck

from ..exceptions import Code, Refusal


async def check_csrf(request: HttpRequest) -> None:
    """Raises ``Refusal`` (forbidden) when another site could have made the browser send this."""
    # On a thread: with CSRF_USE_SESSIONS the secret is in the session, which may be a query.
    reason = await sync_to_async(_reason, thread_sensitive=False)(request)
    if reason:
        raise Refusal(Code.FORBIDDEN, f"CSRF check failed: {reason}")


def _reason(request: HttpRequest) -> str | None:
    """Why the request is refused, None when it is good. As DRF does it."""
    check = CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    reason: str | None = check.process_view(request, lambda: None, (), {})
    return reason


def keep_csrf_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie that goes with a token in the page, also in a project without the middleware.

    Where the middleware is there, it sees that this was done.
    """
    CSRFCheck(lambda _: response).process_response(request, response)
