"""What brings a ``callId`` is done once, and always answered the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.incubators.conftest import Agent, Hive

pytestmark = pytest.mark.slow

Command = tuple[str, dict[str, Any]]
COMMANDS: list[Command] = [
    ("publish", {"event": "a", "data": 1}),
    ("set_state", {"key": "k", "value": 1}),
    ("claim", {"resource": "r", "ttlMs": 60_000}),
    ("control", {"command": "resume", "reason": "go on"}),
]


async def answer(agent: Agent, type: str, fields: dict[str, Any], call_id: str) -> dict[str, Any]:
    await agent.say(type, **fields, callId=call_id)
    return await agent.until("publish_ack" if type == "publish" else "ack", callId=call_id)


@pytest.mark.parametrize(("type", "fields"), COMMANDS, ids=[type for type, _ in COMMANDS])
async def test_said_again_it_is_answered_again_and_not_done_again(
    hive: Hive, token: str, type: str, fields: dict[str, Any]
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as first:
        told = await answer(first, type, fields, "c1")
    async with hive.agent(namespace, token) as second:
        assert await answer(second, type, fields, "c1") == told
        other = await answer(second, type, fields, "c2")
        await second.quiet()
    place = "eventId" if type == "publish" else "id"
    assert (told[place], other[place]) == (1, 2)
    assert [frame["id"] for frame in second.heard if frame["type"] != "ack" and "id" in frame] == [
        1,
        2,
    ]


async def test_an_answer_says_what_came_of_it(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        assert (await answer(agent, *COMMANDS[1], "s1"))["version"] == 1
        assert (await answer(agent, *COMMANDS[1], "s2"))["version"] == 2
        assert (await answer(agent, *COMMANDS[2], "c1"))["fence"] == 1
        released = await answer(agent, "release", {"resource": "r"}, "r1")
        assert await answer(agent, "release", {"resource": "r"}, "r1") == released
        assert (await answer(agent, *COMMANDS[2], "c2"))["fence"] == 2


async def test_what_is_refused_is_not_remembered(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        await agent.say("release", resource="r", callId="c")
        assert (await agent.until("error", requestId="c"))["code"] == "not_found"
        await answer(agent, "claim", {"resource": "r"}, "claim")
        await answer(agent, "release", {"resource": "r"}, "c")


async def test_said_by_many_at_once_it_is_done_once(hive: Hive, token: str) -> None:
    namespace = hive.fresh()

    async def say() -> int:
        async with hive.agent(namespace, token) as agent:
            return int((await answer(agent, *COMMANDS[0], "c"))["eventId"])

    assert await asyncio.gather(*(say() for _ in range(8))) == [1] * 8
