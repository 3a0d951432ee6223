"""Any interleaving of connects, publishes, calls, resets and kills keeps rule 1."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.incubators.conftest import Agent, Frame
from tests.incubators.pairs import Follower, Pair, two_servers

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

AGENTS = 8
STEPS = 25
#: What there is while a process is away.
AWAY = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError)


@pytest.fixture(scope="module", params=["sqlite", "sqlite valkey", "postgresql valkey"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("pair")
    with two_servers(folder, request.param) as servers:
        yield servers


class Walker:
    """An agent that does what chance says, and holds what it hears against the rule."""

    def __init__(self, number: int, seed: int, pair: Pair, namespace: str, token: str) -> None:
        self.chance = random.Random(f"{seed}-{number}")
        self.name = f"w{number}"
        self.pair, self.namespace, self.token = pair, namespace, token
        self.follower = Follower()
        #: What was acknowledged: the event's number by epoch and id.
        self.acknowledged: dict[tuple[str, int], int] = {}
        self._number = 0

    async def walk(self) -> None:
        """Connection after connection, until all steps are done."""
        left = STEPS
        while left > 0:
            steps = self.chance.randint(0, 8)
            left -= max(1, steps)
            hive = self.chance.choice(self.pair)
            try:
                query = self.follower.query()
                async with hive.agent(
                    self.namespace, self.token, agentId=self.name, **query
                ) as agent:
                    if self.chance.random() < 0.8:
                        await self.until(agent, "replay_done")
                    for _ in range(steps):
                        await self.step(agent)
                    if self.chance.random() < 0.2:
                        agent.socket.transport.abort()
            except AWAY:
                await asyncio.sleep(0.2)  # a process is being killed and started

    async def step(self, agent: Agent) -> None:
        what = self.chance.choices(
            ["publish", "call", "state", "claim", "reset", "wait", "listen"],
            [8, 3, 3, 2, 0.4, 1, 3],
        )[0]
        self._number += 1
        if what == "publish":
            await agent.say("publish", event="step", data=self._number)
            acknowledged = await self.until(agent, "publish_ack")
            epoch = self.follower.epoch
            event = self.follower.events.get(acknowledged["eventId"])
            if event is not None:  # else it was reset meanwhile, or is yet to come
                assert (event["data"], event["agent_id"]) == (self._number, f"ada/{self.name}")
            self.acknowledged[epoch, acknowledged["eventId"]] = self._number
        elif what == "call":
            await agent.say("dance_call", tool="increment", args={}, callId=f"c{self._number}")
            await self.until(agent, "dance_result")
        elif what == "reset":
            await agent.say("reset")
            await self.until(agent, "reset_ack")
        elif what == "state":
            await agent.say("set_state", key=self.chance.choice("ab"), value=self._number)
        elif what == "claim":
            await agent.say("claim", resource=self.chance.choice("rs"), ttlMs=50)
        elif what == "wait":
            await agent.say("wait", types=["step"], callId=f"w{self._number}", timeoutMs=5_000)
        else:
            await agent.say("ping")
            await self.until(agent, "pong")

    async def until(self, agent: Agent, type: str) -> Frame:
        while True:
            frame = await agent.hear()
            self.follower.take(frame)
            if frame["type"] == type:
                return frame

    async def catch_up(self, marker: int) -> None:
        """Connect once more, and hear everything up to this event."""
        hive = self.chance.choice(self.pair)
        query = self.follower.query()
        async with hive.agent(self.namespace, self.token, agentId=self.name, **query) as agent:
            await self.until(agent, "replay_done")
            while self.follower.last < marker:
                self.follower.take(await agent.hear())


async def kill_and_start(pair: Pair, chance: random.Random) -> None:
    """End one process at once, and start it again."""
    for _ in range(2):
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await asyncio.to_thread(pair[1].project.kill)
        await asyncio.to_thread(pair[1].project.start)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_connection_hears_everything_once_in_order(pair: Pair, seed: int) -> None:
    print(f"seed {seed}")
    namespace = pair[0].fresh()
    token = pair[0].token("ada", "*")
    walkers = [Walker(number, seed, pair, namespace, token) for number in range(AGENTS)]
    async with asyncio.timeout(120):
        async with asyncio.TaskGroup() as group:
            for walker in walkers:
                group.create_task(walker.walk())
            group.create_task(kill_and_start(pair, random.Random(seed)))
        async with pair[1].agent(namespace, token, types="marker") as agent:
            await agent.say("publish", event="marker")
            marker = int((await agent.until("publish_ack"))["eventId"])
        await asyncio.gather(*(walker.catch_up(marker) for walker in walkers))
    reader = Walker(AGENTS, seed, pair, namespace, token)
    await reader.catch_up(marker)
    kept = reader.follower.events
    for walker in walkers:
        assert walker.follower.epoch == reader.follower.epoch
        for id, event in walker.follower.events.items():
            assert kept[id] == event
        for (epoch, id), number in walker.acknowledged.items():
            if epoch == reader.follower.epoch and id in kept:
                assert kept[id]["data"] == number
