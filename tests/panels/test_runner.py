"""One process's runner of a panel: what it does once, takes up again, and cancels, whatever others
do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.identity.scopes import EVERYTHING
from mashin_surfaces.models import SurfaceAccess
from mashin_surfaces.panels import definition, store, suspensions
from mashin_surfaces.panels import runner as runner_module
from mashin_surfaces.panels.models import Due, PanelRequest
from mashin_surfaces.panels.runner import Job, Runner, runner_of, trigger
from mashin_surfaces.panels.store import NewPanel
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.steps.tools import tool
from mashin_surfaces.timers.clock import clock
from tests.timers.workers import apart, until

pytestmark = pytest.mark.django_db(transaction=True)

ADA = Caller(Principal("ada", Credential("none"), EVERYTHING))
HOURLY = {"type": "interval", "ms": 3_600_000}
BY_HAND = {"type": "manual"}
CHANGE = NewEvent("EVENT", '{"name":"x","payload":null,"timestamp":0}', "bob", "~1")

#: The tools that ran, in order, and what lets them end.
ran: list[str] = []
gate = asyncio.Event()


@pytest.fixture(autouse=True)
def fresh(transactional_db: None) -> Iterator[None]:
    global gate  # noqa: PLW0603  an event belongs to the loop of its test
    gate = asyncio.Event()
    ran.clear()
    yield
    clock.stop()


@tool("runner.quick")
async def quick(ctx: Any) -> None:
    ran.append("quick")


@tool("runner.held")
async def held(ctx: Any) -> None:
    ran.append("held")
    await gate.wait()


@tool("runner.long")
async def long(ctx: Any) -> None:
    """Outlasts its turn."""
    ran.append("long")
    await gate.wait()
    await asyncio.sleep(2 * runner_module.TURN)


@tool("runner.ask")
async def ask(ctx: Any) -> Any:
    answer = await ctx.suspend("person", "ask", ["?"])
    ran.append("ask")
    return answer


@tool("runner.ask_held")
async def ask_held(ctx: Any) -> None:
    await ctx.suspend("person", "ask", ["?"])
    ran.append("ask_held")
    await gate.wait()


async def a_panel(**triggers: dict[str, Any]) -> Runner:
    """The runner of a new panel with these tools."""
    tools = [
        {"name": name, "handler": f"runner.{name}", "trigger": given}
        for name, given in triggers.items()
    ]
    panel = await apart(store.create, NewPanel("test", tools=tools))
    return runner_of(panel.pk, panel.room.key)


async def happens(condition: Callable[[], object]) -> None:
    await apart(until, condition)


async def make_due(panel: Runner, *tools: str) -> None:
    """In this order."""
    now = datetime.now(UTC)
    for number, name in enumerate(tools):
        due_at = now - timedelta(seconds=len(tools) - number)
        await Due.objects.filter(panel=panel.room, tool=name).aupdate(due_at=due_at)


async def asked(panel: Runner, name: str) -> str:
    """Trigger a tool that asks, as ada's request "r1"; the suspension's id."""
    outcome = await trigger(panel.room, panel.key, Job(name, None, ADA, request_id="r1"))
    await happens(lambda: panel.is_idle)
    assert outcome.result is not None
    return str(outcome.result["suspension"]["suspensionId"])


async def answer(panel: Runner, suspension: str) -> None:
    await apart(suspensions.answer, panel.room, suspension, "ada", "red")
    panel.wake()


def triggers(panel: Runner) -> Any:
    """The ledger's rows of what ran."""
    return SurfaceAccess.objects.filter(surface=f"panel:{panel.key}", event="trigger")


# -- once in the cluster ---------------------------------------------------------------------------


async def test_what_another_process_ran_between_two_turns_is_not_run_again() -> None:
    """What is due waits in the queue, and the next turn begins with what the rows say."""
    panel = await a_panel(long=HOURLY, quick=HOURLY)
    await make_due(panel, "long", "quick")
    panel.wake()
    await happens(lambda: ran == ["long"])
    next_hour = datetime.now(UTC) + timedelta(hours=1)
    await Due.objects.filter(panel=panel.room, tool="quick").aupdate(due_at=next_hour)
    gate.set()
    await happens(lambda: panel.is_idle)
    assert ran == ["long"]


async def test_what_two_processes_ran_by_the_clock_is_committed_once() -> None:
    """One was frozen for longer than its lease: the other one's runner, here, gets it, too."""
    panel = await a_panel(held=HOURLY)
    other = Runner(panel.room, panel.key)
    await make_due(panel, "held")
    panel.wake()
    await happens(lambda: ran == ["held"])
    other.wake()
    await happens(lambda: ran == ["held", "held"])
    gate.set()
    await happens(lambda: panel.is_idle and other.is_idle)
    assert await triggers(panel).acount() == 1


# -- nothing due is lost ---------------------------------------------------------------------------


async def test_who_is_woken_while_a_tool_runs_looks_behind_it() -> None:
    panel = await a_panel(ask=BY_HAND, held=BY_HAND)
    suspension = await asked(panel, "ask")
    panel.put(Job("held", None, ADA))
    await happens(lambda: ran == ["held"])
    await answer(panel, suspension)
    gate.set()
    await happens(lambda: panel.is_idle)
    assert ran == ["held", "ask"]


async def test_an_answer_outlives_a_query_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = await a_panel(ask=BY_HAND)
    suspension = await asked(panel, "ask")
    failed = asyncio.Event()

    def fail(id: str) -> None:
        failed.set()
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(runner_module, "_suspension", fail)
        await answer(panel, suspension)
        await happens(lambda: failed.is_set() and panel.is_idle)
    panel.wake()
    await happens(lambda: panel.is_idle)
    assert ran == ["ask"]


async def test_an_interval_outlives_a_process_that_does_not_have_its_tool_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel = await a_panel(quick=HOURLY)
    await make_due(panel, "quick")
    monkeypatch.setattr(definition, "get_tool", lambda name: None)
    panel.wake()
    await happens(lambda: panel.is_idle)
    assert await triggers(panel).exclude(code="").acount() == 1
    assert await Due.objects.filter(panel=panel.room, due_at__gt=datetime.now(UTC)).acount() == 1


async def test_who_waits_for_an_answered_tool_that_is_gone_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel = await a_panel(ask=BY_HAND)
    suspension = await asked(panel, "ask")
    monkeypatch.setattr(definition, "get_tool", lambda name: None)
    await answer(panel, suspension)
    await happens(lambda: panel.is_idle)
    request = await PanelRequest.objects.aget(panel=panel.room)
    assert '"status":"error"' in request.result


# -- cancelled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["held", "ask_held"])
async def test_what_was_cancelled_is_not_run_again_when_the_panel_has_changed(name: str) -> None:
    panel = await a_panel(**{name: BY_HAND})
    if name == "held":
        panel.put(Job(name, None, ADA, request_id="r1"))
    else:
        await answer(panel, await asked(panel, name))
    await happens(lambda: ran == [name])
    await log.aappend(panel.room, [CHANGE])  # by a process that took us for dead
    assert panel.cancel("ada", "r1")
    gate.set()
    await happens(lambda: panel.is_idle)
    request = await PanelRequest.objects.aget(panel=panel.room)
    assert '"CANCELLED"' in request.result
    assert ran == [name]


async def test_what_is_just_looked_up_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = await a_panel(quick=BY_HAND)
    looks, go_on = asyncio.Event(), asyncio.Event()

    async def stored(self: Runner, *_: Any) -> None:
        looks.set()
        await go_on.wait()

    monkeypatch.setattr(Runner, "_stored", stored)
    job = Job("quick", None, ADA, request_id="r1")
    panel.put(job)
    await looks.wait()
    assert panel.cancel("ada", "r1")
    go_on.set()
    outcome = await job.outcome
    assert outcome.result is not None
    assert outcome.result["error"]["code"] == "CANCELLED"
    assert ran == []
