"""Events on their way to who reads them: bounded, so that who does not read holds up the socket
and not the memory. Where events come from is left to the clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar
from weakref import WeakSet, finalize

from .errors import ClientError, Closed

E = TypeVar("E")


class Inbox(Generic[E]):
    """An asynchronous iterator over events: each once, in the order of the log.

    It ends when the client is closed, and raises the ``ClientError`` that ended the connection for
    good.
    """

    def __init__(self, wants: Callable[[E], bool], read: Callable[[], None]) -> None:
        self._wants = wants
        self._read = read
        self._events: deque[E] = deque()
        self._came = asyncio.Event()
        self._end: ClientError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while not self._events:
            if isinstance(self._end, Closed) and self._end.code == "closed":
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            self._came.clear()
            await self._came.wait()
        event = self._events.popleft()
        self._read()
        return event

    def __len__(self) -> int:
        """How many events wait to be read."""
        return len(self._events)

    def put(self, event: E) -> None:
        if self._wants(event):
            self._events.append(event)
            self._came.set()

    def finish(self, error: ClientError) -> None:
        self._end = error
        self._came.set()


class Inboxes(Generic[E]):
    """All readers of one client. One that is dropped counts no longer.

    ``most``: events that may wait for a reader before the socket is not read any more; twice as
    many while somebody waits for an answer, which would not be read either.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._boxes: WeakSet[Inbox[E]] = WeakSet()
        self._end: ClientError | None = None
        self.changed = asyncio.Event()

    def open(self, wants: Callable[[E], bool]) -> Inbox[E]:
        box = Inbox(wants, self.changed.set)
        self._boxes.add(box)
        finalize(box, self.changed.set).atexit = False  # it may have held up the socket
        if self._end is not None:
            box.finish(self._end)
        return box

    def put(self, event: E) -> None:
        for box in self._boxes:
            box.put(event)

    def finish(self, error: ClientError) -> None:
        self._end = error
        for box in self._boxes:
            box.finish(error)

    @property
    def is_full(self) -> bool:
        return self._longest >= self._most

    @property
    def is_overfull(self) -> bool:
        return self._longest >= 2 * self._most

    @property
    def _longest(self) -> int:
        return max(map(len, self._boxes), default=0)
