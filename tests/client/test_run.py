"""A client of a run: the run as it stands, decisions, control."""

from __future__ import annotations

import pytest

from mashin_surfaces.client import ClientError, RunClient, RunEvent
from tests.client.conftest import Server, soon
from tests.wire.following import at_rest, started

pytestmark = pytest.mark.slow


async def waiting(server: Server) -> str:
    """The address of a run that waits at its gate."""
    run = await started(server.wire, server.token)
    await at_rest(server.wire, server.token, run, "review", "paused")
    return server.url(f"/api/dags/{run}/stream")


async def test_a_run_is_folded_from_the_snapshot_to_its_end(server: Server) -> None:
    url = await waiting(server)
    async with RunClient(url, **server.options()) as client:
        events = client.events(RunEvent)
        run = client.run
        assert run.nodes["left"].output == {"n": 11}
        assert set(run.edges) == {("left", "review"), ("right", "review"), ("review", "total")}
        gate = run.open_gates["review"]
        await soon(client.decide(gate, "approve", feedback="Go."))
        await soon(client.until_over())
        assert (run.status, run.outcome) == ("completed", "completed")
        assert run.results is not None
        assert run.results["total"] == {"total": 31}
        assert run.nodes["total"].status == "completed"
        assert not run.open_gates
        told: list[RunEvent] = []
        while not told or told[-1].type != "execution_complete":
            told.append(await soon(anext(events)))
    offsets = [event.offset for event in told]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


async def test_a_decision_that_does_not_count_raises(server: Server) -> None:
    url = await waiting(server)
    async with RunClient(url, **server.options()) as client:
        gate = client.run.open_gates["review"]
        with pytest.raises(ClientError) as caught:
            await soon(client.decide(gate, "approve", revision=gate.revision + 1))
        assert caught.value.code == "gate_changed"
        await soon(client.decide("review", "approve"))
        with pytest.raises(ClientError) as caught:
            await soon(client.decide(gate, "reject"))
        assert caught.value.code in {"gate_closed", "conflict"}


async def test_a_run_is_paused_resumed_and_cancelled(server: Server) -> None:
    url = await waiting(server)
    async with RunClient(url, **server.options()) as client:
        events = client.events(RunEvent)

        async def until(status: str) -> None:
            while client.run.status != status:
                await soon(anext(events))

        await soon(client.pause())
        await until("paused")
        await soon(client.resume())
        await until("running")
        await soon(client.cancel())
        assert (await soon(client.until_over())).outcome == "cancelled"
        with pytest.raises(ClientError) as caught:
            await soon(client.resume())
        assert caught.value.code == "conflict"
