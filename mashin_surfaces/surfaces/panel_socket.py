"""The socket of a panel: ``/panels/<id>/ws``, from the upgrade to the last row.

receive ─► waiting ─► dialect.decode ─► runner ─► transaction ─► PATCH, EVENT, RESULT ─► outbox

PING is answered past everything that waits. What a tool does is ``panels/``'s business.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import orjson
from django.db import DatabaseError

from ..commit import CommitFailed
from ..conf import settings
from ..dialects import panel as dialect
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Caller, admit, note
from ..identity.principal import Principal
from ..ledger.chain import new_id
from ..machines.json_values import MAX_DEPTH, is_too_deep
from ..machines.schemas import dumps
from ..panels import store, suspensions
from ..panels.doors import panel_door
from ..panels.models import Panel
from ..panels.runner import EVERYBODY, Job, Outcome, runner_of
from ..rooms import presence
from ..rooms.appending import RoomIsGone
from ..rooms.events import Event, RoomHead
from ..rooms.hub import hub
from ..rooms.live import Joined, Place
from ..rooms.log import database, room_threads
from .connection import Connection, Frame, Message, Receive, Send
from .database import in_database
from .entrance import Find, enter_socket, must_admit
from .routes import Route, routes

Merge = Callable[[Sequence[Event]], Sequence[Event]]

_PATH = re.compile(r"/panels/([^/]+)/ws")


def panel_of(path: str) -> str | None:
    """The id of the panel whose socket is at this path, None when none can be."""
    prefix = settings.PANELS.PREFIX
    if not path.startswith(prefix):
        return None
    found = _PATH.fullmatch(path[len(prefix) :])
    return None if found is None else found[1]


class PanelRoute(Route):
    """Where one socket of a panel belongs, as long as it lives."""

    def __init__(self, key: str, machine: str) -> None:
        path = f"{settings.PANELS.PREFIX}/panels/{key}/ws"
        super().__init__("websocket", path, panel_door("read", key, machine))


async def serve_panel(key: str, scope: Message, receive: Receive, send: Send) -> None:
    """One connection attempt to a panel."""
    if (await receive())["type"] != "websocket.connect":
        return
    door = panel_door("read", key)

    async def find(principal: Principal) -> tuple[Panel, Route]:
        panel = await in_database(store.find, key)  # 404 before 403
        must_admit(door, principal)
        await _check_room_for_one_more(panel)
        return panel, PanelRoute(key, panel.machine)

    await _serve(door, find, scope, receive, send)


async def serve_machine(
    route: Route, door: Door, scope: Message, receive: Receive, send: Send
) -> None:
    """One connection attempt to a machine's panel, at a websocket of the machine's own.

    Who may come in here, by the surface's auth and scopes, reads and triggers. "websocket.connect"
    was received.
    """

    async def find(principal: Principal) -> tuple[Panel, Route]:
        must_admit(door, principal)
        panel = await in_database(store.panel_of, door.name, door.machine.compiled.title)
        await _check_room_for_one_more(panel)
        return panel, route

    await _serve(door, find, scope, receive, send)


async def _serve(
    door: Door, find: Find[Panel], scope: Message, receive: Receive, send: Send
) -> None:
    entered = await enter_socket(door, find, scope, send)
    if entered is None:
        return
    panel, (route, door, caller) = entered
    if isinstance(route, PanelRoute):
        routes.besides.add(route)
    connection = PanelConnection(scope, receive, send, route, caller, door, panel)
    try:
        await connection.live()
    finally:
        routes.besides.discard(route)


async def _check_room_for_one_more(panel: Panel) -> None:
    if await in_database(presence.count, panel.pk) >= settings.PANELS.MAX_MEMBERS:
        raise Refusal(Code.BUSY, "This panel has too many members.", retry_after=10)


class PanelConnection(Connection):
    """A socket that speaks the panel dialect; also the room's member (``rooms.live.Member``)."""

    def __init__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        route: Route,
        caller: Caller,
        door: Door,
        panel: Panel,
    ) -> None:
        super().__init__(scope, receive, send, route, caller, door)
        self.is_ordered = False
        self.room, self.key, self.machine = panel.pk, panel.room.key, panel.machine
        self.panel = panel
        self.address = new_id()
        self.names: Sequence[str] = (self.address, caller.principal.name, EVERYBODY)
        self.place: Place | None = None
        self.is_welcome = False
        self.subscribed = dialect.Topics()
        self.most_waiting = settings.PANELS.MAX_WAITING
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        self.since = _offset(query.get("since", [""])[0])
        self.epoch = query.get("epoch", [None])[0]
        self.is_version_2 = query.get("v", [""])[0] == "2"
        self.merge: Merge | None = _merged if settings.PANELS.SLOW == "coalesce" else None
        self.triggering: set[asyncio.Task[None]] = set()

    # -- its room -------------------------------------------------------------------------------

    @property
    def spelling(self) -> dialect.Topics:
        return self.subscribed

    def encode(self, event: Event) -> str | None:
        return self.subscribed.encode(
            event.type, event.payload, event.offset, event.request_id, event.actor
        )

    def may_replay(self) -> bool:
        return self.door.admits(self.caller.principal)

    def was_reset(self, epoch: str, offset: int) -> None:
        joining = self.loop.create_task(self._tell_again())
        self.workers.add(joining)
        joining.add_done_callback(self._worked)

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        if is_gone:
            self.end(1000, reason="Panel destroyed")
        else:
            self.end(4408, reason=reason)

    async def live(self) -> None:
        try:
            await self._begin()
        except BaseException:
            await self._put_away()
            raise
        await super().live()

    async def _begin(self) -> None:
        """Join the room, and say CONNECTED first."""
        try:
            await presence.enter(self.room, self.address, self.caller.principal.name)
            while self.place is None:
                facts = await room_threads.run(_facts, self.room)
                wanted = facts.recovered(self.since, self.epoch)
                place = await hub().join(
                    self.room,
                    self,
                    lambda joined, facts=facts: self._welcome(facts, joined),  # type: ignore[misc]
                    since=facts.head.head if wanted is None else wanted,
                    epoch=facts.head.epoch,
                )
                if self.is_welcome:
                    self.place = place
                else:  # it was reset in between
                    hub().leave(place)
        except (DatabaseError, CommitFailed, LookupError, RoomIsGone):
            self.end(1011, reason="The panel can't be read now: connect again.")

    def _welcome(self, facts: Facts, joined: Joined) -> None:
        self.is_welcome = joined.recovered
        if self.is_welcome:
            recovered = facts.recovered(self.since, self.epoch) is not None
            self._tell_facts(facts, joined.offset, recovered=recovered)

    def _tell_facts(self, facts: Facts, offset: int, *, recovered: bool) -> None:
        text = dialect.connected(
            self.key,
            facts.state,
            offset=offset,
            epoch=facts.head.epoch,
            tools=facts.tools,
            status=facts.status,
            recovered=recovered,
        )
        self.outbox.push(text)

    async def _tell_again(self) -> None:
        """The panel was reset: it begins anew, and so does this connection's view of it."""
        place, self.place = self.place, None
        self.since = self.epoch = None
        if place is not None:
            hub().leave(place)
            await self._begin()

    async def _put_away(self) -> None:
        if self.place is not None:
            hub().leave(self.place)
        await presence.leave(self.room, self.address)

    @property
    def is_following(self) -> bool:
        return self.subscribed != dialect.Topics().without(("state", "events"))

    def _refusal_text(self, refusal: Refusal, request_id: str) -> str:
        return dialect.error(refusal, None)

    def _rights_changed(self) -> None:
        if not self.door.admits(self.caller.principal):
            self.end(4403, Refusal(Code.FORBIDDEN, self.door.wants))

    @property
    def trigger_door(self) -> Door:
        """What it takes to trigger: the scope of its own, or to be let in at the machine's door."""
        door = panel_door("trigger", self.key, self.machine)
        if isinstance(self.route, PanelRoute):
            return door
        return replace(door, wanted=self.door.wanted, rate=self.door.rate or door.rate)

    # -- one frame ------------------------------------------------------------------------------

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        self.messages += 1
        request_id: str | None = None
        verb = "trigger"
        try:
            if is_busy:
                raise Refusal(Code.BUSY, "Too many messages wait here.", retry_after=1)
            self._check_size(frame, is_busy)
            command = dialect.decode(frame)
            _check_depth(frame, command)
            if isinstance(command, dialect.Trigger):
                request_id = command.request_id
                self._trigger(command)
            elif isinstance(command, dialect.Ping):
                await self._send(dialect.pong(self._offset()))
            elif isinstance(command, dialect.Resume):
                verb = "resume"
                await self._resume(command)
            elif isinstance(command, dialect.Cancel):
                request_id = command.request_id
                await self._cancel(command)
            else:
                await self._choose(command)
        except Refusal as refusal:
            if request_id is None:
                request_id = dialect.request_id_of(frame)
            answer = await note(
                self.trigger_door,
                self.caller,
                event=verb,
                refusal=refusal,
                raw=frame,
                request_id=request_id,
            )
            await self._refuse(answer.refusal or refusal, request_id)

    def _offset(self) -> int:
        return 0 if self.place is None else self.place.room.last

    async def _refuse(self, refusal: Refusal, request_id: str | None) -> None:
        self.refusals += 1
        await self._send(dialect.error(refusal, request_id))
        if refusal.code is Code.UNAUTHENTICATED:
            self.end(TABLE[refusal.code].close)

    def _trigger(self, command: dialect.Trigger) -> None:
        """Have the tool run in its turn; frames that follow need not wait for it."""
        admit(self.trigger_door, self.caller.principal)
        if len(self.triggering) >= self.most_waiting:
            raise Refusal(Code.BUSY, "Too many triggers of this connection wait.", retry_after=1)
        job = Job(
            tool=command.tool,
            args=command.args,
            caller=self.caller,
            request_id=command.request_id or "",
            address=self.address,
            expect=command.expect,
        )
        runner_of(self.room, self.key).put(job)
        waiting = self.loop.create_task(self._await(job))
        self.triggering.add(waiting)
        waiting.add_done_callback(self._triggered)

    def _triggered(self, waiting: asyncio.Task[None]) -> None:
        self.triggering.discard(waiting)
        self._worked(waiting)

    async def _await(self, job: Job) -> None:
        """What does not come behind the trigger's events is sent here."""
        outcome: Outcome = await job.outcome
        id = job.request_id or None
        if outcome.result is None:
            if outcome.refusal is not None:
                if not outcome.access_id:  # nobody recorded it: it was not begun
                    door, refusal = self.trigger_door, outcome.refusal
                    await note(door, self.caller, event="trigger", refusal=refusal, request_id=id)
                await self._refuse(outcome.refusal, id)
        elif not outcome.is_told:
            if outcome.refusal is not None:  # cancelled while it waited: nobody recorded it
                door = self.trigger_door
                await note(door, self.caller, event="trigger", refusal=outcome.refusal)
            await self._send(dialect.result(id, orjson.dumps(outcome.result).decode()))

    async def _resume(self, command: dialect.Resume) -> None:
        door = panel_door("resume", self.key, self.machine)
        admit(door, self.caller.principal)
        await in_database(
            suspensions.answer,
            self.room,
            command.suspension_id,
            self.caller.principal.name,
            command.value,
            command.error,
        )
        answer = await note(
            door, self.caller, event="resume", raw=orjson.dumps({"id": command.suspension_id})
        )
        runner_of(self.room, self.key).wake()
        if answer.refusal is not None:
            await self._refuse(answer.refusal, None)

    async def _cancel(self, command: dialect.Cancel) -> None:
        admit(self.trigger_door, self.caller.principal)
        runner, name = runner_of(self.room, self.key), self.caller.principal.name
        if runner.cancel(name, command.request_id):
            return
        if not await in_database(suspensions.cancel, self.room, name, command.request_id):
            raise Refusal(
                Code.CONFLICT, f'Nothing of yours with the requestId "{command.request_id}" runs.'
            )
        runner.wake()

    async def _choose(self, command: dialect.Subscribe | dialect.Unsubscribe) -> None:
        """Other topics from now on."""

        def change() -> None:
            if isinstance(command, dialect.Subscribe):
                self.subscribed = self.subscribed.with_(command.topics)
            else:
                self.subscribed = self.subscribed.without(command.topics)

        if self.place is None:
            change()
        else:
            self.place.room.respell(self.place, change)
        if self.is_version_2:
            await self._send(dialect.subscribed(self.subscribed.sorted()))
        self._tick()


@dataclass(frozen=True, slots=True)
class Facts:
    """What CONNECTED says, as it was at one moment. ``state``: JSON text."""

    head: RoomHead
    state: str
    tools: list[str]
    status: str

    def recovered(self, since: int | None, epoch: str | None) -> int | None:
        """``since``, when everything behind it is there; else None."""
        if since is None or epoch not in (None, self.head.epoch):
            return None
        return since if self.head.floor <= since <= self.head.head else None


def _facts(room: int) -> Facts:
    panel = Panel.objects.using(database()).select_related("room").filter(pk=room).first()
    if panel is None:
        raise RoomIsGone()
    row = panel.room
    head = RoomHead(
        row.pk, row.kind, row.key, row.machine, row.epoch, row.floor, row.head, row.status
    )
    status = store.status_of(store.open_suspensions(room))
    return Facts(head, dumps(row.state).decode(), list(store.tools_of(panel)), status)


def _offset(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _check_depth(frame: Frame, command: dialect.Command) -> None:
    """Refuse what no state, log or answer could hold (invalid_json)."""
    if len(frame) > 2 * MAX_DEPTH:
        value = getattr(command, "args", None) or getattr(command, "value", None)
        if is_too_deep(value):
            raise Refusal(Code.INVALID_JSON, f"The JSON is nested deeper than {MAX_DEPTH} levels.")


def _merged(events: Sequence[Event]) -> Sequence[Event]:
    """Patches that follow each other as one, which stands where the last of them does."""
    found: list[Event] = []
    run: list[Event] = []
    for event in events:
        if event.type == "PATCH":
            run.append(event)
            continue
        found += _one(run)
        run = []
        found.append(event)
    return [*found, *_one(run)]


def _one(patches: list[Event]) -> list[Event]:
    if len(patches) < 2:
        return patches
    payload = dialect.merged([patch.payload for patch in patches])
    return [patches[-1]._replace(payload=payload, request_id="", actor="")]
