"""The socket of an incubator: a websocket surface with ``dialect: incubator``.

receive ─► waiting ─► dialect.decode ─► bus, dances ─► transaction ─► log ─► outbox

Order on connect: the replay, ``replay_done``, ``dance_tools``, then what comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs

import orjson
from django.db import DatabaseError

from ..commit import CommitFailed
from ..conf import settings
from ..dialects import incubator as dialect
from ..exceptions import Code, Refusal, wrong_field
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Answer, Caller, admit, note
from ..identity.presented import Presented, answer_subprotocol
from ..identity.principal import Principal, anonymous
from ..incubators import bus, commands, dances, metrics, store
from ..incubators.doors import Verb, bus_door, entrances, grant_of, owner_of
from ..incubators.models import Incubator
from ..ledger.chain import new_id
from ..machines.json_values import dumps
from ..rooms import presence
from ..rooms.appending import RoomIsGone
from ..rooms.events import Bell, Event, NewEvent, Note
from ..rooms.hub import hub
from ..rooms.live import Place
from ..rooms.log import aread, room_threads
from .connection import MOST_WAITING_BYTES, Connection, Frame, Message, Receive, Send, most_bytes
from .database import in_database
from .denial import deny
from .entrance import must_admit
from .identify import identify
from .routes import Route


@dataclass(frozen=True, slots=True)
class Query:
    """What stands behind the ``?`` of a connection. Raises ``Refusal`` (invalid_input)."""

    namespace: str
    since: int | None
    epoch: str | None
    types: tuple[str, ...] | None
    agent_id: str | None
    role: str

    @classmethod
    def of(cls, text: str) -> Query:
        given = parse_qs(text, keep_blank_values=True)

        def first(name: str) -> str:
            return str(given.get(name, [""])[0])

        since = first("since")
        if since and not (since.isascii() and since.isdecimal() and len(since) < 19):
            raise wrong_field("since", "It is an id: a number from 0.")
        globs = tuple(each for each in first("types").split(",") if each)
        if not all(map(dialect.is_glob, globs)):
            raise wrong_field(
                "types", "They are types of events; * stands for one part between dots."
            )
        agent = first("agentId")
        if agent and (len(agent) > dialect.MOST_NAME or not agent.isprintable()):
            raise wrong_field("agentId", "It is a printable text.")
        return cls(
            store.check_namespace(first("namespace") or "default"),
            int(since) if since else None,
            first("epoch") or None,
            globs or None,
            agent or None,
            first("role")[:64],
        )


@dataclass(slots=True)
class Comer:
    """Who comes to a surface of incubators, as far as they came. ``query``: what they ask for, once
    they may."""

    presented: Presented
    caller: Caller
    query: Query | None = None

    @classmethod
    def of(cls, presented: Presented) -> Comer:
        return cls(presented, Caller(anonymous(()), presented.client))

    async def enter(self, door: Door, asked: str) -> Query:
        """Raises ``Refusal`` when they may not come in, or not in this way."""
        self.caller = await identify(self.presented, door.accepted, grant_of(door))
        principal = self.caller.principal
        query = Query.of(asked)
        for entrance in entrances(door, query.namespace):
            must_admit(entrance, principal)
        agent_of(principal, query.agent_id)
        self.query = query
        return query


async def explain_bus(door: Door, presented: Presented, asked: str) -> tuple[Answer, list[str]]:
    """What a connect with this query string would be told, and the scopes that it wants; a look
    makes no namespace. Recorded as "describe"."""
    comer = Comer.of(presented)
    refusal: Refusal | None = None
    try:
        query = await comer.enter(door, asked)
        await in_database(store.look_up, query.namespace, owner_of(door))
    except Refusal as caught:
        refusal = caught
    answer = await note(door, comer.caller, event="describe", refusal=refusal)
    if comer.query is None:
        return answer, []
    inside = entrances(door, comer.query.namespace)
    return answer, [scope for entrance in inside for scope in entrance.wanted]


async def serve_bus(route: Route, door: Door, scope: Message, receive: Receive, send: Send) -> None:
    """One connection attempt; "websocket.connect" was received."""
    comer = Comer.of(Presented.from_scope(scope))
    found: tuple[Query, Incubator] | None = None
    refusal: Refusal | None = None
    try:
        query = await comer.enter(door, scope.get("query_string", b"").decode("latin-1"))
        found = query, await in_database(store.find, query.namespace, owner_of(door))
    except Refusal as caught:
        refusal = caught
    caller = comer.caller
    answer = await note(door, caller, event="connect", refusal=refusal)
    if answer.refusal is not None or found is None:
        told = answer.refusal or Refusal(Code.NOT_FOUND, "There is no such namespace.")
        await deny(scope, send, told, answer.request_id, door.accepted)
        return
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": answer_subprotocol(scope.get("subprotocols") or [], []),
            "max_message": max(MOST_WAITING_BYTES, 2 * most_bytes(door)),
        }
    )
    await BusConnection(scope, receive, send, route, caller, door, *found).live()


def agent_of(principal: Principal, wanted: str | None) -> str:
    """The agent in whose name a principal acts: one that its credential names, else one of its
    own, so that nobody takes another's name.

    Raises ``Refusal``: forbidden for an agent that the credential does not name, invalid_input for
    a name that gets too long.
    """
    # Behind the first slash stands the agent: a principal's own slashes are written otherwise, so
    # that "ada/one" is ada's agent, and never the principal of that name.
    own = principal.name.replace("%", "%25").replace("/", "%2F")
    if wanted is None or wanted in {principal.name, own}:
        agent = own
    elif wanted.startswith(f"{own}/"):
        agent = wanted  # as others see it
    elif principal.agents is None:
        agent = f"{own}/{wanted}"
    elif any(fnmatchcase(wanted, glob) for glob in principal.agents):
        agent = wanted
    else:
        raise Refusal(Code.FORBIDDEN, f'This credential does not name the agent "{wanted}".')
    if len(agent) > dialect.MOST_NAME:
        most = dialect.MOST_NAME
        message = f"It is at most {most} characters with its principal's name before it: {agent}"
        raise wrong_field("agentId", message)
    return agent


class BusConnection(Connection):
    """A socket that speaks the incubator dialect; also a room's member (``rooms.live.Member``)."""

    def __init__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        route: Route,
        caller: Caller,
        door: Door,
        query: Query,
        incubator: Incubator,
    ) -> None:
        super().__init__(scope, receive, send, route, caller, door)
        self.is_ordered = False
        self.query = query
        self.namespace, self.machine = query.namespace, incubator.machine
        self.room = incubator.pk
        self.address = new_id()
        self.agent = agent_of(caller.principal, query.agent_id)
        self.names: Sequence[str] = (self.address, self.agent)
        self.types = query.types
        self.epoch = incubator.room.epoch
        self.place: Place | None = None
        self.merge: Callable[[Sequence[Event]], Sequence[Event]] | None = None
        self.most_waiting = settings.INCUBATORS.MAX_WAITING
        self.tasks: set[asyncio.Task[None]] = set()
        self.waits: dict[str, Waiting] = {}
        #: Members with the same one get the same texts; who waits looks at each event itself.
        self.spelling: tuple[Any, ...] = (self.types, "")
        self.arrived: deque[int] = deque()  # where the log was when each waiting frame came
        self.promised = ""
        self.metrics: asyncio.TimerHandle | None = None

    # -- its room -------------------------------------------------------------------------------

    def encode(self, event: Event) -> str | None:
        if self.waits:
            self._look_at(event)
        is_filtered = event.type == "event" and self.types is not None
        if is_filtered and not dialect.matches(
            self.types, orjson.loads(event.payload)["event_type"]
        ):
            return None
        return dialect.entry(
            event.type,
            event.payload,
            event.offset,
            event.at.isoformat().replace("+00:00", "Z"),
            self.epoch,
        )

    def may_replay(self) -> bool:
        return self._closed_door() is None

    def _closed_door(self) -> Door | None:
        """The door that this principal could not come in by now, if there is one."""
        principal = self.caller.principal
        doors = entrances(self.door, self.namespace)
        return next((door for door in doors if not door.admits(principal)), None)

    def was_reset(self, epoch: str, offset: int) -> None:
        self.epoch = epoch
        dances.dances_of(self.room, self.namespace, self.machine).discard(epoch)
        self.outbox.promise(self.loop.create_task(self._reset_frame(epoch)))
        self.outbox.push(dialect.replay_done(offset, epoch))
        if self.place is not None:  # a replay that was not done is done by this one
            self.place.notes = [each for each in self.place.notes if each.text != self.promised]

    async def _reset_frame(self, epoch: str) -> str:
        try:
            by = await room_threads.run(store.reset_by, self.room)
        except DatabaseError:
            by = ""
        return dialect.reset(epoch, by)

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        self.end(1000 if is_gone else 4408, reason=reason)

    async def live(self) -> None:
        try:
            await self._begin()
        except BaseException:
            await self._put_away()
            raise
        self._plan_metrics()
        await super().live()

    async def _begin(self) -> None:
        """Join the room, and replay what was asked for."""
        try:
            await presence.enter(self.room, self.address, self.agent)
            await self._be_seen()
            while self.place is None:
                facts = await room_threads.run(store.facts, self.room)
                self.place = await self._join(facts)
        except (DatabaseError, CommitFailed, LookupError, RoomIsGone, Refusal):
            self.end(1011, reason="The bus can't be read now: connect again.")

    async def _join(self, facts: store.Facts) -> Place | None:
        """Join as the facts say; None when they are not true any more."""
        recovered = facts.recovered(self.query.since, self.query.epoch)
        since = self.query.since or facts.floor
        if not recovered:
            since = facts.head
        is_true = False

        def welcome(joined: Any) -> None:
            nonlocal is_true
            is_true = joined.recovered
            self.epoch = joined.epoch
            if is_true and not recovered:
                self.outbox.push(dialect.gap(self.query.since or 0, facts.head, facts.epoch))
                self.outbox.push(dialect.state(facts.state, facts.head))

        place = await hub().join(self.room, self, welcome, since=since, epoch=facts.epoch)
        if not is_true:
            hub().leave(place)
            return None
        tools = [
            {"name": name, "description": tool.definition.description}
            for name, tool in dances.tools_of(self.machine).items()
        ]
        self.promised = dialect.replay_done(place.room.last, self.epoch)
        texts = [self.promised, dialect.dance_tools(tools)] if tools else [self.promised]
        for text in texts:
            if place.task is None:
                self.outbox.push(text)
            else:  # behind what is replayed
                place.notes.append(Note(self.address, text, after=place.room.last))
        return place

    async def _put_away(self) -> None:
        if self.metrics is not None:
            self.metrics.cancel()
        for waiting in self.waits.values():
            waiting.cancel()
        for task in self.tasks:
            task.cancel()
        if self.place is not None:
            hub().leave(self.place)
        await presence.leave(self.room, self.address)
        with suppress(DatabaseError):
            await self._be_seen()

    async def _be_seen(self) -> None:
        name = self.caller.principal.name
        await room_threads.run(store.seen, self.room, self.agent, self.query.role, name)

    @property
    def is_following(self) -> bool:
        return True

    def _refusal_text(self, refusal: Refusal, request_id: str) -> str:
        return dialect.error(refusal, None)

    def _rights_changed(self) -> None:
        closed = self._closed_door()
        if closed is not None:
            self.end(4403, Refusal(Code.FORBIDDEN, closed.wants))
            return
        try:
            is_same = agent_of(self.caller.principal, self.query.agent_id) == self.agent
        except Refusal:
            is_same = False
        if not is_same:
            message = f'These credentials do not name the agent "{self.agent}": connect anew.'
            self.end(4403, Refusal(Code.FORBIDDEN, message))

    # -- one frame ------------------------------------------------------------------------------

    async def _wait_in_line(self, message: Message) -> None:
        self.arrived.append(0 if self.place is None else self.place.room.last)
        await super()._wait_in_line(message)

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        self.messages += 1
        position, recorded = self.arrived.popleft(), frame
        try:
            self._check_size(frame, is_busy)
            command = dialect.decode(frame)
            match command:
                case dialect.Publish():
                    await self._publish(command)
                case dialect.DanceCall():
                    self._dance(command)
                case dialect.Subscribe():
                    self._choose(command.types)
                case dialect.Ping():
                    await self._send(dialect.pong())
                case dialect.Wait():
                    since = position if command.since is None else command.since
                    self._wait_for(command, min(position, since))
                case dialect.Authenticate():
                    recorded = b'{"type":"authenticate"}'
                    await self._authenticate(command.token)
                    await self._send(dialect.authenticated(command.request_id))
                case dialect.Reset():
                    await self._reset()
                case _:
                    await self._act(command)
        except Refusal as refusal:
            await self._refuse(refusal, dialect.request_id_of(frame), recorded)

    async def _refuse(self, refusal: Refusal, request_id: str | None, frame: Frame) -> None:
        self.refusals += 1
        door = bus_door("act", self.namespace, self.machine)
        answer = await note(door, self.caller, event="message", refusal=refusal, raw=frame)
        told = answer.refusal or refusal
        await self._send(dialect.error(told, request_id))
        if told.code is Code.UNAUTHENTICATED:
            self.end(TABLE[told.code].close)

    def _door(self, verb: Verb) -> Door:
        """The door for a verb, once the caller may come through it."""
        door = bus_door(verb, self.namespace, self.machine)
        admit(door, self.caller.principal)
        return door

    def _actor(self, agent_id: str | None = None, role: str | None = None) -> bus.Actor:
        agent = self.agent
        if agent_id is not None:
            agent = agent_of(self.caller.principal, agent_id)
        return bus.Actor(self.caller, agent, role or self.query.role)

    async def _publish(self, command: dialect.Publish) -> None:
        door, actor = self._door("publish"), self._actor(command.agent_id)
        payload = {"event_type": command.event, "data": command.data, "agent_id": actor.agent}
        text, call_id = dumps(payload).decode(), command.call_id
        event = NewEvent("event", text, actor.agent[:200], call_id or "")
        given = {"event": command.event, "data": command.data}
        appended, _ = await bus.act(
            self.room, door, actor, given, None, events=[event], call_id=call_id
        )
        await self._send(dialect.publish_ack(appended.last, command.request_id, call_id))

    async def _act(
        self,
        command: dialect.SetState
        | dialect.DeleteState
        | dialect.Claim
        | dialect.Release
        | dialect.Control,
    ) -> None:
        door = self._door("control" if isinstance(command, dialect.Control) else "act")
        actor = self._actor()

        def do(writer: bus.Writer) -> dict[str, int]:
            match command:
                case dialect.SetState():
                    version = writer.set_state(command.key, command.value, command.if_version)
                    return {"version": version}
                case dialect.DeleteState():
                    writer.delete_state(command.key)
                case dialect.Claim():
                    return {"fence": writer.claim(command.resource, command.ttl_ms)}
                case dialect.Release():
                    writer.release(command.resource)
                case dialect.Control():
                    writer.control(command, by=actor.agent)
            return {}

        call_id = command.call_id
        given = _given(command)
        appended, outcome = await bus.act(self.room, door, actor, given, do, call_id=call_id)
        if call_id is not None:
            await self._send(dialect.ack(call_id, appended.last, outcome))

    def _dance(self, command: dialect.DanceCall) -> None:
        self._door("act")
        if len(self.tasks) >= self.most_waiting:
            raise Refusal(Code.BUSY, "Too many calls of this connection wait.", retry_after=1)
        actor = self._actor(command.agent_id, command.role)
        call = dances.Call(command.tool, command.args, actor, command.call_id, self.epoch)
        self._begin_task(self._await(call))

    async def _await(self, call: dances.Call) -> None:
        """Tell the result behind what the call did, which may yet have to be heard of."""
        known = dances.dances_of(self.room, self.namespace, self.machine)
        answer = await known.call(call)
        text = dialect.dance_result(call.call_id, answer.text)
        if self.place is None or self.place.is_gone:
            return
        room, offset = self.place.room, answer.offset
        if offset > room.last:
            note = Note(self.address, text, after=offset)
            room.heard(Bell(self.room, answer.epoch, offset + 1, offset, (), [note]))
        elif self.place.task is not None:
            self.place.notes.append(Note(self.address, text, after=room.last))
        else:
            await self._send(text)

    async def _reset(self) -> None:
        door = self._door("reset")
        epoch = await commands.clear(self.room, door, self.caller, self.agent)
        if self.place is not None:  # what is said next is said in the new epoch
            with suppress(DatabaseError):  # then it is heard of later
                await self.place.room.catch_up()
        await self._send(dialect.reset_ack(epoch))

    def _choose(self, types: tuple[str, ...] | None) -> None:
        def change() -> None:
            self.types = types

        self._respell(change)

    def _respell(self, change: Any) -> None:
        def respelled() -> None:
            change()
            self.spelling = (self.types, self.address if self.waits else "")

        if self.place is None:
            respelled()
        else:
            self.place.room.respell(self.place, respelled)

    def _begin_task(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._worked(task)

    # -- waiting --------------------------------------------------------------------------------

    def _wait_for(self, command: dialect.Wait, position: int) -> None:
        """Wake the agent by what stands behind ``position``; control wakes always, own events
        never."""
        self._door("observe")
        if len(self.waits) >= self.most_waiting or command.call_id in self.waits:
            raise Refusal(Code.BUSY, "Too many waits, or this callId waits already.")
        waiting = Waiting(self, command, position)

        def change() -> None:
            self.waits[command.call_id] = waiting

        self._respell(change)
        if self.place is not None and position < (last := self.place.room.last):
            waiting.is_looking_back = True
            self._begin_task(self._look_back(waiting, position, last))

    async def _look_back(self, waiting: Waiting, position: int, last: int) -> None:
        """What came while the message waited for its turn."""
        while position < last and (events := await aread(self.room, position)):
            for event in events:
                if event.offset <= last:
                    waiting.find(event)
            position = events[-1].offset
        waiting.looked_back()

    def _look_at(self, event: Event) -> None:
        for waiting in tuple(self.waits.values()):
            waiting.find(event)

    def woken(self, waiting: Waiting, event: Any) -> None:
        """A wait is over: tell it, behind the event."""
        if self.waits.get(waiting.call_id) is not waiting:
            return
        del self.waits[waiting.call_id]
        text = dialect.wake(waiting.call_id, event)
        self.loop.call_soon(self._tell_wake, text)

    def _tell_wake(self, text: str) -> None:
        self._respell(lambda: None)
        if not self.is_gone:
            self.outbox.push(text)

    # -- metrics --------------------------------------------------------------------------------

    def _plan_metrics(self) -> None:
        wait = settings.INCUBATORS.METRICS_EVERY
        self.metrics = self.loop.call_later(wait, self._tell_metrics)

    def _tell_metrics(self) -> None:
        self._begin_task(self._send_metrics())

    async def _send_metrics(self) -> None:
        try:
            data = await metrics_of(self.room)
            if self.outbox.is_idle and not self.is_gone:  # the latest or none, never queued
                self.outbox.push(dialect.metrics(data))
        except DatabaseError:
            pass  # the next ones will come
        finally:
            if not self.is_gone:
                self._plan_metrics()


class Waiting:
    """One ``wait`` of a connection."""

    def __init__(self, connection: BusConnection, command: dialect.Wait, after: int) -> None:
        self.is_looking_back = False
        self._after = after
        self._found: Event | None = None
        self._is_over = False
        self.call_id = command.call_id
        self._connection = connection
        self._types = command.types
        self._timer: asyncio.TimerHandle | None = None
        limits = [ms for ms in (command.delay_ms, command.timeout_ms) if ms is not None]
        if limits:
            self._timer = connection.loop.call_later(min(limits) / 1000, self._time_is_over)

    def find(self, event: Event) -> None:
        """The first event that is wanted; what stands before the message is not."""
        is_first = self._found is None or event.offset < self._found.offset
        if event.offset > self._after and is_first and self._wants(event):
            self._found = event
            if not self.is_looking_back:
                self._wake(event)

    def looked_back(self) -> None:
        self.is_looking_back = False
        if self._found is not None:
            self._wake(self._found)
        elif self._is_over:
            self._time_is_over()

    def _wants(self, event: Event) -> bool:
        if event.type not in {"event", "control"}:
            return False
        payload = orjson.loads(event.payload)
        if event.type == "control":
            return payload.get("target") in {None, self._connection.agent}
        is_own = payload.get("agent_id") == self._connection.agent
        types = self._types
        return types is not None and not is_own and dialect.matches(types, payload["event_type"])

    def _wake(self, event: Event) -> None:
        self.cancel()
        payload = orjson.loads(event.payload)
        self._connection.woken(self, {"id": event.offset, "type": event.type, **payload})

    def _time_is_over(self) -> None:
        self._is_over = True
        if self.is_looking_back:  # what came in time may yet be found
            return
        self._connection.woken(self, None)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


_counts: dict[int, tuple[float, asyncio.Task[dict[str, Any]]]] = {}


async def metrics_of(room: int) -> dict[str, Any]:
    """The metrics of a namespace; asked for once for all connections of the same moment."""
    loop = asyncio.get_running_loop()
    known = _counts.get(room)
    if known is None or loop.time() - known[0] > 1.0 or known[1].get_loop() is not loop:
        task = loop.create_task(room_threads.run(metrics.snapshot, room))
        known = _counts[room] = (loop.time(), task)
    return await asyncio.shield(known[1])


def _given(command: Any) -> dict[str, Any]:
    """A command's fields, for the ledger."""
    return {name: getattr(command, name) for name in command.__slots__}
