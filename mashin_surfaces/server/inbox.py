"""What a websocket's client has sent and its application has not yet received.

It counts what waits and says when the socket is to be read no further and when again. How the
socket is paused is left to the protocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

#: Waiting messages at which the socket is paused, and at which it is read again.
MOST_MESSAGES = 64
FEW_MESSAGES = 32
#: The same in bytes (of text: in characters).
MOST_BYTES = 1024 * 1024
FEW_BYTES = MOST_BYTES // 2


class Inbox:
    """The queue behind an application's ``receive``.

    ``hold`` is called when too much waits, ``release`` when the application has caught up; both
    from the event loop's thread, as everything here.
    """

    __slots__ = ("_end", "_hold", "_receivers", "_release", "_size", "_waiting", "held")

    def __init__(self, hold: Callable[[], None], release: Callable[[], None]) -> None:
        self._waiting: deque[str | bytes | Event] = deque()
        self._size = 0
        self._receivers: list[asyncio.Future[None]] = []
        self._end: Event | None = None
        self._hold = hold
        self._release = release
        #: True while the socket is paused on our word.
        self.held = False

    def put_nowait(self, event: Event) -> None:
        """Add an event that is not a message (Daphne calls it by this name)."""
        self._waiting.append(event)
        self._wake()

    def put(self, payload: str | bytes) -> None:
        """Add a message; dropped after the end."""
        if self._end is not None:
            return
        self._waiting.append(payload)
        self._size += len(payload)
        if self._receivers:
            self._wake()
        if not self.held and (len(self._waiting) >= MOST_MESSAGES or self._size >= MOST_BYTES):
            self.held = True
            self._hold()

    def end(self, disconnect: Event, *, discard: bool = False) -> None:
        """Nothing comes any more; the first call's ``disconnect`` is what ``receive`` gives last,
        as often as it is called. ``discard``: forget the messages that wait."""
        if self._end is not None:
            return
        self._end = disconnect
        if discard:
            self._waiting.clear()
        for receiver in self._receivers:
            if not receiver.done():
                receiver.set_result(None)
        self._receivers.clear()
        self._let_go()

    async def receive(self) -> Event:
        """The application's ``receive``."""
        while not self._waiting:
            if self._end is not None:
                return self._end
            receiver = asyncio.get_running_loop().create_future()
            self._receivers.append(receiver)
            try:
                await receiver
            except asyncio.CancelledError:
                if receiver in self._receivers:
                    self._receivers.remove(receiver)
                elif self._waiting:  # woken, but no longer there to take it: someone else may
                    self._wake()
                raise
        item = self._waiting.popleft()
        if isinstance(item, dict):
            return item
        self._size -= len(item)
        if self.held and len(self._waiting) <= FEW_MESSAGES and self._size <= FEW_BYTES:
            self._let_go()
        if isinstance(item, str):
            return {"type": "websocket.receive", "text": item}
        return {"type": "websocket.receive", "bytes": item}

    def _let_go(self) -> None:
        if self.held:
            self.held = False
            self._release()

    def _wake(self) -> None:
        """Let one receiver look."""
        while self._receivers:
            receiver = self._receivers.pop(0)
            if not receiver.done():
                receiver.set_result(None)
                return
