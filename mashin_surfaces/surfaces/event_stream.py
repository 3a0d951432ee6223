"""Server-sent events (WHATWG HTML, "Server-sent events"): their form, and a response made of them.

Which events there are, and what a refusal among them looks like, is left to the view.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final, Generic, TypeVar

from django.http import HttpRequest, StreamingHttpResponse

CONTENT_TYPE: Final = "text/event-stream"
#: Seconds of silence after which a comment is sent: proxies drop what is silent for a minute.
KEEP_ALIVE: Final = 15.0
COMMENT: Final = b": keep-alive\n\n"

Item = TypeVar("Item")


def wants_events(request: HttpRequest) -> bool:
    """Whether the client would rather have events than JSON (``Accept``, RFC 9110)."""
    return request.get_preferred_type(["application/json", CONTENT_TYPE]) == CONTENT_TYPE


def event_text(data: bytes, *, event: str = "", id: str = "") -> bytes:
    """One event, as it is sent. ``event`` and ``id`` have no line breaks; "" leaves them out."""
    lines = [b"data: " + line for line in data.splitlines() or [b""]]
    if event:
        lines.insert(0, b"event: " + event.encode())
    if id:
        lines.insert(0, b"id: " + id.encode())
    return b"\n".join(lines) + b"\n\n"


class EventStream(Generic[Item]):
    """The items of an asynchronous generator as the body of a response.

    ``write`` makes an event of an item; ``ending`` is sent when there are no more; a silence is
    filled with comments. One task runs the generator from its beginning to its close, because the
    generator may hold what belongs to a task (timeouts, task groups). It is two items ahead of
    the client at most.
    """

    def __init__(
        self,
        items: AsyncGenerator[Item, None],
        write: Callable[[Item], bytes],
        *,
        ending: bytes = b"",
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        self._items = items
        self._write = write
        self._ending = ending
        self._keep_alive = keep_alive
        self._ready: asyncio.Queue[tuple[Item] | None] = asyncio.Queue(1)  # None: no more come
        self._looked_at: list[tuple[Item] | None] = []
        self._is_over = self._is_left = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    if self._is_left:  # it did not take the hint
                        break
                    await self._ready.put((item,))
        finally:
            with suppress(asyncio.QueueFull):  # then ``_next`` sees that this task is done
                self._ready.put_nowait(None)

    async def _next(self) -> tuple[Item] | None:
        """The next item, None when there is none; raises what the generator raised."""
        is_last = self._task.done() and self._ready.empty()
        item = None if is_last else await self._ready.get()
        if item is None and not self._task.cancelled():
            self._task.result()
        return item

    async def first(self) -> Item | None:
        """The first item, before anything is sent: it will be all the same. None without any."""
        try:
            item = await self._next()
        except asyncio.CancelledError:
            self.close()
            raise
        self._looked_at.append(item)
        return None if item is None else item[0]

    def __aiter__(self) -> EventStream[Item]:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._keep_alive) as silence:
                item = self._looked_at.pop() if self._looked_at else await self._next()
        except TimeoutError:
            if silence.expired():
                return COMMENT
            raise
        except asyncio.CancelledError:
            self.close()
            raise
        if item is not None:
            return self._write(item[0])
        self._is_over = True
        if not self._ending:
            raise StopAsyncIteration
        return self._ending

    def close(self) -> None:
        """End the generator; who reads gets the ending. May be called on any thread, and again:
        Django does when the response has ended."""
        with suppress(RuntimeError):  # the loop is closed: it has ended everything
            self._loop.call_soon_threadsafe(self._leave)

    async def aclose(self) -> None:
        """``close``, and wait until it has."""
        self._leave()
        await asyncio.wait({self._task})

    def _leave(self) -> None:
        """Once: a second time would hit what the generator does at its end."""
        if not self._is_left:
            self._is_left = True
            self._task.cancel()

    def response(self) -> StreamingHttpResponse:
        """The response of which this is the body. No cache keeps it, and nginx passes it on."""
        response = StreamingHttpResponse(
            self,
            content_type=CONTENT_TYPE,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        # Nobody closes a response that never comes to be sent: its client went before.
        weakref.finalize(response, self.close).atexit = False
        return response
