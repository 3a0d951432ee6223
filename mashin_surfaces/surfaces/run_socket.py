"""The socket of a run: ``/api/dags/<id>/stream``, from the upgrade to the last row.

snapshot ─► what was missed, or the snapshot in plain messages ─► the log, live
receive ─► dialect.decode ─► runs.commands ─► ack, or error

What a run does is ``runs/``'s business; what its messages look like, the dialect's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import orjson
from django.db import DatabaseError

from ..conf import settings
from ..dialects import dag as dialect
from ..exceptions import Code, Recorded, Refusal
from ..governance.door import Door
from ..governance.errors import TABLE
from ..governance.govern import Caller, admit, note
from ..identity.principal import Principal
from ..machines.json_values import dumps
from ..rooms.appending import RoomIsGone
from ..rooms.events import Event
from ..rooms.hub import hub
from ..rooms.live import Joined, Place
from ..rooms.log import room_threads
from ..runs import commands, store
from ..runs.doors import run_door
from ..runs.models import Run
from ..runs.snapshot import Snapshot, take
from ..runs.states import OVER
from .connection import Connection, Frame, Message, Receive, Send
from .database import in_database
from .entrance import Find, enter_socket, must_admit
from .routes import Route, routes

_PATH = re.compile(r"/([^/]+)/stream")


def run_of(path: str) -> str | None:
    """The run (or machine) whose socket is at this path, None when none can be."""
    prefix = settings.RUNS.PREFIX
    if not path.startswith(prefix):
        return None
    found = _PATH.fullmatch(path[len(prefix) :])
    return None if found is None else found[1]


class RunRoute(Route):
    """Where one socket of a run belongs, as long as it lives."""

    def __init__(self, run: Run) -> None:
        path = f"{settings.RUNS.PREFIX}/{run.pk}/stream"
        super().__init__("websocket", path, run_door("view", run.machine, run.pk))


async def serve_run(key: str, scope: Message, receive: Receive, send: Send) -> None:
    """One connection attempt to a run, or to the newest run of a machine."""
    if (await receive())["type"] != "websocket.connect":
        return

    async def find(principal: Principal) -> tuple[Run, Route]:
        run = await in_database(store.find, key)  # 404 before 403
        must_admit(run_door("view", run.machine, run.pk), principal)
        return run, RunRoute(run)

    await _serve(run_door("view"), find, scope, receive, send)


async def serve_machine_runs(
    route: Route, door: Door, scope: Message, receive: Receive, send: Send
) -> None:
    """One connection attempt to a machine's runs, at a websocket of the machine's own: to the
    newest, or to ``?run=<id>``. "websocket.connect" was received."""
    wanted = _query(scope, "run")

    async def find(principal: Principal) -> tuple[Run, Route]:
        must_admit(door, principal)
        return await in_database(store.find_of, door.name, wanted), route

    await _serve(door, find, scope, receive, send)


async def _serve(door: Door, find: Find[Run], scope: Message, receive: Receive, send: Send) -> None:
    entered = await enter_socket(door, find, scope, send)
    if entered is None:
        return
    run, (route, door, caller) = entered
    if isinstance(route, RunRoute):
        routes.besides.add(route)
    connection = RunConnection(scope, receive, send, route, caller, door, run)
    try:
        await connection.live()
    finally:
        routes.besides.discard(route)


class Telling:
    """How a run's log is told; one for all who follow the run in this process, so that each entry
    is put together once. ``is_over``: as far as it was told."""

    def __init__(self) -> None:
        self.is_over = False
        self._offset = 0

    def encode(self, event: Event) -> str:
        if event.type == "run_state":
            self.heard(orjson.loads(event.payload)["status"], event.offset)
        return dialect.entry(event.type, event.payload, event.offset, event.at.isoformat())

    def heard(self, status: str, offset: int) -> None:
        """The run's status, as it was at an offset; replays tell old ones."""
        if offset >= self._offset:
            self._offset, self.is_over = offset, status in OVER


_tellings: WeakValueDictionary[int, Telling] = WeakValueDictionary()


class RunConnection(Connection):
    """A socket that speaks the run dialect; also the room's member (``rooms.live.Member``)."""

    names: Sequence[str] = ()
    merge: Callable[[Sequence[Event]], Sequence[Event]] | None = None

    def __init__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
        route: Route,
        caller: Caller,
        door: Door,
        run: Run,
    ) -> None:
        super().__init__(scope, receive, send, route, caller, door)
        self.is_ordered = False
        self.run, self.room = run, run.room_id
        self.telling = _tellings.setdefault(run.room_id, Telling())
        self.place: Place | None = None
        self.is_welcome = False
        self.since = _offset(_query(scope, "since"))
        self.epoch = _query(scope, "epoch")
        self.is_plain = self.since is None
        self.beginning: asyncio.Task[None] | None = None

    # -- its room -------------------------------------------------------------------------------

    @property
    def spelling(self) -> Telling:
        return self.telling

    def encode(self, event: Event) -> str:
        return self.telling.encode(event)

    def may_replay(self) -> bool:
        return self.door.admits(self.caller.principal)

    def was_reset(self, epoch: str, offset: int) -> None:
        self._leave()
        self.since = self.epoch = None
        self._begin()

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        if is_gone:
            self.end(4404, Refusal(Code.NOT_FOUND, "This run is gone."))
        else:
            self.end(4408, reason=reason)

    async def live(self) -> None:
        self._begin()
        await super().live()

    def _begin(self) -> None:
        """Have the run told from its snapshot on; what is answered stands behind that."""
        if self.is_gone:  # a worker may come here after the end
            return
        before = self.beginning
        if before is not None:
            before.cancel()
        self.beginning = self.loop.create_task(self._tell())
        self.workers.add(self.beginning)
        self.beginning.add_done_callback(self._worked)

    async def _tell(self) -> None:
        try:
            while self.place is None:
                snapshot = await room_threads.run(take, self.run.pk)
                if snapshot is None:
                    raise RoomIsGone()
                since = await self._tell_snapshot(snapshot)
                self.is_welcome = False
                place = await hub().join(
                    self.room, self, self._welcome, since=since, epoch=snapshot.head.epoch
                )
                if self.is_welcome:
                    self.place = place
                else:  # it was reset, or trimmed, in between
                    hub().leave(place)
                    self.since = None
        except RoomIsGone:
            self.was_closed("", is_gone=True)
        except (DatabaseError, LookupError):
            self.end(1011, reason="The run can't be read now: connect again.")

    def _welcome(self, joined: Joined) -> None:
        self.is_welcome = joined.recovered

    async def _tell_snapshot(self, snapshot: Snapshot) -> int:
        """Say how the run stands; after which offset its log goes on."""
        head, view = snapshot.head, snapshot.view
        self.telling.heard(view["run"]["status"], head.head)
        is_known = self.epoch in {None, head.epoch}
        since = self.since if is_known else None
        is_recovered = since is not None and head.floor <= since <= head.head
        at = datetime.now(UTC).isoformat()
        text = dumps(view).decode()
        await self._send(
            dialect.snapshot(
                text, offset=head.head, epoch=head.epoch, recovered=is_recovered, at=at
            )
        )
        if self.is_plain:
            for message in dialect.plain(orjson.loads(text), offset=head.head, at=at):
                await self._send(message)
        return since if since is not None and is_recovered else head.head

    def _leave(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            hub().leave(place)

    async def _put_away(self) -> None:
        if self.beginning is not None:
            self.beginning.cancel()
        self._leave()

    @property
    def is_following(self) -> bool:
        return not self.telling.is_over

    def _refusal_text(self, refusal: Refusal, request_id: str) -> str:
        return dialect.error(refusal)

    def _rights_changed(self) -> None:
        if not self.door.admits(self.caller.principal):
            self.end(4403, Refusal(Code.FORBIDDEN, self.door.wants))

    # -- one frame ------------------------------------------------------------------------------

    async def _answer(self, frame: Frame, is_busy: bool) -> None:
        self.messages += 1
        if self.beginning is not None:
            await asyncio.wait([self.beginning])
        command: dialect.Command | None = None
        try:
            self._check_size(frame, is_busy)
            command = dialect.decode(frame)
            await self._carry_out(command)
        except Recorded as refusal:
            await self._refuse(refusal, frame, command)
        except Refusal as caught:
            answer = await note(self.door, self.caller, event="message", refusal=caught, raw=frame)
            await self._refuse(answer.refusal or caught, frame, command)

    async def _refuse(
        self, refusal: Refusal, frame: Frame, command: dialect.Command | None
    ) -> None:
        self.refusals += 1
        ref = dialect.ref_of(frame) if command is None else getattr(command, "ref", None)
        node_id = getattr(command, "node_id", None)
        await self._send(dialect.error(refusal, node_id=node_id, ref=ref))
        if refusal.code is Code.UNAUTHENTICATED:
            self.end(TABLE[refusal.code].close)

    async def _carry_out(self, command: dialect.Command) -> None:
        """Do it, and say that it is done."""
        run, caller = self.run, self.caller
        # What changes the run has a door of its own; a machine's websocket counts it, too.
        is_command = not isinstance(command, dialect.Ping | dialect.Resync | dialect.Authenticate)
        if not (is_command and isinstance(self.route, RunRoute)):
            admit(self.door, caller.principal)
        match command:
            case dialect.Ping():
                await self._send(dialect.pong())
                return
            case dialect.Resync():
                self._leave()
                self.since, self.epoch, self.is_plain = command.since, command.epoch, False
                self._begin()
                return
            case dialect.Authenticate():
                await self._authenticate(command.token)
            case dialect.HumanDecision():
                await commands.adecide(run, choice_of(command), caller)
            case dialect.Pause():
                await commands.acontrol(run, "pause", caller)
            case dialect.Resume():
                await commands.acontrol(run, "resume", caller)
            case dialect.Cancel():
                await commands.acontrol(run, "cancel", caller)
            case dialect.MutateDag():
                await commands.amutate(run, command.mutation, command.topology_version, caller)
        await self._send(dialect.ack(command.ref))


def choice_of(decision: dialect.HumanDecision) -> commands.Choice:
    """A decision of the wire as the runs take it."""
    return commands.Choice(
        decision.decision,
        node_id=decision.node_id,
        gate_id=decision.gate_id,
        revision=decision.revision,
        option_id=decision.option_id,
        scope=decision.scope,
        feedback=decision.feedback,
        ref=decision.ref,
    )


def _query(scope: Message, name: str) -> str | None:
    found = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name)
    return found[0] if found else None


def _offset(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 19):
        return None
    return int(text)
