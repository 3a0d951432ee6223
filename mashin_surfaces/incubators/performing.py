"""One call of a tool: looked at, admitted, run, committed.

Admitted is what would run beside others, or spend: in a transaction of its own it gets its share
of the budget, and a row that says that it runs. What it stages, what it cost, its access row and
its remembered answer are one transaction, too; a tool that fails has done nothing, but cost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter_ns
from typing import Any

import orjson
from django.db import DatabaseError, connections
from django.db.models import QuerySet

from ..commit import CommitFailed
from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.govern import access_row
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.record import companions
from ..machines.json_values import dumps
from ..panels.execution import Execution, execute
from ..rooms.appending import Append
from ..rooms.log import aput, database, room_threads
from ..rooms.models import Room
from ..rooms.state import parts_of
from ..steps.spending import Charge, collecting
from ..timers import process
from . import store
from .budget import BUDGET, Budget, NotYet, Reserved, book, in_flight
from .bus import STOPPED, Writer, remember, remembered
from .calls import RESET, Answer, Call, failure, was_reset
from .doors import bus_door
from .models import Incubator, RunningCall
from .tool_context import BusContext
from .tools import BusTool, tools_of

#: Seconds after which a call that waits for others looks again, though nobody here has ended.
LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Scene:
    """The namespace as a tool sees it: everything of one moment."""

    machine: str
    facts: store.Facts
    claims: dict[str, str]
    tools: dict[str, BusTool]

    @classmethod
    def of(cls, room: int) -> Scene:
        facts = store.facts(room)
        machine = Incubator.objects.using(database()).values_list("machine", flat=True).get(pk=room)
        claims = {each["resource"]: each["agent_id"] for each in store.claims(room)}
        return cls(machine, facts, claims, tools_of(machine))

    def answer(self, text: str) -> Answer:
        """What was answered before."""
        result = orjson.loads(text)
        is_failure = isinstance(result, dict) and result.keys() == {"error", "code"}
        return Answer(text, is_failure, self.facts.head, self.facts.epoch)


class Performance:
    """One call in one namespace. ``ended``: set when a call of this process has ended."""

    def __init__(self, room: int, namespace: str, call: Call, ended: asyncio.Event) -> None:
        self.room = room
        self.namespace = namespace
        self.call = call
        self.ended = ended
        self.is_admitted = False

    async def perform(self) -> Answer:
        """Raises ``Refusal`` for what is not run, and what the database raises."""
        patience = monotonic() + settings.INCUBATORS.TIMEOUT + settings.LEDGER.WAIT
        while True:
            scene, text = await room_threads.run(self._look)
            if text is not None:
                return scene.answer(text)
            tool = self._tool(scene)
            try:
                await self._admit(tool, Budget.of(scene.machine))
            except NotYet:
                if monotonic() > patience:
                    message = "Others have reserved what is left of the budget: try again."
                    raise Refusal(Code.BUSY, message, retry_after=1) from None
                await self._others()
                continue
            try:
                return await self._run(tool, scene)
            except (CommitFailed, DatabaseError):
                await self._forget_note()
                raise

    def _look(self) -> tuple[Scene, str | None]:
        """The scene, and what the call was answered when it was made before."""
        # In this order: the scene then holds what the call has done that is remembered.
        text = remembered(self.room, self.call.principal, self.call.call_id)
        return Scene.of(self.room), text

    def _tool(self, scene: Scene) -> BusTool:
        """The tool, once it may be run, and its arguments fit."""
        call, facts = self.call, scene.facts
        if facts.epoch != call.epoch:
            raise was_reset()
        if facts.status in STOPPED and not call.may_control(self.namespace):
            raise Refusal(Code.CONFLICT, f"This bus is {facts.status}.", subject=facts.status)
        tool = scene.tools.get(call.tool)
        if tool is None:
            raise Refusal(Code.NOT_FOUND, f'There is no tool "{call.tool}".', subject="tool")
        call.args = tool.check(call.args)
        return tool

    async def _others(self) -> None:
        """Wait for one of the others to end."""
        self.ended.clear()
        try:
            async with asyncio.timeout(LOOK):
                await self.ended.wait()
        except TimeoutError:
            return

    # -- before it runs -------------------------------------------------------------------------

    async def _admit(self, tool: BusTool, budget: Budget | None) -> None:
        """Say that it runs, and what it may use, where anybody has to know.

        Raises ``NotYet``, and ``Refusal`` when it would go beyond the budget.
        """
        if not tool.is_parallel and budget is None:
            return  # alone by its namespace's lease, and it may spend what it likes
        call = self.call
        writer = Writer(self.room, call.actor.agent)
        reserved: list[Reserved | None] = []

        def also() -> None:
            self.check_epoch()
            same = {"principal": call.principal[:200], "call_id": call.call_id}
            if in_flight(self.room).filter(**same).exists():
                raise NotYet()
            if remembered(self.room, call.principal, call.call_id) is not None:
                raise NotYet()  # it has ended since it was looked for
            share = Reserved() if budget is None else budget.reserve(writer, tool)
            reserved[:] = [share]
            if share is not None:
                self._note(same, share)
            item.status = writer.status

        despite = STOPPED if call.may_control(self.namespace) else ()
        item = Append(self.room, writer.events, also=also, despite=despite)
        await aput(item)
        if reserved == [None]:
            raise Refusal(
                Code.CONFLICT,
                "This bus is halted: the call would go beyond its budget.",
                subject=Room.Status.HALTED.value,
            )
        self.is_admitted = True

    def check_epoch(self) -> None:
        rooms = Room.objects.using(database()).filter(pk=self.room)
        if rooms.values_list("epoch", flat=True).first() != self.call.epoch:
            raise was_reset()

    def _note(self, same: dict[str, Any], share: Reserved) -> None:
        """The row that says that it runs; one of a process that has died is its own again."""
        process.ensure(connections[database()])
        longest = settings.INCUBATORS.TIMEOUT + 2 * settings.LEDGER.WAIT
        RunningCall.objects.using(database()).update_or_create(
            room_id=self.room,
            **same,
            defaults={
                "process_id": process.process_id(),
                "cost": share.cost,
                "tokens": share.tokens,
                "until": datetime.now(UTC) + timedelta(seconds=longest),
            },
        )

    async def _forget_note(self) -> None:
        """It has ended, and could not say so: who makes the call again need not wait for it."""
        if self.is_admitted:
            with suppress(DatabaseError):  # then it runs out
                await room_threads.run(lambda: self.notes().delete())

    def notes(self) -> QuerySet[RunningCall]:
        """The row that says that it runs, as long as it is this process's."""
        return RunningCall.objects.using(database()).filter(
            room=self.room,
            principal=self.call.principal[:200],
            call_id=self.call.call_id,
            process=process.process_id(),
        )

    # -- it runs --------------------------------------------------------------------------------

    async def _run(self, tool: BusTool, scene: Scene) -> Answer:
        context = BusContext(self.call, scene.facts.state, scene.claims)
        began = perf_counter_ns()
        limit = settings.INCUBATORS.TIMEOUT
        with collecting() as charges:
            execution = await execute(tool, context, self.call.actor.caller, limit)
        done = Done(self, scene, context, charges, began)
        try:
            return await done.commit(execution)
        except Refusal as refusal:
            # What it did can't be done any more; what it cost is spent all the same.
            if refusal.subject == RESET:
                raise
            failed = Execution("error", error={"message": refusal.message}, code=refusal.code)
            return await done.commit(failed, refusal)


@dataclass(frozen=True, slots=True)
class Done:
    """A tool that has run: what there is to commit."""

    performance: Performance
    scene: Scene
    context: BusContext
    charges: list[Charge]
    began: int

    async def commit(self, execution: Execution, refusal: Refusal | None = None) -> Answer:
        """``refusal``: why what it staged is left away."""
        performance, call = self.performance, self.performance.call
        result: Any = execution.value
        if refusal is None and execution.status != "success":
            error = execution.error or {"message": "A tool of a bus can't suspend."}
            refusal = Refusal(execution.code or Code.EXECUTION_FAILED, error["message"])
        if refusal is not None:
            result = failure(refusal)
        text = dumps(result).decode()
        writer = Writer(performance.room, call.actor.agent)
        is_done = refusal is None

        def also() -> None:
            performance.check_epoch()
            is_ours = self._take_note_away()
            if is_done:
                self._check_may_be_done(is_ours)
                self._stage(writer, execution)
            book(performance.room, self.charges)
            budget = Budget.of(self.scene.machine)
            if budget is not None:
                budget.watch(writer)
            if is_ours:
                remember(performance.room, call.principal, call.call_id, call.tool, text)
            item.status = writer.status

        item = Append(performance.room, writer.events, also=also, despite=STOPPED)
        door = bus_door("act", performance.namespace, self.scene.machine)

        def row() -> Access | None:
            if item.problem is not None:
                return None
            given = {"tool": call.tool, "args": call.args}
            caller = call.actor.caller
            return access_row(door, caller, "message", new_id(), self.began, given, {}, refusal)

        appended = await aput(item, *companions(database(), row))
        return Answer(text, refusal is not None, appended.last, appended.epoch)

    def _check_may_be_done(self, is_ours: bool) -> None:
        """What was admitted before the budget was spent is kept; what somebody has stopped is
        not."""
        performance, call = self.performance, self.performance.call
        if not is_ours:
            message = "This process was taken for dead: the call is made again elsewhere."
            raise Refusal(Code.CONFLICT, message)
        if call.may_control(performance.namespace):
            return
        rows = Incubator.objects.using(database()).filter(pk=performance.room)
        status, by = rows.values_list("room__status", "stopped_by").get()
        if status in STOPPED and not (performance.is_admitted and by == BUDGET):
            raise Refusal(Code.CONFLICT, f"This bus is {status}.", subject=status)

    def _take_note_away(self) -> bool:
        """Whether the call is still this process's: nobody else has begun it meanwhile."""
        performance, call = self.performance, self.performance.call
        if not performance.is_admitted:  # by the lease, unless this process was held up for longer
            return remembered(performance.room, call.principal, call.call_id) is None
        return bool(performance.notes().delete()[0])

    def _stage(self, writer: Writer, execution: Execution) -> None:
        """What the tool did, in the log and in the rows.

        A key that somebody else has written since the tool saw it is a conflict: no write is lost.
        """
        versions = self.scene.facts.versions
        for mutation in execution.mutations:
            (key,) = parts_of(mutation["key"])  # tools write whole keys
            if mutation["op"] == "set":
                writer.set_state(key, mutation["value"], versions.get(key, 0))
            else:
                writer.delete_state(key, versions.get(key, 0))
        for event in execution.events:
            writer.publish(event["name"], event["payload"])
        for verb, resource, ttl_ms in self.context.staged:
            if verb == "claim":
                writer.claim(resource, ttl_ms)
            else:
                writer.release(resource)
