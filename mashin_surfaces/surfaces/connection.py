"""An accepted socket, whatever it speaks: its queue, its workers, its way out, its clock, its end.

Frames wait in a bounded queue; workers take them and answer. What a frame means, and how a refusal
reads, is left to the subclasses: ``websocket.py`` for machines, ``panel_socket.py`` for panels.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter_ns, time
from typing import Any

from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Caller, note, note_soon
from ..identity.presented import Presented
from ..identity.principal import Principal
from ..rooms.outbox import FastLane, Outbox
from .identify import identify
from .recheck import recheck
from .routes import Route

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Frame = str | bytes
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Bytes of frames that may wait in one connection before it is read no further.
MOST_WAITING_BYTES = 1024 * 1024
#: What a surface has whose options say nothing (seconds, bytes).
IDLE_TIMEOUT = 300.0
MAX_MESSAGE = 256 * 1024
#: Seconds that a client has for the closing handshake.
CLOSE_TIMEOUT = 5.0
#: Our server's way past the coroutines, to a socket that is idle (``docs/carrier.md``).
FAST_LANE = "mashin_surfaces.push"


class Connection:
    """A socket from its acceptance to its last row. ``route`` says what it is connected to."""

    #: Whether the order of the answers says whose they are.
    is_ordered = True

    def __init__(
        self, scope: Message, receive: Receive, send: Send, route: Route, caller: Caller, door: Door
    ) -> None:
        self.route = route
        self.caller = caller
        self.receive, self.send = receive, send
        fast: FastLane | None = scope.get("extensions", {}).get(FAST_LANE, {}).get("push")
        self.outbox = Outbox(self._send_text, fast, self._overflow)
        self.loop = asyncio.get_running_loop()
        self.opened = perf_counter_ns()
        self.waiting: deque[tuple[Frame, bool]] = deque()
        self.waiting_bytes = 0
        self.most_waiting = settings.MAX_WAITING
        self.most_workers = 1
        self.workers: set[asyncio.Task[None]] = set()
        self.working = 0  # workers that will look once more whether something waits
        self.has_room: asyncio.Future[None] | None = None
        self.last_frame = self.loop.time()
        self.messages = self.refusals = 0
        self.closing: asyncio.Task[None] | None = None
        self.doubt: asyncio.Task[None] | None = None
        self.is_gone = False
        self.clock: asyncio.TimerHandle | None = None
        self._take(door)

    # -- what a subclass says -------------------------------------------------------------------

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        """Decode, govern, answer."""
        raise NotImplementedError

    def _refusal_text(self, refusal: Refusal, request_id: str) -> str:
        """A refusal that answers no frame."""
        raise NotImplementedError

    @property
    def is_following(self) -> bool:
        """Whether something comes without being asked for: then silence is no idleness."""
        return False

    def _rights_changed(self) -> None:
        """The surface or the caller is not what it was."""

    def _stop(self) -> None:
        """Nothing more is to be answered: end what does not end by itself."""

    async def _put_away(self) -> None:
        """The socket is gone."""

    def _take(self, door: Door) -> None:
        """From now on by this door: its limits."""
        self.door = door
        self.idle_timeout = float(door.options.get("idle_timeout", IDLE_TIMEOUT))
        self.most_bytes = most_bytes(door)

    # -- its life -------------------------------------------------------------------------------

    async def live(self) -> None:
        """Read until the end; whatever ends it, everything is put away."""
        self.reader = asyncio.current_task()
        self.route.connections.add(self)
        self._look_at_route()  # it may have changed while we were let in
        self._look_at_principal()
        code = 1006
        try:
            while True:
                message = await self.receive()
                if message["type"] == "websocket.disconnect":
                    code = message.get("code") or 1005
                    break
                await self._wait_in_line(message)
        finally:
            self.route.connections.discard(self)
            if self.clock is not None:
                self.clock.cancel()
            if self.closing is not None:
                self.closing.cancel()
            if self.doubt is not None:
                self.doubt.cancel()
            # A machine that runs is let run to its end, and recorded; nothing new begins.
            self.is_gone = True
            self.waiting.clear()
            self.outbox.close()
            self._stop()
            facts = {"code": code, "messages": self.messages, "refusals": self.refusals}
            note_soon(self.door, self.caller, "disconnect", self.opened, facts)
            await self._put_away()

    async def _wait_in_line(self, message: Message) -> None:
        """Let a frame wait for a worker; past ``MAX_WAITING`` it will be answered ``busy``.

        When as many busy ones wait too, or all that waits is too big, nothing more is read.
        """
        self.last_frame = self.loop.time()
        frame: Frame | None = message.get("text")
        if frame is None:
            frame = message.get("bytes") or ""
        is_busy = len(self.waiting) >= self.most_waiting
        if is_busy and self.is_ordered:
            frame = ""  # nothing of it is needed to refuse it
        self.waiting.append((frame, is_busy))
        self.waiting_bytes += len(frame)
        if self.working < self.most_workers:
            self.working += 1
            worker = self.loop.create_task(self._work())
            self.workers.add(worker)
            worker.add_done_callback(self._worked)
        while len(self.waiting) >= 2 * self.most_waiting or self.waiting_bytes > MOST_WAITING_BYTES:
            self.has_room = self.loop.create_future()
            await self.has_room

    async def _work(self) -> None:
        """Answer what waits until nothing does."""
        try:
            while self.waiting and self.closing is None:
                frame, is_busy = self.waiting.popleft()
                self.waiting_bytes -= len(frame)
                if self.has_room is not None and not self.has_room.done():
                    self.has_room.set_result(None)
                await self._answer(frame, is_busy)
        finally:
            # Now, and not when the loop calls back: a frame that comes in between needs a worker.
            self.working -= 1

    def _worked(self, worker: asyncio.Task[None]) -> None:
        self.workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            logger.error("A websocket worker failed", exc_info=error)
            self.end(1011)

    def _check_size(self, frame: Frame, is_busy: bool) -> None:
        """Raise what a frame is refused for before anybody reads it."""
        if is_busy:
            raise Refusal(Code.BUSY, "Too many messages wait here.", retry_after=1)
        if size_of(frame, self.most_bytes) > self.most_bytes:
            raise Refusal(Code.TOO_LARGE, f"A frame has at most {self.most_bytes} bytes.")

    async def _send(self, text: str) -> None:
        if not self.is_gone:
            await self.outbox.send(text)

    async def _send_text(self, text: str) -> None:
        await self.send({"type": "websocket.send", "text": text})

    # -- its end --------------------------------------------------------------------------------

    def surface_changed(self) -> None:
        """The route has another door, or none any more; called on any thread."""
        self.loop.call_soon_threadsafe(self._look_at_route)

    def _look_at_route(self) -> None:
        door = self.route.door
        if door is None:
            self.end(4404, Refusal(Code.NOT_FOUND, "This surface is gone."))
        elif dialect_of(door) != dialect_of(self.door):
            message = "This surface speaks another dialect now: connect again."
            self.end(1012, Refusal(Code.DRAINING, message))
        else:
            self._take(door)
            self._tick()
            self._rights_changed()

    def principal_changed(self, before: Principal, now: Principal | None) -> None:
        """The credential is worth something else now, or nothing; called on any thread."""
        self.loop.call_soon_threadsafe(self._take_principal, before, now)

    def _look_at_principal(self) -> None:
        """Who rechecked all meanwhile has not seen this connection, or these credentials."""
        if self.caller.is_doubted:
            self.doubt = self.loop.create_task(recheck(self))

    def _take_principal(self, before: Principal, now: Principal | None) -> None:
        if self.caller.principal != before:
            return  # it has sent fresh credentials since
        if now is None:
            self.expire()
        else:
            self.caller = Caller(now, self.caller.client)
            self._tick()
            self._rights_changed()

    def cut_off(self, reason: str) -> None:
        """It can't be given what it follows; connected anew, it can ask again."""
        self.end(4408, Refusal(Code.BUSY, reason))

    def _overflow(self) -> None:
        self.end(4408, reason="You are too slow for what you follow: connect again.")

    async def _authenticate(self, token: str) -> None:
        """Take fresh credentials of the same principal; raises ``Refusal``."""
        presented = Presented.bearer(token, client=self.caller.client)
        caller = await identify(presented, self.door.accepted - {"none"})
        if caller.principal.name != self.caller.principal.name:
            raise Refusal(Code.FORBIDDEN, "These credentials are someone else's: connect anew.")
        self.caller = caller
        self._look_at_principal()
        answer = await note(self.door, caller, event="authenticate")
        if answer.refusal is not None:
            raise answer.refusal
        self._tick()
        self._rights_changed()

    def expire(self) -> None:
        """The credential is no longer good."""
        self.end(4401, Refusal(Code.UNAUTHENTICATED, "The credential is no longer valid."))

    def _tick(self) -> None:
        """Look at the deadlines and set the clock to the next one. Costs nothing per frame."""
        if self.clock is not None:
            self.clock.cancel()
        if self.is_gone:  # a worker that was at it when the client went
            return
        now = self.loop.time()
        idle_left = self.last_frame + self.idle_timeout - now
        if self.working:
            idle_left = max(idle_left, 1.0)  # someone who waits for an answer is not idle
        if self.is_following:
            idle_left = self.idle_timeout
        expires_at = self.caller.principal.credential.expires_at
        expires_in = self.idle_timeout if expires_at is None else expires_at - time()
        if expires_in <= 0:
            self.expire()
        elif idle_left <= 0:
            self.end(4408, Refusal(Code.TIMEOUT, f"No message for {self.idle_timeout:g} s."))
        elif now - (self.outbox.sending_since or now) > settings.SEND_TIMEOUT:
            self.end(4408)  # no frame can reach a client that does not read
        else:
            wait = min(idle_left, expires_in, settings.SEND_TIMEOUT) + 0.001
            self.clock = self.loop.call_later(wait, self._tick)

    def end(self, code: int | None, refusal: Refusal | None = None, reason: str = "") -> None:
        """Say why, close, and leave even when the client does not answer the close."""
        if self.closing is None and not self.is_gone:
            self._stop()
            self.closing = self.loop.create_task(self._close(code or 1000, refusal, reason))

    async def _close(self, code: int, refusal: Refusal | None, reason: str) -> None:
        """``live`` cancels this when the client has closed too."""
        with suppress(TimeoutError):  # a client that does not read can't be told
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if refusal is not None:
                    answer = await note(self.door, self.caller, event="end", refusal=refusal)
                    await self._send(self._refusal_text(refusal, answer.request_id))
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                reason = reason if refusal is None else refusal.message
                await self.send({"type": "websocket.close", "code": code, "reason": reason})
                await asyncio.sleep(CLOSE_TIMEOUT)
        if self.reader is not None:
            self.reader.cancel()


def dialect_of(door: Door) -> str:
    """Which protocol the sockets of a surface speak."""
    return str(door.options.get("dialect", "machine"))


def size_of(frame: Frame, limit: int) -> int:
    """Bytes of a frame; a text is only encoded to see when its characters leave a doubt."""
    size = len(frame)
    if isinstance(frame, str) and size <= limit < 4 * size:
        return len(frame.encode(errors="surrogatepass"))
    return size


def most_bytes(door: Door) -> int:
    """How big a frame of this surface may be."""
    return int(door.options.get("max_message", MAX_MESSAGE))
