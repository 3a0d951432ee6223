"""The one error table: what a code is over HTTP, and how it closes a connection that must end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..exceptions import Code

Outcome = Literal["allowed", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """``status``: HTTP (RFC 9110). ``close``: websocket close code when the connection must end;
    a private one (4000–4999), since servers differ in which others they can send."""

    status: int
    close: int | None = None


TABLE: dict[Code, Meaning] = {
    Code.INVALID_JSON: Meaning(400),
    Code.INVALID_INPUT: Meaning(422),
    Code.UNKNOWN_MESSAGE: Meaning(400),
    Code.TOO_LARGE: Meaning(413, 4413),
    Code.UNAUTHENTICATED: Meaning(401, 4401),
    Code.FORBIDDEN: Meaning(403, 4403),
    Code.NOT_FOUND: Meaning(404, 4404),
    Code.PERMISSION_DENIED: Meaning(403),
    Code.APPROVAL_REQUIRED: Meaning(202),
    Code.APPROVAL_DENIED: Meaning(403),
    Code.RATE_LIMITED: Meaning(429, 4429),
    Code.BUSY: Meaning(503),
    Code.BUDGET_EXCEEDED: Meaning(402),
    Code.CONFLICT: Meaning(409),
    Code.TIMEOUT: Meaning(504, 4408),
    Code.EXECUTION_FAILED: Meaning(500),
    Code.INVALID_OUTPUT: Meaning(502),
    Code.LEDGER_UNAVAILABLE: Meaning(503),
    Code.DRAINING: Meaning(503, 4503),
}

#: The machine was let run and did not succeed; every other code refuses the access.
FAILURES = frozenset({Code.EXECUTION_FAILED, Code.TIMEOUT, Code.INVALID_OUTPUT})


def outcome_of(code: Code | None) -> Outcome:
    """``allowed`` without a code, else ``failed`` or ``refused``."""
    if code is None:
        return "allowed"
    return "failed" if code in FAILURES else "refused"
