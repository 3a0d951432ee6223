"""An agent's client: what it does on a bus, and what it tells of it."""

from __future__ import annotations

import asyncio

import pytest

from mashin_surfaces.client import (
    BusEvent,
    ClaimChanged,
    ClaimLost,
    ClientError,
    Controlled,
    Gap,
    IncubatorClient,
    Reset,
    StateChanged,
    ToolFailed,
)
from tests.client.conftest import Server, soon, take

pytestmark = pytest.mark.slow


async def test_what_one_publishes_the_other_reads(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, agent_id="one", **server.options()) as one,
        IncubatorClient(url, agent_id="two", **server.options()) as two,
    ):
        events = two.events(BusEvent)
        id = await soon(one.publish("task.started", {"task": "auth"}))
        (event,) = await take(events, 1)
    assert (event.id, event.type, event.data) == (id, "task.started", {"task": "auth"})
    assert event.agent_id == "ada/one"


async def test_what_was_written_is_in_the_state_when_it_is_answered(server: Server) -> None:
    url = server.bus()
    async with IncubatorClient(url, **server.options()) as bus:
        assert await soon(bus.set_state("phase", "plan")) == 1
        assert (dict(bus.state), bus.version("phase")) == ({"phase": "plan"}, 1)
        assert await soon(bus.set_state("phase", "review", if_version=1)) == 2
        with pytest.raises(ClientError) as caught:
            await soon(bus.set_state("phase", "done", if_version=1))
        assert caught.value.code == "conflict"
        assert await soon(bus.call("increment", {"by": 3})) == 3
        assert bus.state["count"] == 3
        await soon(bus.delete_state("count"))
    async with IncubatorClient(url, **server.options()) as late:
        assert (dict(late.state), late.version("phase")) == ({"phase": "review"}, None)
        assert late.version("count") == 0


async def test_a_tool_that_fails_raises_and_tools_are_listed(server: Server) -> None:
    async with IncubatorClient(server.bus(), **server.options()) as bus:
        assert "increment" in {tool.name for tool in bus.tools}
        with pytest.raises(ToolFailed) as caught:
            await soon(bus.call("break"))
        assert caught.value.code == "execution_failed"
        assert dict(bus.state) == {}


async def test_everything_that_is_kept_is_told_to_who_asks_for_it(server: Server) -> None:
    url = server.bus()
    async with IncubatorClient(url, **server.options()) as bus:
        ids = [await soon(bus.publish("a", number)) for number in range(3)]
        await soon(bus.set_state("k", 1))
    bus = IncubatorClient(url, since=ids[0], **server.options())
    events = bus.events()
    async with bus:
        told = await take(events, 3)
        assert dict(bus.state) == {"k": 1}
    assert [event.id for event in told if isinstance(event, BusEvent)] == ids[1:]
    assert isinstance(told[2], StateChanged)


async def test_only_the_types_that_are_wanted_are_told(server: Server) -> None:
    url = server.bus()
    async with IncubatorClient(url, types=("turn.*",), **server.options()) as bus:
        events = bus.events()
        for type in ("turn.a", "other", "turn.b"):
            await soon(bus.publish(type))
        bus.subscribe("other")
        for type in ("turn.c", "other"):
            await soon(bus.publish(type))
        told = await take(events, 3)
    assert [event.type for event in told if isinstance(event, BusEvent)] == [
        "turn.a",
        "turn.b",
        "other",
    ]


# -- claims ---------------------------------------------------------------------------------------


async def test_a_claim_is_kept_for_longer_than_it_lasts_and_given_back(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, agent_id="one", **server.options()) as one,
        IncubatorClient(url, agent_id="two", **server.options()) as two,
    ):
        changes = two.events(ClaimChanged)
        async with one.claim("disk", ttl=15.0) as claim:
            while (await soon(anext(changes))).status != "renewed":
                pass
            while (await soon(anext(changes))).status != "renewed":
                pass
            claim.check()
            with pytest.raises(ClientError) as caught:
                async with two.claim("disk"):
                    pass
            assert caught.value.code == "claimed"
            assert caught.value.details[0]["owner"] == "ada/one"
        async with two.claim("disk") as next_claim:
            assert next_claim.fence == claim.fence + 1


async def test_who_has_lost_a_claim_is_told(server: Server) -> None:
    async with IncubatorClient(server.bus(), **server.options()) as bus:
        changes = bus.events(ClaimChanged)

        async def lose() -> None:
            async with bus.claim("disk", ttl=15.0) as claim:
                await soon(bus.release("disk"))  # as an operator would, behind its back
                while claim.is_held:
                    await soon(anext(changes))
                with pytest.raises(ClaimLost):
                    claim.check()

        with pytest.raises(ClaimLost):
            await lose()


# -- waits, control, reset ------------------------------------------------------------------------


async def test_another_agents_event_wakes_and_control_does(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, agent_id="one", **server.options()) as one,
        IncubatorClient(url, agent_id="two", **server.options()) as two,
    ):
        waiting = asyncio.create_task(one.wait("go.*"))
        assert await soon(one.wait(timeout=0)) is None  # the wait before it is there by now
        await soon(one.publish("go.own"))
        await soon(two.publish("go.other", 7))
        woken = await soon(waiting)
        assert isinstance(woken, BusEvent)
        assert (woken.type, woken.data) == ("go.other", 7)
        waiting = asyncio.create_task(one.wait("never"))
        await soon(one.wait(timeout=0))
        await soon(two.control("pause", "lunch"))
        stopped = await soon(waiting)
        assert isinstance(stopped, Controlled)
        assert (stopped.command, stopped.reason, stopped.by) == ("pause", "lunch", "ada/two")


async def test_a_reset_clears_what_is_known_and_who_may_not_is_refused(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, **server.options()) as boss,
        IncubatorClient(url, proxy=None) as other,
    ):
        with pytest.raises(ClientError) as caught:
            await soon(other.reset())
        assert caught.value.code == "forbidden"
        await soon(boss.set_state("k", 1))
        events = other.events(Reset, Gap)
        epoch = await soon(boss.reset())
        (told,) = await take(events, 1)
        assert told == Reset(epoch, "ada")
        assert (other.epoch, dict(other.state)) == (epoch, {})
        assert await soon(other.set_state("k", 2)) == 1
