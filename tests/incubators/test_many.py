"""Many agents over two processes: claims, the budget, and a crowd that publishes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from mashin_surfaces.timers.process import ALIVE
from tests.incubators.conftest import Agent, Frame
from tests.incubators.crowd import CROWD, check_nothing_is_lost, look_on, publish_by_the_clock
from tests.incubators.pairs import Pair, two_servers
from tests.wire.conftest import DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

RESOURCES = [f"r{number}" for number in range(10)]


@pytest.fixture(scope="module", params=["sqlite valkey", "postgresql"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("many")
    with two_servers(folder, request.param) as servers:
        yield servers


# -- claims ---------------------------------------------------------------------------------------


async def claim_around(agent: Agent, name: str, chance: random.Random) -> Counter[str]:
    """Want resources that others want, too; give some back, let others run out."""
    became: Counter[str] = Counter()
    await agent.until("replay_done")
    for number in range(8):
        resource = chance.choice(RESOURCES)
        await agent.say("claim", resource=resource, ttlMs=chance.randint(1, 200), requestId="c")
        while True:
            frame = await agent.hear()
            if frame["type"] == "error" and frame["requestId"] == "c":
                assert frame["code"] == "claimed"
                assert frame["details"][0]["owner"] != name
                became["refused"] += 1
                break
            is_ours = frame["type"] == "claim_changed" and frame["owner"] == name
            if is_ours and frame["status"] in {"claimed", "renewed"}:
                became["held"] += 1
                if number % 3 == 0:
                    await agent.say("release", resource=resource, requestId="r")
                break
        await asyncio.sleep(chance.uniform(0, 0.05))
    return became


def folded(frames: list[Frame]) -> Counter[str]:
    """Go through the claims of a log; raises when two own one thing, or a fence does not rise."""
    owners: dict[str, tuple[str, int]] = {}
    highest: dict[str, int] = {}
    statuses: Counter[str] = Counter()
    for frame in frames:
        if frame["type"] != "claim_changed":
            continue
        resource, owner, fence = frame["resource"], frame["owner"], frame["fence"]
        statuses[frame["status"]] += 1
        if frame["status"] == "claimed":
            assert resource not in owners, frame
            assert fence > highest.get(resource, 0), frame
            owners[resource], highest[resource] = (owner, fence), fence
        else:
            assert owners[resource] == (owner, fence), frame
            if frame["status"] in {"released", "expired"}:
                del owners[resource]
    return statuses


async def test_50_claimants_never_own_the_same_at_one_place_of_the_log(pair: Pair) -> None:
    namespace, token = pair[0].fresh(), pair[0].token("ada", "*")
    chance = random.Random(5)
    async with asyncio.timeout(120), AsyncExitStack() as stack:
        watchers = [
            await stack.enter_async_context(hive.agent(namespace, token, types="end"))
            for hive in pair
        ]
        listening = [asyncio.ensure_future(watcher.until("event")) for watcher in watchers]
        agents = [
            await stack.enter_async_context(
                pair[number % 2].agent(namespace, token, agentId=f"a{number}")
            )
            for number in range(50)
        ]
        became = await asyncio.gather(
            *(
                claim_around(agent, f"ada/a{number}", random.Random(chance.random()))
                for number, agent in enumerate(agents)
            )
        )
        # Whoever holds something yet loses it: its fence is older than the next one's.
        held = 1
        while held:
            answer = await pair[1].http("GET", f"/api/{namespace}/claims", token=token)
            held = len(answer.json())
            await asyncio.sleep(0.05)
        stale: dict[str, int] = {}
        for frame in agents[0].heard:
            if frame["type"] == "claim_changed":
                stale[frame["resource"]] = frame["fence"]
        for resource in RESOURCES:
            path = f"/api/{namespace}/claims"
            claimed = await pair[1].http("POST", path, {"resource": resource}, token=token)
            assert claimed.status_code == 201
            assert claimed.json()["fence"] > stale.get(resource, 0)
        await pair[0].http("POST", f"/api/{namespace}/events", {"type": "end"}, token=token)
        await asyncio.gather(*listening)
    statuses = folded(watchers[0].heard)
    assert folded(watchers[1].heard) == statuses
    assert all(statuses[each] for each in ("claimed", "released", "expired"))
    assert sum(became, Counter())["refused"]


# -- the budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "amount", "spent"),
    [
        ("spend", 0.1, 1),  # one after the other, and nobody knows what one will cost
        ("rush", 0.05, 1),  # at once, and nobody knows: the first reserves all that is left
        ("hurry", 0.01, 5),  # at once, each with what it has reserved
    ],
)
async def test_20_calls_at_once_do_not_overshoot_together(
    pair: Pair, tool: str, amount: float, spent: int
) -> None:
    namespace, boss = pair[0].fresh(), pair[0].token("ada", "*")
    worker = pair[0].token("worker", "bus:observe", "bus:publish", "bus:act")
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(pair[number % 2].agent(namespace, worker))
            for number in range(20)
        ]
        assert await agents[0].call("spend", {"amount": 0.95}) == "spent"
        calls = [agent.call(tool, {"amount": amount}) for agent in agents]
        results = await asyncio.gather(*calls)
        refused = [result["code"] for result in results if result != "spent"]
        assert refused == ["halted"] * (20 - spent)
        for agent in agents:  # some have heard of it before their answer
            if not any(frame["type"] == "control" for frame in agent.heard):
                await agent.until("control")
            (halt,) = [frame for frame in agent.heard if frame["type"] == "control"]
            assert (halt["command"], halt["reason"]) == ("halt", "Budget exceeded")
    await asyncio.to_thread(pair[1].project.kill)
    await asyncio.to_thread(pair[1].project.start)
    async with pair[1].agent(namespace, worker, since=0) as agent:
        assert (await agent.until("control"))["reason"] == "Budget exceeded"
        assert (await agent.call(tool, {"amount": amount}))["code"] == "halted"
        assert (await agent.refused("publish", event="x"))["code"] == "halted"
    for hive in pair:
        counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=boss)).json()
        assert counted["totalCost"] == pytest.approx(0.95 + spent * amount)


async def test_what_a_killed_server_had_reserved_is_free_again(pair: Pair, tmp_path: Path) -> None:
    namespace, token = pair[0].fresh(), pair[0].token("ada", "*")
    args = {"path": str(tmp_path / "go"), "key": "k", "value": 1, "amount": 0.4}
    async with asyncio.timeout(60), pair[0].agent(namespace, token) as agent:
        async with pair[1].agent(namespace, token) as doomed:
            await doomed.say("dance_call", tool="spend_later", args=args, callId="doomed")
            while not (tmp_path / "go.runs").exists():
                await doomed.quiet()
            await asyncio.to_thread(pair[1].project.kill)
            with pytest.raises(ConnectionClosed):
                await doomed.until("never")
        (tmp_path / "go").touch()
        assert await agent.call("spend_later", args) == "written"
        # The cap is 1: this one only fits when the dead server's 0.4 are free.
        await agent.say("dance_call", tool="spend_later", args=args, callId="last")
        result = await asyncio.wait_for(result_of(agent, "last"), 2 * ALIVE + DEADLINE)
        assert result == "written"
    await asyncio.to_thread(pair[1].project.start)
    counted = (await pair[1].http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert counted["totalCost"] == pytest.approx(0.8)


async def result_of(agent: Agent, call_id: str) -> Any:
    """What a call is answered, however long it takes."""
    while True:
        with suppress(TimeoutError):
            return (await agent.until("dance_result", callId=call_id))["result"]


# -- a crowd --------------------------------------------------------------------------------------


async def test_a_crowd_on_two_servers_loses_nothing_and_is_counted_to_the_event(
    pair: Pair,
) -> None:
    namespace, token = pair[0].fresh(), pair[0].token("ada", "*")
    async with asyncio.timeout(180), AsyncExitStack() as stack:
        enter = stack.enter_async_context
        looking = [asyncio.ensure_future(look_on(hive, namespace, token)) for hive in pair]
        agents = [
            await enter(pair[number % 2].agent(namespace, token, agentId=f"a{number}", types="-"))
            for number in range(CROWD)
        ]
        for agent in agents:
            await agent.until("dance_tools")
        began = asyncio.get_running_loop().time()
        published = await asyncio.gather(
            *(publish_by_the_clock(agent, number, began, 5) for number, agent in enumerate(agents))
        )
        await pair[0].http("POST", f"/api/{namespace}/events", {"type": "end"}, token=token)
        for heard in await asyncio.gather(*looking):
            check_nothing_is_lost(heard, published)
    counted = [
        (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json() for hive in pair
    ]
    for each in counted:
        assert sum(each["eventCounts"].values()) == sum(map(len, published)) + 1
