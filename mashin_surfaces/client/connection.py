"""One socket at a time to one address, opened anew whenever it breaks.

    connecting ─► joining ─► open ─► waiting (1, 2, 4 … 30 s, with full jitter) ─► connecting …
                                └──► closed

What is said over it, and what is asked for when it is opened anew, is the ``Conversation``'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Literal, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from .address import ask_why, refusal, socket_url, with_query
from .errors import ClientError, Closed, Refused

logger = logging.getLogger(__name__)

ConnectionState = Literal["new", "connecting", "joining", "open", "waiting", "closed"]
#: A JWT or an API key, or what gives one; it is asked before each connection.
Token = str | Callable[[], str | Awaitable[str]] | None

LONGEST_WAIT = 30.0
OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
MOST_FRAME = 64 * 1024 * 1024  # bytes: a state, a snapshot of a big run
#: How often in a row fresh credentials may be refused.
MOST_REFUSED_TOKENS = 2

UNAUTHENTICATED, IDLE_OR_SLOW, RATE_LIMITED, FRAME_TOO_BIG = 4401, 4408, 4429, 1009


class Conversation(Protocol):
    """Who talks over a connection."""

    def query(self) -> Mapping[str, str]:
        """What the address of the next socket says: what is there already."""

    def joined(self) -> None:
        """A socket is open; nothing came over it yet."""

    async def take(self, text: str) -> None:
        """A frame came; no other is read before this returns."""

    async def next(self) -> str:
        """The next frame to send."""

    def reason(self) -> ClientError | None:
        """What the server said before it closed the socket."""

    def left(self, close_code: int) -> None:
        """The socket is gone; another one will be opened."""

    def ended(self, error: ClientError) -> None:
        """There will be no other socket."""

    def state_changed(self, state: ConnectionState) -> None:
        """The connection's state is another one."""


class Connection:
    """Keeps a conversation going. ``proxy``: as ``websockets`` takes it."""

    def __init__(
        self,
        url: str,
        conversation: Conversation,
        *,
        token: Token = None,
        subprotocol: str | None = None,
        proxy: str | Literal[True] | None = True,
    ) -> None:
        self._url = socket_url(url)
        self._conversation = conversation
        self._token = token
        self._subprotocols = None if subprotocol is None else [Subprotocol(subprotocol)]
        self._proxy = proxy
        self._task: asyncio.Task[None] | None = None
        self._attempts = 0
        self._refused_tokens = 0
        self._is_closing = False
        self.state: ConnectionState = "new"

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._over)

    async def close(self) -> None:
        """End it; waits for the closing handshake, but not for long."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
        try:
            if self._task is not None:
                await asyncio.wait([self._task])  # who is cancelled here stays cancelled
        finally:
            self._end(Closed("closed", "This client is closed."))

    def _over(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for what a defect ended: a callback's, or a frame that nobody can read."""
        defect = asyncio.CancelledError() if task.cancelled() else task.exception()
        if defect is None or self._is_closing:
            return  # how it ended was said
        if isinstance(defect, Exception):
            logger.error("A connection to %s can't go on", self._url, exc_info=defect)
        self._end(ClientError("failed", f"The connection can't go on: {defect!r}"))

    def settled(self) -> None:
        """The conversation goes on where it was: the next break begins a new count."""
        self._attempts = self._refused_tokens = 0
        self._become("open")

    def _become(self, state: ConnectionState) -> None:
        if self.state not in {state, "closed"}:
            self.state = state
            self._conversation.state_changed(state)

    def _end(self, error: ClientError) -> None:
        if self.state != "closed":
            try:
                self._become("closed")
            finally:
                self._conversation.ended(error)

    # -- its life -------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._become("connecting")
            error = await self._one_socket()
            if error is not None and not self._may_try_again(error):
                self._end(error)
                return
            self._become("waiting")
            longest = min(LONGEST_WAIT, 2.0**self._attempts)
            self._attempts += 1
            least = 0.0 if error is None else error.retry_after or 0.0
            await asyncio.sleep(least + random.uniform(0, longest))  # noqa: S311  spread, not secret

    def _may_try_again(self, error: ClientError) -> bool:
        if error.code.lower() == "unauthenticated":
            self._refused_tokens += 1
            return callable(self._token) and self._refused_tokens < MOST_REFUSED_TOKENS
        if isinstance(error, Refused):
            return error.status in {408, 425, 429} or error.status >= 500
        return not isinstance(error, Closed)

    async def _one_socket(self) -> ClientError | None:
        """Open a socket and use it until it breaks; why, when the server said so."""
        headers = await self._headers()
        url = with_query(self._url, self._conversation.query())
        try:
            socket = await connect(
                url,
                additional_headers=headers,
                subprotocols=self._subprotocols,
                proxy=self._proxy,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                max_size=MOST_FRAME,
            )
        except InvalidStatus as answer:
            status, body = answer.response.status_code, bytes(answer.response.body or b"")
            return refusal(status, body) or await ask_why(url, headers, status)
        except (OSError, WebSocketException):  # a TimeoutError is an OSError
            return None
        try:
            self._become("joining")
            self._conversation.joined()
            code, said = await self._talk(socket)
        finally:
            await socket.close()
        error = _meaning(code, said, self._conversation.reason())
        self._conversation.left(code)
        return error

    async def _headers(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        if token is not None and not isinstance(token, str):
            token = await token
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    async def _talk(self, socket: ClientConnection) -> tuple[int, str]:
        """Read and write until the socket is closed; the code, and the reason."""
        writing = asyncio.get_running_loop().create_task(self._write(socket))
        try:
            while True:
                text = await socket.recv()
                await self._conversation.take(text if isinstance(text, str) else text.decode())
        except ConnectionClosed as closed:
            return (1006, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)
        finally:
            writing.cancel()
            await asyncio.wait([writing])  # who is cancelled here stays cancelled

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # the reader hears of it, too
            while True:
                if text := await self._conversation.next():
                    await socket.send(text)


def _meaning(code: int, said: str, reason: ClientError | None) -> ClientError | None:
    """What a close code says; None: nothing that would keep one from coming back."""
    if code == UNAUTHENTICATED:
        message = said if reason is None else reason.message
        return ClientError("unauthenticated", message or "The credential is no longer valid.")
    if code in {IDLE_OR_SLOW, RATE_LIMITED}:
        return None if reason is None else ClientError("busy", said, None, reason.retry_after)
    if code == 1000:
        return Closed("gone", said or "The server has ended the connection.")
    if code == 1008 or 4400 <= code < 4500:
        told = reason or ClientError("refused", said or f"The socket was closed with {code}.")
        return Closed(told.code, told.message, told.details)
    return None
