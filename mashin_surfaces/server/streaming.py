"""An HTTP response that is sent in pieces: the application waits while the client takes none.

Whole responses and everything else of HTTP are left to Daphne and Twisted.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: ``turn`` lets the other connections have theirs after so many pieces, also when it need not wait.
TURN = 64


@implementer(IPushProducer)  # the application, as the transport sees it: paused when it is too fast
class Stream:
    """The pieces of one response (of Daphne's ``WebRequest``), from the first one to ``end``."""

    def __init__(self, request: Any) -> None:
        self._channel = request.channel
        self._transport = request.channel.transport
        self._pieces = 0
        self._gate: asyncio.Event | None = None
        self._taken_at = 0.0
        self._unsent = 0
        content_type = request.responseHeaders.getRawHeaders(b"content-type", [b""])[-1]
        #: Server-sent events end when the client goes, or the server: never by themselves.
        self.is_endless = content_type.startswith(b"text/event-stream")
        # On the channel, because a request complains of a producer that outlives it.
        self._channel.registerProducer(self, True)

    async def turn(self) -> None:
        """Returns when the next piece may be sent, or the response has ended."""
        self._pieces += 1
        if not self._pieces % TURN:
            await asyncio.sleep(0)
        while self._gate is not None:
            await self._gate.wait()

    def end(self) -> None:
        """No more pieces come, or nobody is there to take them."""
        self._channel.unregisterProducer()
        self.resumeProducing()

    def drop_idle(self, patience: float) -> None:
        """Drop a client that has taken nothing for so many seconds; to be called now and then."""
        if self._gate is None:
            return
        unsent = _unsent(self._transport)
        if unsent < self._unsent:
            self._taken_at = time.monotonic()
        elif time.monotonic() - self._taken_at > patience:
            self._transport.abortConnection()
        self._unsent = unsent

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport holds more than it likes (64 KiB)."""
        if self._gate is None:
            self._gate = asyncio.Event()
            self._taken_at = time.monotonic()
        self._unsent = _unsent(self._transport)

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport is empty, or gone."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    stopProducing = resumeProducing  # noqa: N815  Twisted's name


def _unsent(transport: Any) -> int:
    """Bytes that the transport holds; behind TLS, what is encrypted of them."""
    while not isinstance(transport, FileDescriptor):
        transport = transport.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
