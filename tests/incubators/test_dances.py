"""Calls of a namespace's tools in one process: each is answered, and done once, whatever resets,
freezes and failures come between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from mashin_surfaces.commit import CommitFailed
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.identity.scopes import EVERYTHING
from mashin_surfaces.incubators import performing, store
from mashin_surfaces.incubators.bus import Actor
from mashin_surfaces.incubators.calls import Call
from mashin_surfaces.incubators.dances import Dances
from mashin_surfaces.incubators.models import Incubator, RunningCall
from mashin_surfaces.incubators.performing import Performance
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.store import save_machine
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.models import Room, RoomEvent
from mashin_surfaces.steps.effects import registry as effects
from mashin_surfaces.steps.tools import tool
from mashin_surfaces.timers.clock import clock
from mashin_surfaces.timers.holding import Holding
from tests.timers.workers import apart, until

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds within which anything happens.
DEADLINE = 30.0
ADA = Actor(Caller(Principal("ada", Credential("none"), EVERYTHING)), "ada")
NAMESPACE = "dancers"
MACHINE = """
machine dancers "Dancers"
  tools
    quick from "dances.quick"
    quick_beside from "dances.quick", parallel: true
    held from "dances.held"
    held_beside from "dances.held", parallel: true
    cancelled from "dances.cancelled"
    cancelled_beside from "dances.cancelled", parallel: true
  expresses
    websocket
      path: "/ws/dancers"
      dialect: incubator
      auth: none
"""

#: The tools that ran, in order, and what lets them end.
ran: list[str] = []
gate = asyncio.Event()
_numbers = count(1)


@tool("dances.quick")
async def quick(ctx: Any) -> str:
    ran.append("quick")
    return "done"


@tool("dances.held")
async def held(ctx: Any) -> str:
    ran.append("held")
    await gate.wait()
    ctx.publish("held", {})
    return "done"


@tool("dances.cancelled")
async def cancelled(ctx: Any) -> None:
    """Awaits what somebody else cancels, as a client does with a connection that goes."""
    background = asyncio.create_task(asyncio.Event().wait())
    background.cancel()
    await background


@pytest.fixture(autouse=True)
def fresh(transactional_db: None) -> Iterator[None]:
    global gate  # noqa: PLW0603  an event belongs to the loop of its test
    gate = asyncio.Event()
    ran.clear()
    yield
    clock.stop()
    registry.forget()


@pytest.fixture
async def dances(fresh: None) -> Dances:
    """The calls of a new namespace that has these tools."""

    def make() -> Incubator:
        parsed = examine(MACHINE, effects.names(), effects.generators())
        save_machine(parsed.definition, MACHINE)
        registry.forget()
        registry.refresh()
        return store.find(NAMESPACE, NAMESPACE)

    made = Dances((await apart(make)).pk, NAMESPACE)
    made.machine = NAMESPACE
    return made


async def call_of(dances: Dances, name: str, id: str = "") -> Call:
    room = await Room.objects.aget(pk=dances.room)
    return Call(name, {}, ADA, id or f"c{next(_numbers)}", room.epoch)


def performance(dances: Dances, call: Call) -> Performance:
    """As one process performs it; two at once are what a lease that was lost makes."""
    return Performance(dances.room, NAMESPACE, call, asyncio.Event())


async def has_run(*names: str) -> None:
    await apart(until, lambda: ran == [*names])


# -- each is answered ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cancelled", "cancelled_beside"])
async def test_a_tool_that_is_cancelled_from_within_has_failed(dances: Dances, name: str) -> None:
    async with asyncio.timeout(DEADLINE):
        assert (await dances.call(await call_of(dances, name))).is_failure
        assert not (await dances.call(await call_of(dances, "quick"))).is_failure


async def test_a_call_that_comes_behind_what_a_reset_took_away_is_run(
    dances: Dances, monkeypatch: pytest.MonkeyPatch
) -> None:
    gives_up, go_on = asyncio.Event(), asyncio.Event()
    give_up = Holding.give_up

    async def give_up_late(holding: Holding) -> None:
        gives_up.set()
        await go_on.wait()
        await give_up(holding)

    monkeypatch.setattr(Holding, "give_up", give_up_late)
    async with asyncio.timeout(DEADLINE):
        await dances.call(await call_of(dances, "quick"))
        first, second = [await call_of(dances, "quick") for _ in range(2)]
        calling = [asyncio.create_task(dances.call(first))]
        await asyncio.sleep(0)
        dances.discard("another")  # before anybody has seen that there is something to do
        assert (await calling[0]).is_failure
        await gives_up.wait()
        calling.append(asyncio.create_task(dances.call(second)))
        await asyncio.sleep(0)
        go_on.set()
        assert not (await calling[1]).is_failure
    assert ran == ["quick", "quick"]


async def test_what_is_called_after_a_reset_is_run_though_others_hear_of_it_later(
    dances: Dances,
) -> None:
    before = asyncio.create_task(dances.call(await call_of(dances, "held")))
    await has_run("held")
    epoch = await apart(store.reset, dances.room, "boss")
    behind = asyncio.create_task(dances.call(await call_of(dances, "quick")))
    await asyncio.sleep(0)
    dances.discard(epoch)
    gate.set()
    assert (await before).is_failure
    assert not (await behind).is_failure


async def test_what_could_not_be_committed_can_be_called_again(
    dances: Dances, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_behind_the_tool(*given: Any) -> Any:
        if ran:
            raise CommitFailed("The database is away.")
        return await log.aput(*given)

    with monkeypatch.context() as patch:
        patch.setattr("mashin_surfaces.incubators.performing.aput", fail_behind_the_tool)
        assert (await dances.call(await call_of(dances, "quick_beside", "same"))).is_failure
    assert not await RunningCall.objects.aexists()  # which would have to be waited for
    assert not (await dances.call(await call_of(dances, "quick_beside", "same"))).is_failure


# -- each is done once -----------------------------------------------------------------------------


async def test_a_call_is_done_once_though_its_process_was_taken_for_dead(dances: Dances) -> None:
    calls = [await call_of(dances, "held", "same") for _ in range(2)]
    frozen = asyncio.create_task(performance(dances, calls[0]).perform())
    await has_run("held")
    other = asyncio.create_task(performance(dances, calls[1]).perform())
    await has_run("held", "held")
    gate.set()
    answers = await asyncio.gather(frozen, other)
    assert sorted(answer.is_failure for answer in answers) == [False, True]
    assert await RoomEvent.objects.filter(room=dances.room).acount() == 1


async def test_an_answer_that_is_remembered_stands_behind_what_was_done(
    dances: Dances, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call comes while the first one is committed."""
    calls = [await call_of(dances, "held_beside", "same") for _ in range(2)]
    doing = asyncio.create_task(performance(dances, calls[0]).perform())
    await has_run("held")
    is_done = threading.Event()
    doing.add_done_callback(lambda _: is_done.set())
    of, loop = performing.Scene.of, asyncio.get_running_loop()

    def of_late(room: int) -> Any:
        scene = of(room)
        loop.call_soon_threadsafe(gate.set)
        assert is_done.wait(DEADLINE)
        return scene

    monkeypatch.setattr(performing.Scene, "of", of_late)
    again = await performance(dances, calls[1]).perform()
    assert again == await doing
