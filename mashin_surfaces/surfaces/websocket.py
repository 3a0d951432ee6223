"""The websocket door: the life of a socket, from the upgrade to the last row.

receive ─► waiting ─► dialect.decode ─► govern ─► dialect.result ─► outbox ─► send
                                             a topic's event ─► hub ─┘

One Channels consumer class is generated for each surface. It has a receive loop of its own: no
thread hop per frame and no channel layer subscription per socket. Frames wait in a bounded queue;
workers take them: one at a time for bare frames (their order is the answers' order), several for
the envelope. Topics are ``subscriptions.py``'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from time import perf_counter_ns, time
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer

from ..conf import settings
from ..dialects.machine import (
    DIALECTS,
    Authenticate,
    Dialect,
    Id,
    Invoke,
    Plain,
    Subscribe,
    Unsubscribe,
)
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller, govern, govern_stream, note, note_soon
from ..identity.authenticate import authenticate
from ..identity.presented import Presented, answer_subprotocol
from ..identity.principal import Principal
from ..machines.schemas import dumps
from ..rooms.live import Joined
from ..rooms.outbox import FastLane, Outbox
from .denial import deny
from .entrance import enter
from .routes import Route
from .subscriptions import Subscriptions

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
#: Our server's way past the coroutines, to a socket that is idle (``docs/carrier.md``).
FAST_LANE = "mashin_surfaces.push"


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
        fast: FastLane | None = consumer.scope.get("extensions", {}).get(FAST_LANE, {}).get("push")
        self.outbox = Outbox(self._send_text, fast, self._overflow)
        self.topics = Subscriptions(self)
        self.subprotocol = consumer.subprotocol
        self.loop = asyncio.get_running_loop()
        self.opened = perf_counter_ns()
        self.waiting: deque[tuple[Frame, bool]] = deque()
        self.waiting_bytes = 0
        self.most_waiting = settings.MAX_WAITING
        self.workers: set[asyncio.Task[None]] = set()
        self.streaming: set[asyncio.Task[Any]] = (
            set()
        )  # workers whose answer does not end by itself
        self.working = 0  # workers that will look once more whether something waits
        self.has_room: asyncio.Future[None] | None = None
        self.last_frame = self.loop.time()
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
            self.outbox.close()
            self._stop_streams()
            facts = {"code": code, "messages": self.messages, "refusals": self.refusals}
            note_soon(self.door, self.caller, "disconnect", self.opened, facts)
            await self.topics.close()

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
            if not isinstance(command, Invoke):
                await self._control(command)
                return
        except Refusal as caught:
            if id is None and not dialect.ordered:
                id = dialect.id_of(frame)
            answer = await note(door, self.caller, event="message", refusal=caught, raw=frame)
        else:
            if door.machine.program.is_stream:
                await self._stream(door, command)
                return
            answer = await govern(door, self.caller, command.input)
        await self._give(answer, id)

    async def _give(self, answer: Answer, id: Id) -> None:
        if answer.refusal is not None:
            await self._refuse(answer.refusal, answer.request_id, id)
        elif answer.result is not None:
            await self._send(self.dialect.result(id, dumps(answer.result)))

    async def _stream(self, door: Door, command: Invoke) -> None:
        """Every result as it comes; who leaves ends it."""
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101  workers are tasks
        self.streaming.add(worker)
        refusal = None
        try:
            async with aclosing(govern_stream(door, self.caller, command.input)) as answers:
                async for answer in answers:
                    refusal = answer.refusal
                    await self._give(answer, command.id)
        finally:
            self.streaming.discard(worker)
        if refusal is None:
            await self._say(self.dialect.done(command.id))

    async def _refuse(self, refusal: Refusal, request_id: str, id: Id) -> None:
        self.refusals += 1
        await self._send(self.dialect.refusal(id, refusal.as_dict(request_id)))
        if refusal.code is Code.UNAUTHENTICATED:
            self.end(TABLE[refusal.code].close)

    async def _control(self, command: Authenticate | Subscribe | Unsubscribe) -> None:
        if isinstance(command, Authenticate):
            await self._authenticate(command)
        elif isinstance(command, Subscribe):
            await self._subscribe(command)
        else:
            await self.topics.remove(command.topic)
            facts = dumps({"unsubscribe": command.topic})
            await note(self.door, self.caller, event="unsubscribe", raw=facts)
            await self._say(self.dialect.unsubscribed(command.id, command.topic))
            self._tick()

    async def _subscribe(self, command: Subscribe) -> None:
        dialect, topic = self.dialect, command.topic

        def welcome(joined: Joined) -> None:
            if (text := dialect.subscribed(command.id, topic, *joined)) is not None:
                self.outbox.push(text)

        answer = await self.topics.add(
            topic, dialect, welcome, since=command.since, epoch=command.epoch
        )
        if answer.refusal is not None:
            await self._refuse(answer.refusal, answer.request_id, command.id)

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

    async def _say(self, text: str | None) -> None:
        """Send what not every spelling has a frame for."""
        if text is not None:
            await self._send(text)

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
        else:
            self._take(door)
            self._tick()
            self._look_at_topics()

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
            self._look_at_topics()

    def _look_at_topics(self) -> None:
        if len(self.topics):
            looking = self.loop.create_task(self._recheck_topics())
            self.workers.add(looking)
            looking.add_done_callback(self._worked)

    async def _recheck_topics(self) -> None:
        """What the caller may not follow any more ends, and it is told."""
        if not await self.topics.recheck():
            refusal = Refusal(Code.FORBIDDEN, self.door.wants)
            answer = await note(self.door, self.caller, event="end", refusal=refusal)
            await self._refuse(refusal, answer.request_id, None)

    def cut_off(self, reason: str) -> None:
        """It can't be given what it follows; connected anew, it can ask again."""
        self.end(4408, Refusal(Code.BUSY, reason))

    def _overflow(self) -> None:
        self.end(4408, reason="You are too slow for what you follow: connect again.")

    def _stop_streams(self) -> None:
        for worker in self.streaming - {asyncio.current_task()}:
            worker.cancel()

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
        if len(self.topics):
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
        if self.closing is None:
            self._stop_streams()
            self.closing = self.loop.create_task(self._close(code or 1000, refusal, reason))

    async def _close(self, code: int, refusal: Refusal | None, reason: str) -> None:
        """``live`` cancels this when the client has closed too."""
        with suppress(TimeoutError):  # a client that does not read can't be told
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if refusal is not None:
                    answer = await note(self.door, self.caller, event="end", refusal=refusal)
                    await self._send(self.dialect.refusal(None, refusal.as_dict(answer.request_id)))
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                reason = reason if refusal is None else refusal.message
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
