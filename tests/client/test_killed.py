"""The server dies under its clients and comes back: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio

import pytest

from mashin_surfaces.client import (
    BusEvent,
    Gap,
    IncubatorClient,
    Interrupted,
    MachineClient,
    PanelClient,
    Patch,
    Push,
    Reset,
    RunClient,
    RunEvent,
)
from tests.client.conftest import Server, soon, take
from tests.wire.following import at_rest, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MANY = 30


async def test_what_is_published_meanwhile_is_told_once_in_order(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, agent_id="writer", **server.options()) as writer,
        IncubatorClient(url, agent_id="reader", **server.options()) as reader,
    ):
        events = reader.events(BusEvent, Gap)
        publishing = [asyncio.create_task(writer.publish("n", each)) for each in range(MANY)]
        await take(events, 5)  # some are committed, some on their way, some wait
        await server.die_and_come_back()
        ids = await soon(asyncio.gather(*publishing))
        rest = await take(events, MANY - 5)
        last = await soon(writer.publish("end"))
        (end,) = await take(events, 1)
        assert isinstance(end, BusEvent)
        assert end.id == last
    assert sorted(ids) == list(range(1, MANY + 1))
    assert [event.id for event in rest if isinstance(event, BusEvent)] == list(range(6, MANY + 1))


async def test_calls_and_writes_on_their_way_are_done_once(server: Server) -> None:
    async with IncubatorClient(server.bus(), **server.options()) as bus:
        calling = [asyncio.create_task(bus.call("increment")) for _ in range(10)]
        writing = [asyncio.create_task(bus.set_state("k", each)) for each in range(10)]
        await soon(calling[0])
        await server.die_and_come_back()
        assert sorted(await soon(asyncio.gather(*calling))) == list(range(1, 11))
        assert sorted(await soon(asyncio.gather(*writing))) == list(range(1, 11))
        assert (bus.state["count"], bus.version("k")) == (10, 10)


async def test_what_came_meanwhile_wakes(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, agent_id="one", types=("none",), **server.options()) as one,
        IncubatorClient(url, agent_id="two", **server.options()) as two,
    ):
        waiting = asyncio.create_task(one.wait("go"))
        assert await soon(one.wait(timeout=0)) is None
        server.project.kill()
        id = asyncio.create_task(two.publish("go"))
        await asyncio.to_thread(server.project.start)
        woken = await soon(waiting)
        assert woken is not None
        assert woken.id == await soon(id)


async def test_a_claim_outlives_the_server(server: Server) -> None:
    async with (
        IncubatorClient(server.bus(), **server.options()) as bus,
        bus.claim("disk", ttl=60.0) as claim,
    ):
        await server.die_and_come_back()
        assert await soon(bus.acquire("disk", ttl=60.0)) == claim.fence


async def test_a_reset_that_was_missed_is_a_gap(server: Server) -> None:
    url = server.bus()
    async with IncubatorClient(url, agent_id="away", **server.options()) as away:
        await soon(away.set_state("k", 1))
        news = away.events(Gap, Reset)
        async with IncubatorClient(url, **server.options()) as boss:
            server.project.kill()
            resetting = asyncio.create_task(boss.reset())
            await asyncio.to_thread(server.project.start)
            epoch = await soon(resetting)
        while away.epoch != epoch:
            await take(news, 1)  # a Reset, if it was there before the reset came
        await soon(away.set_state("other", 2))
        assert dict(away.state) == {"other": 2}


async def test_triggers_of_a_panel_are_carried_out_once(server: Server) -> None:
    url = await server.panel(increment="panel.increment")
    async with (
        PanelClient(url, **server.options()) as one,
        PanelClient(url, **server.options()) as other,
    ):
        patches = other.events(Patch, Gap)
        triggering = [asyncio.create_task(one.trigger("increment")) for _ in range(20)]
        await take(patches, 3)
        await server.die_and_come_back()
        results = await soon(asyncio.gather(*triggering))
        rest = await take(patches, 17)
        assert sorted(result.value for result in results) == list(range(1, 21))
        assert [patch.offset for patch in rest if isinstance(patch, Patch)] == list(range(4, 21))
        assert dict(one.state) == dict(other.state) == {"count": 20}


async def test_a_run_is_followed_to_its_end(server: Server) -> None:
    run = await started(server.wire, server.token)
    await at_rest(server.wire, server.token, run, "review", "paused")
    async with RunClient(server.url(f"/api/dags/{run}/stream"), **server.options()) as client:
        events = client.events(RunEvent, Gap)
        gate = client.run.open_gates["review"]
        server.project.kill()
        deciding = asyncio.create_task(client.decide(gate, "approve"))
        await asyncio.to_thread(server.project.start)
        await soon(deciding)
        await soon(client.until_over())
        told: list[RunEvent] = []
        while not told or told[-1].type != "execution_complete":
            event = await soon(anext(events))
            assert isinstance(event, RunEvent)
            told.append(event)
    offsets = [event.offset for event in told]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    assert client.run.outcome == "completed"


async def test_a_topic_is_followed_on_and_a_question_may_be_asked_again(server: Server) -> None:
    url = server.url("/ws/wire/board")
    async with (
        MachineClient(url, **server.options()) as reader,
        MachineClient(url, **server.options()) as writer,
    ):
        pushes = reader.events(Push)
        await soon(reader.subscribe("main"))
        await soon(writer.ask({"board": "main", "value": 1}))
        await take(pushes, 1)
        server.project.kill()
        asking = asyncio.create_task(writer.ask({"board": "main", "value": 2}, is_repeatable=True))
        await asyncio.to_thread(server.project.start)
        assert await soon(asking) == {"value": 2}
        assert [each.value for each in await take(pushes, 1)] == [{"value": 2}]


async def test_a_question_that_may_not_be_asked_again_is_interrupted(server: Server) -> None:
    options = server.options(token=None)
    async with MachineClient(server.url("/ws/wire/ticks"), **options) as ticks:
        results = ticks.stream({"count": 1, "ending": "wait"})
        await soon(anext(results))
        server.project.kill()
        with pytest.raises(Interrupted):
            await soon(anext(results))
        await asyncio.to_thread(server.project.start)
