"""The websocket door: the life of a socket, from the upgrade to the last row.

receive ─► waiting ─► dialect.decode ─► govern ─► dialect.result ─► outbox ─► send
                                             a topic's event ─► hub ─┘

One Channels consumer class is generated for each surface. It has a receive loop of its own: no
thread hop per frame and no channel layer subscription per socket. One frame at a time is answered
when they are bare (their order is the answers' order), several with the envelope. What every socket
has in common is in ``connection.py``; topics are ``subscriptions.py``'s, a surface that speaks the
panel dialect is ``panel_socket.py``'s, the run dialect ``run_socket.py``'s.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing, suppress
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer

from ..dialects.machine import (
    DIALECTS,
    Authenticate,
    Dialect,
    Id,
    Invoke,
    Ping,
    Plain,
    Subscribe,
    Unsubscribe,
)
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller, govern, govern_stream, note
from ..identity.presented import Presented, answer_subprotocol
from ..machines.schemas import dumps
from ..rooms.live import Joined
from .bus_socket import serve_bus
from .connection import (
    MOST_WAITING_BYTES,
    Connection,
    Frame,
    Message,
    Receive,
    Send,
    dialect_of,
    most_bytes,
)
from .denial import deny
from .entrance import enter
from .panel_socket import serve_machine
from .routes import Route
from .run_socket import serve_machine_runs
from .subscriptions import Subscriptions

logger = logging.getLogger(__name__)

#: Characters of a ping, its id at its longest.
MOST_OF_A_PING = 200


class SurfaceConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One connection attempt. Subclasses are made by ``consumer_for`` and hold their ``route``."""

    route: ClassVar[Route]

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        self.scope = scope
        self.receive, self.base_send = receive, send
        if (await receive())["type"] != "websocket.connect":
            return
        door = self.route.door
        if door is None:
            await deny(scope, send, Refusal(Code.NOT_FOUND, "There is no such surface."))
            return
        if dialect_of(door) == "panel":
            await serve_machine(self.route, door, scope, receive, send)
            return
        if dialect_of(door) == "dag":
            await serve_machine_runs(self.route, door, scope, receive, send)
            return
        if dialect_of(door) == "incubator":
            await serve_bus(self.route, door, scope, receive, send)
            return
        caller = await self._enter(door)
        if caller is not None:
            await MachineConnection(self, caller, door).live()

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


class MachineConnection(Connection):
    """A socket that speaks the machine dialect."""

    dialect: Dialect

    def __init__(self, consumer: SurfaceConsumer, caller: Caller, door: Door) -> None:
        self.subprotocol = consumer.subprotocol
        self.streaming: set[asyncio.Task[Any]] = set()  # workers with many answers
        super().__init__(
            consumer.scope, consumer.receive, consumer.base_send, consumer.route, caller, door
        )
        self.topics = Subscriptions(self)

    def _take(self, door: Door) -> None:
        super()._take(door)
        accepts = door.machine.compiled.accepts
        names = frozenset(item.name for item in accepts.fields)
        self.dialect = DIALECTS.get(self.subprotocol, Plain)(accepts.loads, names)
        self.is_ordered = self.dialect.ordered
        self.most_workers = 1 if self.is_ordered else int(door.options.get("concurrency", 8))

    def _refusal_text(self, refusal: Refusal, request_id: str) -> str:
        return self.dialect.refusal(None, refusal.as_dict(request_id))

    @property
    def is_following(self) -> bool:
        return len(self.topics) > 0

    async def _put_away(self) -> None:
        await self.topics.close()

    # -- one frame ------------------------------------------------------------------------------

    async def _wait_in_line(self, message: Message) -> None:
        """As everywhere; but who asks whether we are there does not wait for machines that run."""
        text = message.get("text") or ""
        is_busy = not self.is_ordered and self.working >= self.most_workers
        if is_busy and len(text) <= MOST_OF_A_PING and '"ping"' in text:
            with suppress(Refusal):
                command = self.dialect.decode(text)
                if isinstance(command, Ping):
                    self.last_frame = self.loop.time()
                    self.messages += 1
                    await self._control(command)
                    return
        await super()._wait_in_line(message)

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        """Decode, govern, answer."""
        door, dialect = self.door, self.dialect
        self.messages += 1
        id: Id = None
        try:
            self._check_size(frame, is_busy)
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

    async def _control(self, command: Authenticate | Subscribe | Unsubscribe | Ping) -> None:
        if isinstance(command, Ping):
            await self._say(self.dialect.pong(command.id))
        elif isinstance(command, Authenticate):
            await self._authenticate(command.token)
            await self._send(self.dialect.authenticated(command.id))
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

    async def _say(self, text: str | None) -> None:
        """Send what not every spelling has a frame for."""
        if text is not None:
            await self._send(text)

    # -- its topics and streams -------------------------------------------------------------------

    def _rights_changed(self) -> None:
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

    def _stop(self) -> None:
        for worker in self.streaming - {asyncio.current_task()}:
            worker.cancel()
