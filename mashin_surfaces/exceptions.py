"""The domain's errors: one code table's vocabulary, raised anywhere, translated at the door.

Which HTTP status or close code a code becomes is said once, in ``governance/errors.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Every way in which an access can be refused or can fail."""

    INVALID_JSON = "invalid_json"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_MESSAGE = "unknown_message"
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    APPROVAL_REQUIRED = "approval_required"
    APPROVAL_DENIED = "approval_denied"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    BUDGET_EXCEEDED = "budget_exceeded"
    CONFLICT = "conflict"
    TIMEOUT = "timeout"
    EXECUTION_FAILED = "execution_failed"
    INVALID_OUTPUT = "invalid_output"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    DRAINING = "draining"


class Refusal(Exception):
    """An access that ends without a result; ``code`` says why, ``message`` is safe to show.

    ``details``: for ``invalid_input`` a list of ``{"path", "code", "message"}``.
    ``retry_after``: seconds, for ``rate_limited`` and ``busy``. ``subject``: what was not found,
    where a dialect tells the kinds apart (``tool``, ``panel``).
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        details: Sequence[dict[str, Any]] | None = None,
        retry_after: float | None = None,
        subject: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details) if details else None
        self.retry_after = retry_after
        self.subject = subject

    def as_dict(self, request_id: str) -> dict[str, Any]:
        """``{"code", "message", "request_id", "details"?, "retry_after"?}``, for every door."""
        body: dict[str, Any] = {
            "code": str(self.code),
            "message": self.message,
            "request_id": request_id,
        }
        if self.details is not None:
            body["details"] = self.details
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        return body


def wrong(path: str, message: str) -> Refusal:
    """``invalid_input`` because of one value; ``path``: where it is, a JSON Pointer (RFC 6901)."""
    return _wrong(path, message, message)


def wrong_field(name: str, message: str) -> Refusal:
    """``wrong``, with a message that names the field."""
    return _wrong(f"/{name}", message, f"{name}: {message}")


def _wrong(path: str, detail: str, message: str) -> Refusal:
    details = [{"path": path, "code": "value", "message": detail}]
    return Refusal(Code.INVALID_INPUT, message, details=details)


class Recorded(Refusal):
    """A refusal that has its access row already; ``access_id`` is the row's request id."""

    def __init__(self, refusal: Refusal, access_id: str) -> None:
        super().__init__(
            refusal.code,
            refusal.message,
            details=refusal.details,
            retry_after=refusal.retry_after,
            subject=refusal.subject,
        )
        self.access_id = access_id


class DefinitionError(Exception):
    """A machine's definition or source is wrong; ``problems`` holds all that was found.

    Each problem is a ``machines.problems.Problem`` (message, severity, path, line, column).
    """

    def __init__(self, problems: Sequence[Any]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)
