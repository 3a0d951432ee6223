"""Refusing an upgrade so that the client learns why, whatever the server can send.

Where the server offers denial responses (ASGI extension ``websocket.http.response``) the refusal
is an HTTP answer with its status. Where it does not, the socket is accepted, told, and closed with
the code's close code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import orjson

from ..exceptions import Code, Refusal
from ..governance.errors import TABLE
from ..identity.authenticate import challenges
from ..identity.presented import answer_subprotocol

EXTENSION = "websocket.http.response"


async def deny(
    scope: dict[str, Any],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    refusal: Refusal,
    request_id: str = "",
    accepted: Collection[str] = (),
) -> None:
    """End an upgrade that was not accepted yet. ``accepted``: credential kinds of the surface."""
    meaning = TABLE[refusal.code]
    body = orjson.dumps({"error": refusal.as_dict(request_id)})
    if EXTENSION in scope.get("extensions", {}):
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        headers += [
            (name.encode(), value.encode()) for name, value in headers_of(refusal, accepted)
        ]
        await send({"type": f"{EXTENSION}.start", "status": meaning.status, "headers": headers})
        await send({"type": f"{EXTENSION}.body", "body": body})
        return
    subprotocol = answer_subprotocol(scope.get("subprotocols") or [], [])
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    await send({"type": "websocket.send", "text": body.decode()})
    close = meaning.close or 4000 + meaning.status
    await send({"type": "websocket.close", "code": close, "reason": refusal.message})


def headers_of(refusal: Refusal, accepted: Collection[str]) -> list[tuple[str, str]]:
    """The HTTP headers that go with a refusal (RFC 9110: Retry-After, WWW-Authenticate)."""
    headers: list[tuple[str, str]] = []
    if refusal.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(refusal.retry_after)))))
    if refusal.code is Code.UNAUTHENTICATED:
        headers.append(("WWW-Authenticate", ", ".join(challenges(accepted)) or "Session"))
    return headers
