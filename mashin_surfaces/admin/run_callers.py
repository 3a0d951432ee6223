"""Who acts on the admin's pages of runs, and what they may do there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.http import HttpRequest

from ..governance.govern import Caller
from ..identity import subjects
from ..identity.principal import Principal
from .callers import caller_with

VIEW: Final = "mashin_surfaces.view_run"
CONTROL: Final = "mashin_surfaces.change_run"
DECIDE: Final = "mashin_surfaces.change_gate"
#: What a permission opens at the doors of runs, for as long as somebody acts on these pages.
_SCOPES: Final[Mapping[str, str]] = {
    VIEW: "runs:view",
    CONTROL: "runs:control",
    DECIDE: "runs:decide",
}


def caller_of(request: HttpRequest) -> Caller:
    """The user who is signed in, by their session; raises ``PermissionDenied`` for nobody."""
    return caller_with(request, _SCOPES)


def may_decide(principal: Principal, machine: str) -> bool:
    """Whether somebody may decide the gates of a machine's runs."""
    return principal.holds(f"runs:decide:{machine}")


def may_follow(request: HttpRequest, machine: str) -> bool:
    """Whether the user's session opens a run's socket: there only scopes count."""
    principal = subjects.of_request(request)
    return principal is not None and any(
        principal.holds(scope) for scope in ("runs:view", f"runs:view:{machine}")
    )
