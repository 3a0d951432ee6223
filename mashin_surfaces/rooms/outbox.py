"""A connection's way out: one writer, a bounded queue, and a fast lane past both.

What is pushed to an idle socket goes straight to the operating system, where the server offers
that. Else it waits here, for a task that is only there while something waits. Who asks a question
waits for its answer's turn; who is pushed to never holds up the one who pushes.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

#: What may wait for one connection: messages, and characters of them.
MOST_MESSAGES = 256
MOST_CHARACTERS = 1024 * 1024

Send = Callable[[str], Coroutine[Any, Any, None]]
#: A text that is not known yet; it never raises.
Promise = Awaitable[str]
#: Hands a text to an idle socket at once; False, and nothing done, when it is not idle.
FastLane = Callable[[str], bool]


class Outbox:
    """``overflow`` is called, once, when a push finds no room; no push is taken from then on."""

    __slots__ = (
        "_characters", "_fast", "_is_closed", "_is_full", "_is_sending", "_loop", "_overflow",
        "_send", "_waiting", "_writer", "sending_since",
    )  # fmt: skip

    def __init__(self, send: Send, fast: FastLane | None, overflow: Callable[[], None]) -> None:
        self._send = send
        self._fast = fast
        self._overflow = overflow
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[str | Promise, asyncio.Future[None] | None]] = deque()
        self._characters = 0
        self._is_sending = self._is_full = self._is_closed = False
        self._writer: asyncio.Task[None] | None = None
        #: Since when (of the loop's clock) the socket does not take a message; None when it does.
        self.sending_since: float | None = None

    def push(self, text: str) -> None:
        """Send without waiting."""
        if self._is_full:
            return
        if not self._is_sending:
            if self._fast is None or not self._fast(text):
                self._begin(text)
            return
        waiting = self._waiting
        if len(waiting) >= MOST_MESSAGES or self._characters + len(text) > MOST_CHARACTERS:
            self._is_full = True
            self._overflow()
            return
        waiting.append((text, None))
        self._characters += len(text)

    def promise(self, text: Promise) -> None:
        """Send what is not known yet; what comes later waits behind it."""
        if not self._is_full:
            self._waiting.append((text, None))
            if not self._is_sending:
                self._start()

    async def send(self, text: str) -> None:
        """Send in turn; returns when the socket has taken it, or is gone."""
        if self._is_closed:
            return
        if self._is_sending:
            turn = self._loop.create_future()
            self._waiting.append((text, turn))
            self._characters += len(text)
            await turn
            return
        self._is_sending = True
        self.sending_since = self._loop.time()
        try:
            with suppress(OSError):  # it went this very moment: some servers say so
                await self._send(text)
        finally:
            self.sending_since = None
            self._is_sending = False
            if self._waiting:
                self._start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being sent."""
        return not self._is_sending

    async def sent(self) -> None:
        """Returns when everything that waits now is sent, or the connection is gone."""
        if self._is_sending and not self._is_closed:
            turn = self._loop.create_future()
            self._waiting.append(("", turn))
            await turn

    def close(self) -> None:
        """The connection is gone: nothing waits any more."""
        self._is_full = self._is_closed = True
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None  # one that had no time to begin would hold what it was to send
        for _, turn in self._waiting:
            if turn is not None and not turn.done():
                turn.set_result(None)
        self._waiting.clear()
        self._characters = 0

    def _begin(self, text: str) -> None:
        """Send one text; without a task when the socket takes it at once."""
        sending = self._send(text)
        try:
            begun = sending.send(None)
        except StopIteration:
            return
        except (OSError, RuntimeError):  # it went, or closes, this very moment: servers say so
            return
        self._is_sending = True
        self.sending_since = self._loop.time()
        self._writer = self._loop.create_task(self._write(_continued(sending, begun)))

    def _start(self) -> None:
        """Write what waits."""
        self._is_sending = True
        self._writer = self._loop.create_task(self._write())

    async def _write(self, first: Awaitable[None] | None = None) -> None:
        try:
            if first is not None:
                with suppress(OSError, RuntimeError):
                    await first
            while self._waiting:
                text, turn = self._waiting.popleft()
                if isinstance(text, str):
                    self._characters -= len(text)
                else:
                    self.sending_since = None
                    text = await text
                self.sending_since = self._loop.time()
                if text:
                    with suppress(OSError, RuntimeError):  # as above: who waits must not hang
                        await self._send(text)
                if turn is not None and not turn.done():
                    turn.set_result(None)
        finally:
            self.sending_since = None
            self._is_sending = False
            self._writer = None


@types.coroutine
def _continued(coroutine: Coroutine[Any, Any, None], begun: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was begun outside of a task and waits for ``begun``."""
    step: Callable[[], Any]
    while True:
        try:
            value = yield begun
        except BaseException as error:
            thrown = error
            step = lambda: coroutine.throw(thrown)  # noqa: B023, E731  called in this round
        else:
            sent = value
            step = lambda: coroutine.send(sent)  # noqa: B023, E731  called in this round
        try:
            begun = step()
        except StopIteration:
            return
