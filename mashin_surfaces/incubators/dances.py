"""Tool calls of a namespace ("dances"): one after the other, in one process at a time.

call ─► queue ─► the namespace's lease ─► run on the state as committed ─► one transaction

What a tool stages, its access row and its remembered answer are committed together, before the
answer goes out; a tool that fails has done nothing. Signature and context are those of panels.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic, perf_counter_ns
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from django.db import DatabaseError
from django.db.models import F

from ..commit import CommitFailed
from ..conf import settings
from ..dialects.incubator import Control
from ..exceptions import Code, Refusal
from ..governance.govern import access_row, note
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.record import companions
from ..machines.json_values import dumps
from ..machines.registry import registry
from ..panels.context import Context
from ..panels.definition import PanelTool, judged, of_machine
from ..panels.execution import Execution, execute
from ..rooms.appending import Append, RoomIsGone
from ..rooms.log import aput, database, room_threads
from ..rooms.models import Room
from ..steps.spending import Charge, collecting
from ..timers.holding import Holding
from . import store
from .bus import STOPPED, Actor, Writer, remember, remembered
from .doors import bus_door
from .models import Claim, Incubator

logger = logging.getLogger(__name__)

LEASE = "incubator"
#: The word for what a reset took away.
RESET = "reset"
#: Seconds that a process works on a namespace before another one may, and keeps an idle one.
TURN = 0.1
LINGER = 0.05
RETRY = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """``text``: the result as JSON. What it did stands in the log up to ``offset`` of ``epoch``;
    0 when it did nothing."""

    text: str
    is_failure: bool = False
    offset: int = 0
    epoch: str = ""


@dataclass(slots=True, eq=False)
class Call:
    """A tool to run. ``epoch``: the one in which it was asked for; in another it is not run."""

    tool: str
    args: dict[str, Any]
    actor: Actor
    call_id: str
    epoch: str
    answer: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class BusContext(Context):
    """The first argument of a tool in an incubator: that of panels, and claims.

    ``bus`` is another name for it: ``ctx.bus.publish``, ``claim``, ``release``, ``set_state``.
    """

    def __init__(self, call: Call, state: dict[str, Any], claims: dict[str, str]) -> None:
        super().__init__(
            state,
            args=call.args,
            principal=call.actor.caller.principal,
            capabilities=None,
            answers=[],
            committed=state,
            tell=lambda status, data: None,
        )
        self.agent = call.actor.agent
        self.role = call.actor.role
        self.bus = self
        self.staged: list[tuple[str, str, int | None]] = []
        self._claims = claims

    def publish(self, event: str, data: Any = None) -> None:
        """An event for everybody."""
        self.emit(event, {} if data is None else data)

    def set_state(self, key: str, value: Any) -> None:
        self.state[key] = value

    def claim(self, resource: str, ttl_ms: int | None = None) -> bool:  # type: ignore[override]
        """Whether the agent has the resource once this call is committed."""
        owner = self._claims.get(resource)
        if owner is not None and owner != self.agent:
            return False
        self._claims[resource] = self.agent or ""
        self.staged.append(("claim", resource, ttl_ms))
        return True

    def release(self, resource: str) -> bool:  # type: ignore[override]
        """Whether it was the agent's."""
        if self._claims.get(resource) != self.agent:
            return False
        del self._claims[resource]
        self.staged.append(("release", resource, None))
        return True


class Dances:
    """One namespace's calls in this process."""

    def __init__(self, room: int, namespace: str) -> None:
        self.room = room
        self.namespace = namespace
        self._calls: deque[Call] = deque()
        self._came = asyncio.Event()
        self._holding = Holding(LEASE, str(room))
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return not self._calls and (self._task is None or self._task.done())

    async def call(self, call: Call) -> Answer:
        """The result, once what the tool did is committed."""
        self._calls.append(call)
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await asyncio.shield(call.answer)

    def discard(self) -> None:
        """The namespace was reset: what waits is not run any more."""
        while self._calls:
            self._settle(self._calls.popleft(), _was_reset())

    async def _run(self) -> None:
        patience = monotonic() + settings.INCUBATORS.TIMEOUT + settings.LEDGER.WAIT
        while self._calls:
            if not await self._holding.take():
                if monotonic() > patience:
                    while self._calls:
                        refusal = Refusal(Code.BUSY, "This bus is busy.", retry_after=1)
                        self._settle(self._calls.popleft(), refusal)
                    return
                await asyncio.sleep(RETRY)
                continue
            patience = monotonic() + settings.INCUBATORS.TIMEOUT + settings.LEDGER.WAIT
            try:
                await self._take_turn()
            finally:
                await self._holding.give_up()
            await asyncio.sleep(RETRY)  # others may want it

    async def _take_turn(self) -> None:
        end = monotonic() + TURN
        while self._holding.is_held and monotonic() < end:
            if not self._calls:
                self._came.clear()
                try:
                    async with asyncio.timeout(LINGER):
                        await self._came.wait()
                except TimeoutError:
                    return
            call = self._calls.popleft()
            try:
                await self._do(call)
            except Refusal as refusal:
                await self._refuse(call, refusal)
            except (DatabaseError, CommitFailed) as error:
                logger.warning("A call of the bus %r is not committed: %s", self.namespace, error)
                message = "It can't be committed now; try again."
                self._settle(call, Refusal(Code.LEDGER_UNAVAILABLE, message, retry_after=1))
            except RoomIsGone:
                self._settle(call, Refusal(Code.NOT_FOUND, "This namespace is gone."))
            except Exception:
                logger.exception("A call of the bus %r can't be carried out", self.namespace)
                message = f'The tool "{call.tool}" could not be run.'
                await self._refuse(call, Refusal(Code.EXECUTION_FAILED, message))

    async def _refuse(self, call: Call, refusal: Refusal) -> None:
        door = bus_door("act", self.namespace)
        raw = dumps({"tool": call.tool})
        answer = await note(door, call.actor.caller, event="message", refusal=refusal, raw=raw)
        self._settle(call, answer.refusal or refusal)

    @staticmethod
    def _settle(call: Call, refusal: Refusal) -> None:
        if not call.answer.done():
            call.answer.set_result(Answer(dumps(failure(refusal)).decode(), is_failure=True))

    # -- one call -------------------------------------------------------------------------------

    async def _do(self, call: Call) -> None:
        scene = await room_threads.run(_scene, self.room)
        name = call.actor.caller.principal.name
        stored = await room_threads.run(remembered, self.room, name, call.call_id)
        if stored is not None:
            if not call.answer.done():
                call.answer.set_result(scene.answer(stored))
            return
        if scene.epoch != call.epoch:
            raise _was_reset()
        may_control = call.actor.caller.principal.holds(f"bus:control:{self.namespace}")
        if scene.status in STOPPED and not may_control:
            raise Refusal(Code.CONFLICT, f"This bus is {scene.status}.", subject=scene.status)
        tool = scene.tools.get(call.tool)
        if tool is None:
            raise Refusal(Code.NOT_FOUND, f'There is no tool "{call.tool}".', subject="tool")
        call.args = tool.check(call.args)
        context = BusContext(call, scene.state, scene.claims)
        began = perf_counter_ns()
        with collecting() as charges:
            execution = await execute(tool, context, call.actor.caller)
        try:
            await self._commit(call, scene, context, execution, charges, began)
        except Refusal as refusal:
            # What it did can't be done any more; what it cost is spent all the same.
            if refusal.subject == RESET:
                raise
            failed = Execution("error", error={"message": refusal.message}, code=refusal.code)
            await self._commit(call, scene, context, failed, charges, began, refusal)

    async def _commit(
        self,
        call: Call,
        scene: _Scene,
        context: BusContext,
        execution: Execution,
        charges: list[Charge],
        began: int,
        refusal: Refusal | None = None,
    ) -> None:
        result: Any = execution.value
        if refusal is not None:
            result = failure(refusal)
        elif execution.status != "success":
            error = execution.error or {"message": "A tool of a bus can't suspend."}
            refusal = Refusal(execution.code or Code.EXECUTION_FAILED, error["message"])
            result = failure(refusal)
        text = dumps(result).decode()
        writer = Writer(self.room, call.actor.agent)
        may_control = call.actor.caller.principal.holds(f"bus:control:{self.namespace}")
        is_done = refusal is None

        def also() -> None:
            if (
                Room.objects.using(database()).values_list("epoch", flat=True).get(pk=self.room)
                != scene.epoch
            ):
                raise _was_reset()
            if is_done:
                _stage(writer, execution, context)
            _book(self.room, charges)
            _warn(writer, scene)
            name = call.actor.caller.principal.name
            remember(self.room, name, call.call_id, call.tool, text)
            item.status = writer.status

        despite = () if is_done and not may_control else STOPPED
        item = Append(self.room, writer.events, also=also, despite=despite)
        door = bus_door("act", self.namespace, scene.machine)

        def row() -> Access | None:
            if item.problem is not None:
                return None
            given = {"tool": call.tool, "args": call.args}
            caller = call.actor.caller
            return access_row(door, caller, "message", new_id(), began, given, {}, refusal)

        appended = await aput(item, *companions(database(), row))
        if not call.answer.done():
            answer = Answer(text, refusal is not None, appended.last, appended.epoch)
            call.answer.set_result(answer)


def _was_reset() -> Refusal:
    return Refusal(Code.CONFLICT, "The bus was reset.", subject=RESET)


def failure(refusal: Refusal) -> dict[str, str]:
    """The result of a tool that failed."""
    return {"error": refusal.message, "code": refusal.subject or refusal.code.value}


@dataclass(frozen=True, slots=True)
class _Scene:
    """The namespace as a tool sees it."""

    status: str
    epoch: str
    machine: str
    state: dict[str, Any]
    claims: dict[str, str]
    tools: dict[str, PanelTool]
    head: int

    def answer(self, text: str) -> Answer:
        """What was answered before."""
        result = orjson.loads(text)
        is_failure = isinstance(result, dict) and result.keys() == {"error", "code"}
        return Answer(text, is_failure, self.head, self.epoch)


def _scene(room: int) -> _Scene:
    facts = store.facts(room)
    machine = Incubator.objects.using(database()).values_list("machine", flat=True).get(pk=room)
    now = datetime.now(UTC)
    rows = Claim.objects.using(database()).filter(room=room).exclude(owner="")
    claims = {
        resource: owner
        for resource, owner, expires_at in rows.values_list("resource", "owner", "expires_at")
        if expires_at is None or expires_at > now
    }
    tools = tools_of(machine)
    return _Scene(facts.status, facts.epoch, machine, facts.state, claims, tools, facts.head)


def tools_of(machine: str) -> dict[str, PanelTool]:
    """The tools of a machine by name; none when it is gone."""
    compiled = registry.snapshot.machines.get(machine)
    if compiled is None or not compiled.enabled:
        return {}
    definitions = judged(of_machine(compiled.definition.tools), None)
    return {definition.name: PanelTool(definition) for definition in definitions}


def _stage(writer: Writer, execution: Execution, context: BusContext) -> None:
    """What the tool did, in the log and in the rows."""
    for mutation in execution.mutations:
        key = mutation["key"]
        if key.startswith("/"):  # spelled as a JSON Pointer
            key = key[1:].replace("~1", "/").replace("~0", "~")
        if mutation["op"] == "set":
            writer.set_state(key, mutation["value"])
        else:
            writer.delete_state(key)
    for event in execution.events:
        writer.publish(event["name"], event["payload"])
    for verb, resource, ttl_ms in context.staged:
        if verb == "claim":
            writer.claim(resource, ttl_ms)
        else:
            writer.release(resource)


def _book(room: int, charges: list[Charge]) -> None:
    if charges:
        Incubator.objects.using(database()).filter(pk=room).update(
            tokens=F("tokens") + sum(each.input_tokens + each.output_tokens for each in charges),
            cost=F("cost") + sum((each.amount for each in charges), Decimal(0)),
        )


def _warn(writer: Writer, scene: _Scene) -> None:
    """Tell that the budget is nearly used, and stop the bus when it is."""
    compiled = registry.snapshot.machines.get(scene.machine)
    if compiled is None:
        return
    limits = compiled.definition.ensures.limits
    if limits.max_cost is None and limits.max_tokens is None:
        return
    row = Incubator.objects.using(database()).select_related("room").get(pk=writer.room)
    used: dict[str, Any] = {}
    is_near = is_over = False
    share = Decimal(str(limits.warn_at if limits.warn_at is not None else 0.8))
    if limits.max_cost is not None:
        most = Decimal(str(limits.max_cost))
        used |= {"cost": row.cost, "max_cost": most}
        is_near = row.cost >= (most * share if share <= 1 else share)
        is_over = row.cost >= most
    if limits.max_tokens is not None:
        used |= {"tokens": row.tokens, "max_tokens": limits.max_tokens}
        is_near |= row.tokens >= limits.max_tokens * min(share, Decimal(1))
        is_over |= row.tokens >= limits.max_tokens
    if is_near and not row.is_warned:
        Incubator.objects.using(database()).filter(pk=writer.room).update(is_warned=True)
        writer.publish("budget.warning", used)
    if is_over and row.room.status != Room.Status.HALTED:
        writer.control(Control("halt", "Budget exceeded"), by="budget")


_dances: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Dances]] = WeakKeyDictionary()
#: Namespaces that are kept while nobody calls.
MOST_IDLE = 1_000


def dances_of(room: int, namespace: str) -> Dances:
    """The calls of a namespace on this loop."""
    known = _dances.setdefault(asyncio.get_running_loop(), {})
    found = known.get(room)
    if found is None:
        if len(known) >= MOST_IDLE:
            for id in [id for id, each in known.items() if each.is_idle]:
                del known[id]
        found = known[room] = Dances(room, namespace)
    return found
