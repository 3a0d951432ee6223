"""Who acts on an admin page, as the governed path knows them.

A page is opened by Django's permissions, a door by scopes: here the first count as the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from ..governance.govern import Caller
from ..identity import subjects
from ..identity.presented import Presented
from ..identity.scopes import Scopes


def caller_with(request: HttpRequest, opened: Mapping[str, str]) -> Caller:
    """The user who is signed in, by their session; raises ``PermissionDenied`` for nobody.

    ``opened``: scopes by the permission that stands for them, for as long as somebody acts on
    the page.
    """
    principal = subjects.of_request(request)
    if principal is None:
        raise PermissionDenied
    if principal.allowed is not None:
        user: Any = request.user
        granted = [scope for name, scope in opened.items() if user.has_perm(name)]
        principal = replace(principal, allowed=Scopes({*principal.allowed.names, *granted}))
    return Caller(principal, Presented.from_request(request).client)
