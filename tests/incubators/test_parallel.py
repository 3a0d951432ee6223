"""Tools that are marked parallel: beside the others, and yet nothing is lost or spent twice."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.incubators.conftest import Agent, Hive

pytestmark = pytest.mark.slow


class Later:
    """A call that runs until it is let go."""

    def __init__(self, agent: Agent, folder: Path, name: str) -> None:
        self.agent = agent
        self.id = name
        self._go = folder / name

    async def begin(self, tool: str, key: str, value: Any, **more: Any) -> None:
        """Call it; returns when it runs."""
        await self.ask(tool, key, value, **more)
        await self.runs()

    async def ask(self, tool: str, key: str, value: Any, **more: Any) -> None:
        """Call it."""
        args = {"path": str(self._go), "key": key, "value": value, **more}
        await self.agent.say("dance_call", tool=tool, args=args, callId=self.id)

    @property
    def is_running(self) -> bool:
        return Path(f"{self._go}.runs").exists()

    async def runs(self) -> None:
        async with asyncio.timeout(30):
            while not self.is_running:
                await self.agent.quiet()

    def go(self) -> None:
        self._go.touch()

    async def result(self) -> Any:
        """What it is answered, once it was let go."""
        self.go()
        return (await self.agent.until("dance_result", callId=self.id))["result"]


# -- beside others --------------------------------------------------------------------------------


async def test_calls_of_a_parallel_tool_run_at_once(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    args = {"name": namespace, "others": 4}
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(hive.agent(namespace, token)) for _ in range(5)]
        met = await asyncio.gather(*(agent.call("meet", args) for agent in agents))
    assert met == [5] * 5


async def test_the_others_do_not_wait_for_it(hive: Hive, token: str, tmp_path: Path) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        later = Later(agent, tmp_path, "later")
        await later.begin("write_later", "k", 1)
        assert [await agent.call("increment") for _ in range(3)] == [1, 2, 3]
        assert await later.result() == "written"
        told = [frame["type"] for frame in agent.heard[-2:]]
    assert told == ["state_changed", "dance_result"]


async def test_what_another_wrote_meanwhile_is_not_overwritten(
    hive: Hive, token: str, tmp_path: Path
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        one, two = Later(agent, tmp_path, "one"), Later(agent, tmp_path, "two")
        await one.begin("write_later", "shared", "late")
        await two.begin("write_later", "own", "kept")
        await agent.say("set_state", key="shared", value="first")
        await agent.until("state_changed")
        assert (await one.result())["code"] == "conflict"
        assert await two.result() == "written"
    state = (await hive.http("GET", f"/api/{namespace}/state", token=token)).json()
    assert state == {"shared": "first", "own": "kept"}


async def test_the_same_call_while_it_runs_is_made_once(
    hive: Hive, token: str, tmp_path: Path
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent, hive.agent(namespace, token) as other:
        first, again = Later(agent, tmp_path, "same"), Later(other, tmp_path, "same")
        await first.begin("spend_later", "k", 1, amount=0.1)
        await again.ask("spend_later", "k", 2, amount=0.1)
        await other.quiet()
        assert await first.result() == await again.result() == "written"
        written = [frame for frame in agent.heard if frame["type"] == "state_changed"]
        assert [frame["value"] for frame in written] == [1]
    counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert (counted["totalCost"], counted["eventCounts"]["tool_call"]) == (0.1, 1)


# -- stopped while it runs ------------------------------------------------------------------------


async def test_a_reset_discards_it(hive: Hive, token: str, tmp_path: Path) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        later = Later(agent, tmp_path, "later")
        await later.begin("spend_later", "k", 1, amount=0.4)
        await agent.say("reset")
        await agent.until("reset_ack")
        assert (await later.result())["code"] == "reset"
    assert (await hive.http("GET", f"/api/{namespace}/state", token=token)).json() == {}
    counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert counted["totalCost"] == 0


async def test_a_pause_keeps_it_from_being_done_and_what_it_cost_is_booked(
    hive: Hive, token: str, tmp_path: Path
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as boss, hive.agent(namespace) as worker:
        later = Later(worker, tmp_path, "later")
        await later.begin("spend_later", "k", 1, amount=0.25)
        await boss.say("control", command="pause", reason="lunch")
        await worker.until("control")
        assert (await later.result())["code"] == "paused"
    assert (await hive.http("GET", f"/api/{namespace}/state", token=token)).json() == {}
    counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert counted["totalCost"] == 0.25


# -- the budget -----------------------------------------------------------------------------------


async def test_a_call_waits_for_what_others_have_reserved(
    hive: Hive, token: str, tmp_path: Path
) -> None:
    """The cap is 1, each reserves 0.4: the third begins when one of the others leaves enough."""
    async with hive.agent(hive.fresh()) as agent:
        calls = [Later(agent, tmp_path, name) for name in ("one", "two", "three", "four")]
        for number, call in enumerate(calls[:2]):
            await call.begin("spend_later", f"k{number}", 1, amount=0.1)
        await calls[2].ask("spend_later", "k2", 1, amount=0.4)
        assert await agent.call("meet", {"name": str(tmp_path), "others": 0}) == 1
        assert not calls[2].is_running
        assert await calls[0].result() == "written"
        await calls[2].runs()
        assert await calls[1].result() == "written"
        assert await calls[2].result() == "written"
        # 0.6 are spent: a fourth just fits, and a fifth is beyond the cap.
        calls[3].go()
        await calls[3].ask("spend_later", "k3", 1, amount=0.3)
        await agent.until("dance_result", callId="four")
        assert (await agent.call("spend_later", {"path": "", "key": "k", "value": 1}))["code"] == (
            "halted"
        )
        (halt,) = [frame for frame in agent.heard if frame["type"] == "control"]
        assert halt["reason"] == "Budget exceeded"


async def test_what_was_admitted_before_the_budget_was_spent_is_kept(
    hive: Hive, token: str, tmp_path: Path
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace) as agent:
        later = Later(agent, tmp_path, "later")
        await later.begin("spend_later", "k", 1, amount=0.3)
        for _ in range(2):
            assert await agent.call("hurry", {"amount": 0.35}) == "spent"
        assert (await agent.call("spend_later", {"path": "", "key": "x", "value": 1}))["code"] == (
            "halted"
        )
        assert await later.result() == "written"


async def test_what_agents_publish_is_counted_and_is_not_the_budgets(
    hive: Hive, token: str
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace) as agent:
        assert await agent.call("spend", {"amount": 0.25}) == "spent"
        await agent.say("publish", event="telemetry.llm", data={"tokens": 100, "cost": 7.5})
        await agent.until("publish_ack")
        counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
        assert (counted["totalCost"], counted["totalTokens"]) == (7.75, 115)
        assert await agent.call("spend", {"amount": 0.25}) == "spent"
        told = {frame.get("event_type") for frame in agent.heard if frame["type"] == "event"}
    assert told == {"telemetry.llm", "budget.warning"}  # which 0.5 of 1 is reason enough for
