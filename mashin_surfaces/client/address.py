"""Where a server is: addresses of sockets, and why it lets nobody in there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .errors import ClientError, Refused

#: Seconds that a server has to say why it refuses.
PATIENCE = 10.0
MOST_BODY = 64 * 1024

_SOCKETS = {"http": "ws", "https": "wss"}


def socket_url(url: str) -> str:
    """A websocket's address; ``http`` becomes ``ws``. Raises ``ValueError`` for anything else."""
    parts = urlsplit(url)
    scheme = _SOCKETS.get(parts.scheme, parts.scheme)
    if scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a websocket: write ws://host/path or wss://…")
    return urlunsplit(parts._replace(scheme=scheme))


def with_query(url: str, more: Mapping[str, str]) -> str:
    """The address with these parameters; they win over those that it has."""
    parts = urlsplit(url)
    kept = [(name, text) for name, text in parse_qsl(parts.query) if name not in more]
    return urlunsplit(parts._replace(query=urlencode([*kept, *more.items()])))


def refusal(status: int, body: bytes) -> Refused | None:
    """A refusal out of the server's answer; None when it is not in its words."""
    try:
        error = ClientError.of(json.loads(body)["error"])
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return Refused(status, error.code, error.message, error.details, error.retry_after)


async def ask_why(url: str, headers: Mapping[str, str], status: int) -> Refused:
    """Why an upgrade at this address is refused: a GET there is answered alike, in words."""
    try:
        async with asyncio.timeout(PATIENCE):
            told = await asyncio.to_thread(_get, url, headers)
    except (OSError, HTTPException):  # a TimeoutError is an OSError
        told = None
    if told is not None and (found := refusal(*told)) is not None and told[0] == status:
        return found
    message = f"The server answers the upgrade with the status {status} and does not say why."
    return Refused(status, "refused", message)


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "wss" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers=dict(headers))
        answer: HTTPResponse = connection.getresponse()
        return answer.status, answer.read(MOST_BODY)
    finally:
        connection.close()
