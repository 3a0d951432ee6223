"""What goes wrong between a client and a server: exceptions with a ``code`` and a ``message``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """A message was refused, or can't be answered any more.

    ``code``: as the server says it (``docs/governance.md`` and the page of the dialect), or one of
    ours: ``interrupted``, ``closed``, ``slow_reader``, ``claim_lost``. ``details``: what exactly,
    as the server tells it. ``retry_after``: seconds, when trying again later is of use.
    """

    def __init__(
        self, code: str, message: str, details: Any = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> ClientError:
        """From an error as any of the dialects tells it."""
        after = frame.get("retry_after", frame.get("retryAfter"))
        code, message = str(frame.get("code", "error")), str(frame.get("message", ""))
        return cls(code, message, frame.get("details"), after)


class Refused(ClientError):
    """The server did not let the client in. ``status``: of its HTTP answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Any = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message, details, retry_after)
        self.status = status


class Closed(ClientError):
    """The connection has ended for good: by ``close()``, or because the server said so."""


class Interrupted(ClientError):
    """The connection broke before the answer came: whether it was done is not known."""


class ToolFailed(ClientError):
    """A tool of an incubator was called and failed; nothing of what it did is left."""


class ClaimLost(ClientError):
    """A claim ran out before it was renewed: somebody else may have the resource."""
