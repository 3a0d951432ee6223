"""The websocket door: the life of a socket, from the upgrade to the last row.

receive ─► waiting ─► dialect.decode ─► govern ─► dialect.result ─► send

One Channels consumer class is generated for each surface. It has a receive loop of its own: no
thread hop per frame and no channel layer subscription per socket. Frames wait in a bounded queue;
workers take them: one at a time for bare frames (their order is the answers' order), several for
the envelope.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter_ns, time
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer

from ..conf import settings
from ..dialects.machine import DIALECTS, Authenticate, Dialect, Id, Plain
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Caller, govern, note, note_soon
from ..identity.authenticate import authenticate
from ..identity.presented import Presented, answer_subprotocol
from ..identity.principal import Principal
from ..machines.schemas import dumps
from .denial import deny
from .entrance import enter
from .routes import Route

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Frame = str | bytes

#: Bytes of frames that may wait in one connection before it is read no further.
MOST_WAITING_BYTES = 1024 * 1024
#: What a surface has whose options say nothing (seconds, bytes).
IDLE_TIMEOUT = 300.0
MAX_MESSAGE = 256 * 1024
#: Seconds that a client has for the closing handshake.
CLOSE_TIMEOUT = 5.0


class SurfaceConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One connection attempt. Subclasses are made by ``consumer_for`` and hold their ``route``."""

    route: ClassVar[Route]

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self.receive, self.base_send = receive, send
        if (await receive())["type"] != "websocket.connect":
            return
        door = self.route.door
        if door is None:
            await deny(scope, send, Refusal(Code.NOT_FOUND, "There is no such surface."))
            return
        caller = await self._enter(door)
        if caller is not None:
            await Connection(self, caller, door).live()

    async def _enter(self, door: Door) -> Caller | None:
        """Authenticate, permit, record, accept; None when the upgrade was refused (and said so)."""
        answer, caller = await enter(door, Presented.from_scope(self.scope), event="connect")
        if answer.refusal is not None:
            await deny(self.scope, self.base_send, answer.refusal, answer.request_id, door.accepted)
            return None
        offered = self.scope.get("subprotocols") or []
        self.subprotocol = answer_subprotocol(offered, [word for word in DIALECTS if word])
        await self.send(
            {
                "type": "websocket.accept",
                "subprotocol": self.subprotocol,
                # Our server's key. Up to here a frame that is too big is told so; above, closed.
                "max_message": max(MOST_WAITING_BYTES, 2 * most_bytes(door)),
            }
        )
        return caller


def consumer_for(route: Route) -> type[SurfaceConsumer]:
    """The consumer class of one websocket surface, made once."""
    if route.consumer is None:
        name = "".join(part.capitalize() for part in re.split(r"[^0-9A-Za-z]+", route.path))
        route.consumer = type(f"{name}Consumer", (SurfaceConsumer,), {"route": route})
    made: type[SurfaceConsumer] = route.consumer
    return made


class Connection:
    """An accepted socket: its queue, its workers, its clock."""

    def __init__(self, consumer: SurfaceConsumer, caller: Caller, door: Door) -> None:
        self.route = consumer.route
        self.caller = caller
        self.receive, self.send = consumer.receive, consumer.base_send
        self.subprotocol = consumer.subprotocol
        self.loop = asyncio.get_running_loop()
        self.opened = perf_counter_ns()
        self.waiting: deque[tuple[Frame, bool]] = deque()
        self.waiting_bytes = 0
        self.most_waiting = settings.MAX_WAITING
        self.workers: set[asyncio.Task[None]] = set()
        self.working = 0  # workers that will look once more whether something waits
        self.has_room: asyncio.Future[None] | None = None
        self.last_frame = self.loop.time()
        self.sending_since: float | None = None
        self.messages = self.refusals = 0
        self.closing: asyncio.Task[None] | None = None
        self.is_gone = False
        self.clock: asyncio.TimerHandle | None = None
        self._take(door)

    def _take(self, door: Door) -> None:
        """From now on by this door: its dialect, its limits."""
        self.door = door
        accepts = door.machine.compiled.accepts
        names = frozenset(item.name for item in accepts.fields)
        self.dialect: Dialect = DIALECTS.get(self.subprotocol, Plain)(accepts.loads, names)
        self.idle_timeout = float(door.options.get("idle_timeout", IDLE_TIMEOUT))
        self.most_bytes = most_bytes(door)
        self.most_workers = 1 if self.dialect.ordered else int(door.options.get("concurrency", 8))

    # -- its life -------------------------------------------------------------------------------

    async def live(self) -> None:
        """Read until the end; whatever ends it, everything is put away."""
        self.reader = asyncio.current_task()
        self.route.connections.add(self)
        self._look_at_route()  # it may have changed while we were let in
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
            # A machine that runs is let run to its end, and recorded; nothing new begins.
            self.is_gone = True
            self.waiting.clear()
            facts = {"code": code, "messages": self.messages, "refusals": self.refusals}
            note_soon(self.door, self.caller, "disconnect", self.opened, facts)

    async def _wait_in_line(self, message: Message) -> None:
        """Let a frame wait for a worker; past ``MAX_WAITING`` it will be answered ``busy``.

        When as many busy ones wait too, or all that waits is too big, nothing more is read.
        """
        self.last_frame = self.loop.time()
        frame: Frame | None = message.get("text")
        if frame is None:
            frame = message.get("bytes") or ""
        is_busy = len(self.waiting) >= self.most_waiting
        if is_busy and self.dialect.ordered:
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

    # -- one frame ------------------------------------------------------------------------------

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        """Decode, govern, answer."""
        door, dialect = self.door, self.dialect
        self.messages += 1
        id: Id = None
        try:
            if is_busy:
                raise Refusal(Code.BUSY, "Too many messages wait here.", retry_after=1)
            if size_of(frame, self.most_bytes) > self.most_bytes:
                raise Refusal(Code.TOO_LARGE, f"A frame has at most {self.most_bytes} bytes.")
            command = dialect.decode(frame)
            id = command.id
            if isinstance(command, Authenticate):
                await self._authenticate(command)
                return
        except Refusal as caught:
            if id is None and not dialect.ordered:
                id = dialect.id_of(frame)
            answer = await note(door, self.caller, event="message", refusal=caught, raw=frame)
        else:
            answer = await govern(door, self.caller, command.input)
        if answer.refusal is not None:
            await self._refuse(answer.refusal, answer.request_id, id)
        elif answer.result is not None:
            await self._send(dialect.result(id, dumps(answer.result)))

    async def _refuse(self, refusal: Refusal, request_id: str, id: Id) -> None:
        self.refusals += 1
        await self._send(self.dialect.refusal(id, refusal.as_dict(request_id)))
        if refusal.code is Code.UNAUTHENTICATED:
            self.end(TABLE[refusal.code].close)

    async def _authenticate(self, command: Authenticate) -> None:
        """Fresh credentials of the same principal, without a new connection."""
        presented = Presented.bearer(command.token, client=self.caller.client)
        principal = await authenticate(presented, self.door.accepted - {"none"}, ())
        if principal.name != self.caller.principal.name:
            raise Refusal(Code.FORBIDDEN, "These credentials are someone else's: connect anew.")
        self.caller = Caller(principal, self.caller.client)
        answer = await note(self.door, self.caller, event="authenticate")
        if answer.refusal is not None:
            raise answer.refusal
        self._tick()
        await self._send(self.dialect.authenticated(command.id))

    async def _send(self, text: str) -> None:
        if self.is_gone:
            return
        self.sending_since = self.loop.time()
        with suppress(OSError):  # it went this very moment: some servers say so
            await self.send({"type": "websocket.send", "text": text})
        self.sending_since = None

    # -- its end --------------------------------------------------------------------------------

    def surface_changed(self) -> None:
        """The route has another door, or none any more; called on any thread."""
        self.loop.call_soon_threadsafe(self._look_at_route)

    def _look_at_route(self) -> None:
        door = self.route.door
        if door is None:
            self.end(4404, Refusal(Code.NOT_FOUND, "This surface is gone."))
        else:
            self._take(door)
            self._tick()

    def principal_changed(self, before: Principal, now: Principal | None) -> None:
        """The credential is worth something else now, or nothing; called on any thread."""
        self.loop.call_soon_threadsafe(self._take_principal, before, now)

    def _take_principal(self, before: Principal, now: Principal | None) -> None:
        if self.caller.principal != before:
            return  # it has sent fresh credentials since
        if now is None:
            self.expire()
        else:
            self.caller = Caller(now, self.caller.client)

    def expire(self) -> None:
        """The credential is no longer good."""
        self.end(4401, Refusal(Code.UNAUTHENTICATED, "The credential is no longer valid."))

    def _tick(self) -> None:
        """Look at the deadlines and set the clock to the next one. Costs nothing per frame."""
        if self.clock is not None:
            self.clock.cancel()
        now = self.loop.time()
        idle_left = self.last_frame + self.idle_timeout - now
        if self.working:
            idle_left = max(idle_left, 1.0)  # someone who waits for an answer is not idle
        expires_at = self.caller.principal.credential.expires_at
        expires_in = self.idle_timeout if expires_at is None else expires_at - time()
        if expires_in <= 0:
            self.expire()
        elif idle_left <= 0:
            self.end(4408, Refusal(Code.TIMEOUT, f"No message for {self.idle_timeout:g} s."))
        elif self.sending_since is not None and now - self.sending_since > settings.SEND_TIMEOUT:
            self.end(4408)  # no frame can reach a client that does not read
        else:
            wait = min(idle_left, expires_in, settings.SEND_TIMEOUT) + 0.001
            self.clock = self.loop.call_later(wait, self._tick)

    def end(self, code: int | None, refusal: Refusal | None = None) -> None:
        """Say why, close, and leave even when the client does not answer the close."""
        if self.closing is None:
            self.closing = self.loop.create_task(self._close(code or 1000, refusal))

    async def _close(self, code: int, refusal: Refusal | None) -> None:
        """``live`` cancels this when the client has closed too."""
        with suppress(TimeoutError):  # a client that does not read can't be told
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if refusal is not None:
                    answer = await note(self.door, self.caller, event="end", refusal=refusal)
                    await self._send(self.dialect.refusal(None, refusal.as_dict(answer.request_id)))
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                reason = "" if refusal is None else refusal.message
                await self.send({"type": "websocket.close", "code": code, "reason": reason})
                await asyncio.sleep(CLOSE_TIMEOUT)
        if self.reader is not None:
            self.reader.cancel()


def size_of(frame: Frame, limit: int) -> int:
    """Bytes of a frame; a text is only encoded to see when its characters leave a doubt."""
    size = len(frame)
    if isinstance(frame, str) and size <= limit < 4 * size:
        return len(frame.encode(errors="surrogatepass"))
    return size


def most_bytes(door: Door) -> int:
    """How big a frame of this surface may be."""
    return int(door.options.get("max_message", MAX_MESSAGE))
