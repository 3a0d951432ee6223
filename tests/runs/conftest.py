"""Runs in this process: machines given as text, an engine of the test's own, a checked log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from mashin_surfaces.exceptions import Refusal
from mashin_surfaces.governance.door import governed
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.identity.scopes import EVERYTHING, Scopes
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.store import save_machine
from mashin_surfaces.models import CostEntry, Gate, Node, RoomEvent, Run
from mashin_surfaces.runs import commands
from mashin_surfaces.runs.engine import Engine, engine
from mashin_surfaces.runs.store import NewRun
from mashin_surfaces.steps.effects import registry as effects
from mashin_surfaces.timers.clock import clock
from tests.runs import run_effects

DEADLINE = 30.0
Entry = dict[str, Any]

MACHINE = """\
machine {name}
  accepts
    n as number, default: 1
{accepts}
  ensures
    permissions
      allowed to
        run.*
{ensures}
  implements
{steps}
"""


def caller(name: str = "ada", *scopes: str) -> Caller:
    """Somebody who may do everything, or what is said."""
    held = Scopes(scopes) if scopes else EVERYTHING
    return Caller(Principal(name, Credential("none"), held))


class Runs:
    """What a test does with runs. Every look at one checks that its log tells the same."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ada = caller()

    async def load(
        self, steps: str, name: str = "graph", accepts: str = "", ensures: str = ""
    ) -> str:
        """A machine with these steps (indented by four), loaded; its name."""
        source = MACHINE.format(name=name, steps=steps.rstrip(), accepts=accepts, ensures=ensures)
        await sync_to_async(self._load)(source)
        return name

    @staticmethod
    def _load(source: str) -> None:
        parsed = examine(source, effects.names(), effects.generators())
        save_machine(parsed.definition, source)
        registry.refresh()

    async def start(self, machine: str = "graph", input: Entry | None = None, **more: Any) -> Run:
        compiled = registry.snapshot.machines[machine]
        checked = compiled.accepts.check(input or {})
        return await self.engine.create(NewRun(governed(compiled), checked, "ada", **more))

    async def run(self, steps: str, input: Entry | None = None, **more: Any) -> Run:
        """A run of these steps, started."""
        kept = {key: more.pop(key) for key in ("name", "accepts", "ensures") if key in more}
        return await self.start(await self.load(steps, **kept), input, **more)

    async def until(self, run: Run, wanted: Callable[[Run], bool]) -> Run:
        """The run, as soon as it is so; it is looked at until the deadline."""
        end = time.monotonic() + DEADLINE
        while True:
            found = await Run.objects.select_related("room").aget(pk=run.pk)
            if wanted(found):
                await self.check(found)
                return found
            assert time.monotonic() < end, f"{found.status}: {await self.statuses(run)}"
            await asyncio.sleep(0.01)

    async def ended(self, run: Run) -> Run:
        return await self.until(run, lambda found: found.ended_at is not None)

    async def at_rest(self, run: Run) -> Run:
        """The run, when nobody works on it."""
        found = await self.until(run, lambda found: not found.holder)
        await self.engine.rest_of(run.pk)  # the row says so a moment before it is forgotten here
        return found

    async def node(self, run: Run, name: str, *statuses: str) -> Node:
        """A node, as soon as it has one of these statuses."""
        end = time.monotonic() + DEADLINE
        while True:
            node = await Node.objects.aget(run=run, name=name)
            if not statuses or node.status in statuses:
                return node
            assert time.monotonic() < end, f"{name} is {node.status}"
            await asyncio.sleep(0.01)

    async def gate(self, run: Run, name: str, revision: int = 1) -> Gate:
        """The open gate of a node."""
        end = time.monotonic() + DEADLINE
        while True:
            found = await Gate.objects.filter(
                run=run, node=name, status="open", revision=revision
            ).afirst()
            if found is not None:
                return found
            assert time.monotonic() < end, f"no gate at {name}: {await self.statuses(run)}"
            await asyncio.sleep(0.01)

    async def decide(self, run: Run, node: str, decision: Any = "approve", **more: Any) -> None:
        choice = commands.Choice(decision, node_id=node, **more)
        await commands.adecide(run, choice, self.ada)

    async def error_of(self, run: Run, node: str) -> Entry:
        """Why a node failed."""
        error: Entry | None = (await self.node(run, node, "failed")).error
        assert error is not None
        return error

    async def statuses(self, run: Run) -> dict[str, str]:
        rows = Node.objects.filter(run=run).order_by("position")
        return {name: status async for name, status in rows.values_list("name", "status")}

    async def log(self, run: Run, *types: str) -> list[Entry]:
        """The log's entries, each with its ``type`` and ``offset``."""
        rows = RoomEvent.objects.filter(room=run.room_id).order_by("offset")
        found = [
            {"type": type, "offset": offset, **json.loads(payload)}
            async for offset, type, payload in rows.values_list("offset", "type", "payload")
        ]
        return [entry for entry in found if not types or entry["type"] in types]

    async def check(self, run: Run) -> None:
        """The log is gapless and tells what the rows say, and the account is the sum of its
        entries. Only for a run that nobody changes at this moment."""
        if run.holder:
            return
        log = await self.log(run)
        assert [entry["offset"] for entry in log] == list(range(1, len(log) + 1))
        told = {e["node_id"]: e["status"] for e in log if e["type"] == "node_state"}
        now = await Run.objects.aget(pk=run.pk)
        if now.version != run.version:
            return
        rows = await self.statuses(run)
        assert {name: told.get(name, "pending") for name in rows} == rows
        costs = [entry.amount async for entry in CostEntry.objects.filter(run=run)]
        assert now.spent == sum(costs, Decimal(0))
        states = [entry["status"] for entry in log if entry["type"] == "run_state"]
        assert states[-1] == now.status
        if now.ended_at is not None:
            assert log[-1]["type"] == "execution_complete"
            assert now.reserved == 0


@pytest.fixture
async def runs(transactional_db: None) -> AsyncIterator[Runs]:
    """An engine that works on the runs of this test."""
    run_effects.forget()
    registry.forget()
    clock.start()
    own = engine()
    own.start()
    yield Runs(own)
    await own.close()
    clock.stop()
    # The loop's own queries were made by a thread that would keep the database open.
    await sync_to_async(connections.close_all)()


async def refusal(awaitable: Any) -> Refusal:
    """Why something is refused."""
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value
