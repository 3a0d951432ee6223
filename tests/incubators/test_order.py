"""What comes before what on an incubator's socket: resets, waits, wakes, results, credentials."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.incubators.conftest import Agent, Hive

pytestmark = pytest.mark.slow


async def publish(agent: Agent, type: str) -> int:
    await agent.say("publish", event=type)
    return int((await agent.until("publish_ack"))["eventId"])


# -- reset ----------------------------------------------------------------------------------------


async def test_a_reset_is_told_before_what_comes_after_it(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as boss, hive.agent(namespace, token) as watcher:
        await watcher.until("dance_tools")
        for number in range(20):
            await boss.say("publish", event="before")
            await boss.say("reset")
            await boss.say("publish", event=f"after.{number}")
        await watcher.until("event", event_type="after.19")
    epochs: list[str] = []
    cursor = 0
    for before, frame in zip(watcher.heard, watcher.heard[1:], strict=False):
        if frame["type"] == "reset":
            epochs.append(frame["epoch"])
        elif frame["type"] == "replay_done" and epochs:
            assert (before["type"], before.get("epoch")) == ("reset", frame["epoch"])
            cursor = frame["cursor"]
        elif frame["type"] == "event" and epochs:
            assert frame["epoch"] == epochs[-1]
            assert frame["id"] > cursor
    assert epochs
    assert Counter(frame["type"] for frame in watcher.heard)["replay_done"] == len(epochs) + 1


async def test_who_has_waited_gets_everything_once_after_a_reset(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token) as boss,
    ):
        await one.say("wait", types=["go"], callId="w")
        await one.quiet()
        await publish(boss, "go")
        await one.until("wake", callId="w")
        await boss.say("reset")
        await boss.until("reset_ack")
        await one.until("reset")
        last = await publish(boss, "x")
        await one.until("event", id=last)
        heard = await one.quiet()
    told = [frame["id"] for frame in one.heard if frame["type"] == "event"]
    assert told == sorted(set(told))
    assert heard == []


async def test_a_call_that_waited_during_a_reset_is_answered(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        for number in range(10):
            await agent.say("dance_call", tool="increment", args={}, callId=f"a{number}")
        await agent.say("reset")
        for number in range(10):
            await agent.say("dance_call", tool="increment", args={}, callId=f"b{number}")
        answers = {}
        for _ in range(20):
            answer = await agent.until("dance_result")
            answers[answer["callId"]] = answer["result"]
        assert len(answers) == 20
        discarded = [each for each in answers.values() if isinstance(each, dict)]
        assert {each["code"] for each in discarded} <= {"reset"}
        assert await agent.call("increment") <= 21 - len(discarded)


# -- waits ----------------------------------------------------------------------------------------


async def test_what_was_before_the_message_does_not_wake(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token, agentId="two") as two,
    ):
        for _ in range(6):
            for number in range(50):
                await two.say("publish", event="go", data={"n": number, "pad": "x" * 1000})
            for _ in range(50):
                await two.until("publish_ack")
        await one.until("replay_done")
        async with hive.agent(namespace, token, agentId="three", since=0) as three:
            await three.say("wait", types=["go"], callId="w")  # while it is replayed
            await three.until("replay_done")
            await three.quiet()
            last = await publish(two, "go")
            woken = await three.until("wake", callId="w")
    assert woken["event"]["id"] == last
    assert [each["type"] for each in three.heard if each["type"] == "wake"] == ["wake"]


async def test_what_comes_while_the_message_waits_for_its_turn_wakes(
    hive: Hive, token: str
) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one", types="none") as one,
        hive.agent(namespace, token, agentId="two") as two,
    ):
        await one.until("replay_done")
        await two.until("replay_done")
        for number in range(30):
            await one.say("publish", event="busy", data=number)
        await one.say("wait", types=["answer"], callId="w")
        first = await publish(two, "answer")
        woken = await one.until("wake", callId="w")
        # It was in the queue behind 30 commits; the answer may have come before or after its turn.
        assert woken["event"]["id"] == first


async def test_a_wait_is_woken_by_what_a_tool_of_another_publishes(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token, agentId="two") as two,
    ):
        await one.say("wait", types=["turn.*"], callId="w")
        await one.quiet()
        assert await two.call("answer") == "published"
        woken = await one.until("wake", callId="w")
        told = [frame["type"] for frame in one.heard[-2:]]
    assert woken["event"]["agent_id"] == "ada/two"
    assert told == ["event", "wake"]


async def test_a_halt_wakes_everyone_who_waits(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token, agentId="two") as two,
        hive.agent(namespace, token, agentId="boss") as boss,
    ):
        for agent in (one, two, boss):
            await agent.say("wait", types=["never"], callId="w")
            await agent.quiet()
        await boss.say("control", command="pause", reason="you", target="ada/two")
        assert (await two.until("wake"))["event"]["target"] == "ada/two"
        for agent in (one, boss):
            assert "wake" not in [frame["type"] for frame in await agent.quiet()]
        await boss.say("control", command="halt", reason="enough")
        for agent in (one, boss):
            woken = (await agent.until("wake", callId="w"))["event"]
            assert (woken["type"], woken["command"]) == ("control", "halt")


# -- calls ----------------------------------------------------------------------------------------


async def test_a_key_with_a_slash_is_the_key_that_the_tool_wrote(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        await agent.call("write", {"key": "/a~b/c", "value": 1})
        changed = [each for each in agent.heard if each["type"] == "state_changed"]
        assert [each["key"] for each in changed] == ["/a~b/c"]


async def test_a_call_that_can_not_be_kept_has_cost_what_it_cost(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        result = await agent.call("spend_and_spoil", {"amount": 0.25})
        assert result["code"] == "key"
        assert await agent.call("spend_and_spoil", {"amount": 0.25}) == result
    counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert counted["totalCost"] == 0.5
    assert (await hive.http("GET", f"/api/{namespace}/state", token=token)).json() == {}


# -- who ------------------------------------------------------------------------------------------


async def test_fresh_credentials_are_taken_and_a_strangers_are_not(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), hive.token("bob", "bus:observe")) as agent:
        refused = await agent.refused("publish", event="x")
        assert refused["code"] == "forbidden"
        more = hive.token("bob", "bus")
        await agent.say("authenticate", token=more, requestId="more")
        await agent.until("authenticated", requestId="more")
        await publish(agent, "x")
        assert (await agent.refused("authenticate", token=token))["code"] == "forbidden"
        assert (await agent.refused("authenticate"))["code"] == "invalid_message"
        assert (await agent.refused("authenticate", token=5))["code"] == "invalid_message"
        await publish(agent, "y")
        await agent.say("authenticate", token="no token")
        with pytest.raises(ConnectionClosed) as closed:
            await agent.until("authenticated")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    kept = json.dumps(hive.accesses(principal="bob"))
    assert more not in kept
    assert token not in kept


async def test_who_may_no_longer_look_is_sent_away(hive: Hive) -> None:
    async with hive.agent(hive.fresh(), hive.token("bob", "bus")) as agent:
        await agent.until("dance_tools")
        await agent.say("authenticate", token=hive.token("bob", "machine:other"))
        with pytest.raises(ConnectionClosed) as closed:
            await agent.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


async def test_an_agent_may_be_called_as_others_see_it(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token, agentId="one") as agent:
        for said, seen in {"ada/one": "ada/one", "two": "ada/two", "ada": "ada"}.items():
            await agent.say("publish", event="x", agentId=said)
            assert (await agent.until("event"))["agent_id"] == seen


async def test_no_principal_is_called_as_an_agent_of_another(hive: Hive, token: str) -> None:
    """There may be principals with slashes in their names, and with what stands for one."""
    namespace = hive.fresh()
    seen = {}
    for name in ("ada/one", "ada%2Fone"):
        async with hive.agent(namespace, hive.token(name, "bus")) as other:
            await other.until("replay_done")
            for said in (None, name, "two", f"{name}/two"):
                await other.say("publish", event="x", agentId=said)
                seen[name, said] = (await other.until("event"))["agent_id"]
    async with hive.agent(namespace, token) as ada:
        await ada.until("replay_done")
        for said in ("one", "one/two", "%2Fone"):
            await ada.say("publish", event="x", agentId=said)
            assert (await ada.until("event"))["agent_id"] == f"ada/{said}"
    assert seen["ada/one", None] == seen["ada/one", "ada/one"] == "ada%2Fone"
    assert seen["ada/one", "two"] == "ada%2Fone/two"
    assert seen["ada%2Fone", None] == seen["ada%2Fone", "ada%2Fone"] == "ada%252Fone"
    assert seen["ada%2Fone", "two"] == "ada%252Fone/two"
    assert seen["ada%2Fone", "ada%2Fone/two"] == "ada%252Fone/ada%2Fone/two"


async def test_a_token_that_names_agents_may_act_as_those_alone(hive: Hive) -> None:
    words = ("--kind", "jwt", "--name", "swarm", "--scope", "bus", "--agent", "worker-*")
    token = hive.project.manage("issue_credential", *words).splitlines()[-1]
    async with hive.agent(hive.fresh(), token, agentId="worker-1") as agent:
        for said, seen in {None: "worker-1", "worker-2": "worker-2", "swarm": "swarm"}.items():
            await agent.say("publish", event="x", agentId=said)
            assert (await agent.until("event"))["agent_id"] == seen
        assert (await agent.refused("publish", event="x", agentId="judge"))["code"] == "forbidden"
    with pytest.raises(InvalidStatus) as refused:
        async with hive.agent(hive.fresh(), token, agentId="judge"):
            pass
    assert refused.value.response.status_code == 403


async def test_an_agents_name_is_refused_rather_than_cut(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        refused = await agent.refused("publish", event="x", agentId="a" * 200)
        assert (refused["code"], refused["details"][0]["path"]) == ("invalid_message", "/agentId")


async def test_who_has_left_counts_for_a_minute(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token, agentId="one") as agent:
        await agent.until("dance_tools")
    answer: Any = None
    async with asyncio.timeout(60):
        while answer is None or answer[0]["connected"]:
            answer = (await hive.http("GET", f"/api/{namespace}/agents", token=token)).json()
    assert [each["agentId"] for each in answer] == ["ada/one"]


@pytest.mark.parametrize("text", ["[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70])
async def test_what_is_nested_too_deep_is_refused(hive: Hive, token: str, text: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        await agent.socket.send(f'{{"type":"publish","event":"x","data":{text}}}')
        assert (await agent.until("error"))["code"] == "parse_error"


async def test_over_http_a_type_that_is_none_is_refused(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    await hive.http("POST", f"/api/{namespace}/events", {"type": "a"}, token=token)
    answer = await hive.http("GET", f"/api/{namespace}/events?type=a,b", token=token)
    assert answer.status_code == 422
