"""An incubator over its socket: replay, events, state, claims, tools, control, waits, reset."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.incubators.conftest import Agent, Hive

pytestmark = pytest.mark.slow


def ids(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["id"] for frame in frames if "id" in frame]


async def publish(agent: Agent, *types: str) -> list[int]:
    """Publish events; their ids."""
    found = []
    for type in types:
        await agent.say("publish", event=type, data={"of": type})
        found.append((await agent.until("publish_ack"))["eventId"])
    return found


# -- replay ---------------------------------------------------------------------------------------


async def test_everything_is_replayed_once_in_order_before_replay_done(
    hive: Hive, token: str
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as first:
        published = await publish(first, "a", "b", "c")
    async with hive.agent(namespace, token, since=0) as second:
        done = await second.until("replay_done")
        await second.until("dance_tools")
    assert ids(second.heard) == published
    assert done["cursor"] == published[-1]


async def test_since_is_exclusive_and_live_events_follow(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as first, hive.agent(namespace, token) as second:
        one, two = await publish(first, "a", "b")
        epoch = (await second.until("event", id=two))["epoch"]
        async with hive.agent(namespace, token, since=one, epoch=epoch) as third:
            await third.until("replay_done")
            (three,) = await publish(first, "c")
            await third.until("event", id=three)
    assert ids(third.heard) == [two, three]


@pytest.mark.parametrize("query", [{"since": 99}, {"since": 1, "epoch": "another"}])
async def test_what_is_not_there_is_told_as_a_gap_and_the_state_comes_instead(
    hive: Hive, token: str, query: dict[str, Any]
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as first:
        await first.say("set_state", key="phase", value="review")
        await first.until("state_changed")
        await publish(first, "a")
    async with hive.agent(namespace, token, **query) as second:
        await second.until("replay_done")
    gap, state, done = second.heard
    assert (gap["type"], gap["from"], gap["to"]) == ("gap", query["since"], 2)
    assert state == {"type": "state", "state": {"phase": "review"}, "cursor": 2}
    assert done["cursor"] == 2


async def test_what_is_trimmed_is_told_as_a_gap_and_what_is_kept_is_replayed(
    hive: Hive, token: str
) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        published = await publish(agent, "a", "b", "c", "d")
    hive.project.manage("shell", "-c", TRIM.format(namespace=namespace))
    async with hive.agent(namespace, token, since=1) as late:
        await late.until("replay_done")
    assert [frame["type"] for frame in late.heard] == ["gap", "state", "replay_done"]
    assert (late.heard[0]["from"], late.heard[0]["to"]) == (1, published[-1])
    for query in ({}, {"since": 0}, {"since": 2}):
        async with hive.agent(namespace, token, **query) as agent:
            await agent.until("replay_done")
        assert ids(agent.heard) == published[2:]
    answer = await hive.http("GET", f"/api/{namespace}/events?since=1", token=token)
    assert answer.status_code == 410


TRIM = """
from django.conf import settings
settings.MASHIN_SURFACES["ROOMS"] = {{"incubator": {{"COUNT": 2}}}}
from mashin_surfaces.incubators import store
from mashin_surfaces.rooms import retention
retention.trim("incubator", rooms=[store.known("{namespace}").pk])
"""


@pytest.mark.parametrize(
    "query",
    [{"since": "soon"}, {"since": -1}, {"types": "a b"}, {"namespace": "Not-One"}],
)
async def test_what_can_not_be_understood_is_refused_before_the_upgrade(
    hive: Hive, token: str, query: dict[str, Any]
) -> None:
    given = {"namespace": hive.fresh(), **query}
    with pytest.raises(InvalidStatus) as refused:
        async with hive.agent(given.pop("namespace"), token, **given):
            pass
    assert refused.value.response.status_code == 422


async def test_a_surface_with_scopes_lets_in_who_holds_them_and_may_observe(hive: Hive) -> None:
    for scopes, status in [
        (["bus"], 403),
        (["hive:members"], 403),
        (["bus", "hive:members"], 101),
    ]:
        words = urlencode({"namespace": hive.fresh(), "token": hive.token("bob", *scopes)})
        told, _ = await upgraded(hive, f"/ws/members?{words}")
        assert told == status, scopes


@pytest.mark.parametrize(
    ("surface", "scopes", "query", "status"),
    [
        ("/ws", None, {}, 426),
        ("/ws", ["machines:run"], {}, 403),
        ("/ws", ["bus:observe:team-*"], {"namespace": "other"}, 403),
        ("/ws", ["bus:observe:team-*"], {"namespace": "team-1"}, 426),
        ("/ws", ["bus"], {"namespace": "No such"}, 422),
        ("/ws", ["bus"], {"since": "soon"}, 422),
        ("/ws/members", None, {}, 401),
        ("/ws/members", ["bus"], {}, 403),
        ("/ws/members", ["hive:members"], {}, 403),
        ("/ws/members", ["bus", "hive:members"], {}, 426),
    ],
)
async def test_a_plain_get_tells_what_the_upgrade_would_be_told(
    hive: Hive, surface: str, scopes: list[str] | None, query: dict[str, str], status: int
) -> None:
    credential = {} if scopes is None else {"token": hive.token("bob", *scopes)}
    path = f"{surface}?{urlencode({**credential, **query})}"
    explained = await hive.get(path)
    assert explained.status_code == status
    told = explained.json()
    assert await upgraded(hive, path) == (
        (101, None) if status == 426 else (status, told["error"]["message"])
    )
    if status == 426:
        assert told["error"]["code"] == "upgrade_required"
        assert f"bus:observe:{query.get('namespace', 'default')}" in told["surface"]["scopes"]


async def test_a_plain_get_makes_no_namespace(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    assert (await hive.get(f"/ws?namespace={namespace}&token={token}")).status_code == 426
    assert (await hive.http("GET", f"/api/{namespace}/state", token=token)).status_code == 404


async def upgraded(hive: Hive, path: str) -> tuple[int, str | None]:
    """The status of an upgrade, and the message when it was refused."""
    try:
        async with connect(hive.project.websocket_url(path), proxy=None) as socket:
            assert json.loads(await socket.recv())["type"] in {"event", "replay_done"}
            return 101, None
    except InvalidStatus as refused:
        answer = refused.response
        return answer.status_code, json.loads(answer.body)["error"]["message"]


async def test_only_events_of_the_wanted_types_are_told(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token) as first,
        hive.agent(namespace, token, types="turn.*") as second,
    ):
        await second.until("replay_done")
        await publish(first, "turn.a", "other", "turn.a.deep", "turn.b")
        await second.until("event", event_type="turn.b")
        await second.say("subscribe", types=["other"])
        await second.quiet()
        await publish(first, "turn.a", "other")
        await second.until("event", event_type="other")
    types = [frame["event_type"] for frame in second.heard if frame["type"] == "event"]
    assert types == ["turn.a", "turn.b", "other"]


# -- state and claims -----------------------------------------------------------------------------


async def test_state_is_written_with_versions_and_compared(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        await agent.say("set_state", key="k", value=1, ifVersion=0)
        assert (await agent.until("state_changed"))["version"] == 1
        assert (await agent.refused("set_state", key="k", value=2, ifVersion=0))["code"] == (
            "conflict"
        )
        await agent.say("set_state", key="k", value=2, ifVersion=1)
        assert (await agent.until("state_changed"))["version"] == 2
        await agent.say("delete_state", key="k")
        assert (await agent.until("state_changed"))["deleted"]
        assert (await agent.refused("delete_state", key="k"))["code"] == "not_found"
    answer = await hive.http("GET", f"/api/{namespace}/state", token=token)
    assert answer.json() == {}


async def test_a_claim_is_one_agents_until_it_is_over_and_the_fence_rises(
    hive: Hive, token: str
) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token, agentId="two") as two,
    ):
        await one.say("claim", resource="disk", ttlMs=600_000)
        assert (await one.until("claim_changed"))["fence"] == 1
        refused = await two.refused("claim", resource="disk")
        assert refused["code"] == "claimed"
        assert refused["details"][0]["owner"] == "ada/one"
        assert (await two.refused("release", resource="disk"))["code"] == "forbidden"
        await one.say("claim", resource="disk", ttlMs=1)
        assert (await one.until("claim_changed", status="renewed"))["fence"] == 1
        over = await two.until("claim_changed", status="expired")
        assert over["owner"] == "ada/one"
        await two.say("claim", resource="disk")
        assert (await two.until("claim_changed", status="claimed"))["fence"] == 2


async def test_nobody_owns_what_another_has_at_any_place_of_the_log(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as watcher:
        await asyncio.gather(*(grab(hive, token, namespace, f"a{n}") for n in range(20)))
        await watcher.quiet()
    owners: dict[str, str] = {}
    fences: dict[str, int] = {}
    for frame in watcher.heard:
        if frame["type"] != "claim_changed":
            continue
        resource = frame["resource"]
        if frame["status"] == "claimed":
            assert resource not in owners
            assert frame["fence"] > fences.get(resource, 0)
            owners[resource], fences[resource] = frame["owner"], frame["fence"]
        else:
            assert owners[resource] == frame["owner"]
            if frame["status"] in {"released", "expired"}:
                del owners[resource]


async def grab(hive: Hive, token: str, namespace: str, name: str) -> None:
    """Claim and release a few resources that others want, too."""
    async with hive.agent(namespace, token, agentId=name, types="none") as agent:
        await agent.until("replay_done")
        for number in range(4):
            resource = f"r{(number + len(name)) % 3}"
            await agent.say("claim", resource=resource, ttlMs=50, requestId="claim")
            await agent.say("release", resource=resource, requestId="release")
        await agent.quiet()


# -- tools ----------------------------------------------------------------------------------------


async def test_what_a_tool_does_is_seen_before_its_result(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        assert await agent.call("increment", {"by": 2}) == 2
        told = [frame["type"] for frame in agent.heard[-3:]]
    assert told == ["state_changed", "event", "dance_result"]


async def test_no_increment_is_lost(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as one, hive.agent(namespace, token) as two:
        calls = [agent.call("increment") for agent in (one, two) for _ in range(1)]
        await asyncio.gather(*calls)
        for agent in (one, two):
            for _ in range(20):
                await agent.say("dance_call", tool="increment", args={}, callId=f"{id(agent)}-{_}")
        results = []
        for agent in (one, two):
            results += [(await agent.until("dance_result"))["result"] for _ in range(20)]
    assert max(results) == 42


async def test_a_tool_that_fails_has_done_nothing(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as agent:
        result = await agent.call("break")
        heard = await agent.quiet()
    assert set(result) == {"error", "code"}
    assert heard == []
    for part in ("state", "events", "claims"):
        answer = await hive.http("GET", f"/api/{namespace}/{part}", token=token)
        assert not answer.json(), part


async def test_the_same_call_again_gets_the_same_answer(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        first = await agent.call("increment", callId="once")
        assert await agent.call("increment", callId="once") == first
        assert await agent.call("increment") == 2


@pytest.mark.parametrize(
    ("tool", "args", "code"),
    [("none", {}, "tool"), ("increment", {"by": "much"}, "invalid_input")],
)
async def test_a_call_that_can_not_be_made_is_answered(
    hive: Hive, token: str, tool: str, args: dict[str, Any], code: str
) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        assert (await agent.call(tool, args))["code"] == code


# -- control and budget ---------------------------------------------------------------------------


async def test_a_stopped_bus_refuses_those_who_may_not_control_it(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as boss, hive.agent(namespace) as stranger:
        await boss.say("control", command="pause", reason="lunch")
        told = await stranger.until("control")
        assert (told["command"], told["reason"], told["by"]) == ("pause", "lunch", "ada")
        assert (await stranger.refused("publish", event="x"))["code"] == "paused"
        assert (await stranger.call("increment"))["code"] == "paused"
        assert (await stranger.refused("control", command="resume", reason=""))["code"] == (
            "forbidden"
        )
        await publish(boss, "still")
        await boss.say("control", command="resume", reason="")
        await stranger.until("control", command="resume")
        await publish(stranger, "again")


async def test_what_is_spent_is_warned_of_and_stops_the_bus(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as boss, hive.agent(namespace) as worker:
        assert await worker.call("spend", {"amount": 0.6}) == "spent"
        await boss.until("event", event_type="budget.warning")
        assert await worker.call("spend", {"amount": 0.5}) == "spent"
        assert (await boss.until("control"))["reason"] == "Budget exceeded"
        assert (await worker.call("spend", {"amount": 0.1}))["code"] == "halted"
    metrics = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    assert (metrics["totalCost"], metrics["totalTokens"]) == (1.1, 30)
    assert metrics["eventCounts"] == {"budget.warning": 1, "tool_call": 2, "llm_call": 2}


# -- waits ----------------------------------------------------------------------------------------


async def test_an_agent_is_woken_by_others_and_not_by_itself(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with (
        hive.agent(namespace, token, agentId="one") as one,
        hive.agent(namespace, token, agentId="two") as two,
    ):
        await one.say("wait", types=["turn.*"], callId="w")
        await publish(one, "turn.mine")
        assert not [frame for frame in await one.quiet() if frame["type"] == "wake"]
        await publish(two, "turn.yours")
        woken = await one.until("wake", callId="w")
    assert (woken["event"]["event_type"], woken["event"]["agent_id"]) == ("turn.yours", "ada/two")


async def test_control_wakes_everybody_and_time_wakes_with_nothing(hive: Hive, token: str) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        await agent.say("wait", types=["never"], callId="control")
        await agent.say("control", command="pause", reason="now")
        assert (await agent.until("wake", callId="control"))["event"]["type"] == "control"
        await agent.say("wait", delayMs=1, callId="delay")
        assert (await agent.until("wake", callId="delay"))["event"] is None
        await agent.say("wait", types=["never"], timeoutMs=1, callId="timeout")
        assert (await agent.until("wake", callId="timeout"))["event"] is None


# -- reset ----------------------------------------------------------------------------------------


async def test_a_reset_clears_everything_and_ids_go_on_rising(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, token) as one, hive.agent(namespace, token) as two:
        await two.until("dance_tools")  # it is there before the reset
        (before,) = await publish(one, "a")
        await one.say("set_state", key="k", value=1)
        await one.say("claim", resource="r")
        await one.until("claim_changed")
        await one.say("reset")
        epoch = (await one.until("reset_ack"))["epoch"]
        told = await two.until("reset")
        assert (told["epoch"], told["by"]) == (epoch, "ada")
        await two.until("replay_done")
        (after,) = await publish(one, "b")
        assert after > before
        assert (await two.until("event"))["epoch"] == epoch
    async with hive.agent(namespace, token, since=0) as third:
        await third.until("replay_done")
    assert [frame.get("event_type") for frame in third.heard] == ["b", None]
    for part in ("state", "claims"):
        assert not (await hive.http("GET", f"/api/{namespace}/{part}", token=token)).json()


# -- who ------------------------------------------------------------------------------------------


async def test_an_agent_can_not_take_the_name_of_another(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    async with hive.agent(namespace, agentId="ada") as stranger:
        await stranger.say("publish", event="x", agentId="ada")
        event = await stranger.until("event")
    assert event["agent_id"] != "ada"
    assert event["agent_id"].endswith("/ada")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "parse_error"),
        ("[]", "parse_error"),
        ('{"type":"jump"}', "unknown_message"),
        ('{"event":"x"}', "invalid_message"),
        ('{"type":"publish"}', "invalid_message"),
        ('{"type":"dance_call","tool":"increment"}', "invalid_message"),
        ('{"type":"publish","event":"x","data":"\\u0000"}', "invalid_message"),
    ],
)
async def test_no_frame_is_passed_over_in_silence(
    hive: Hive, token: str, text: str, code: str
) -> None:
    async with hive.agent(hive.fresh(), token) as agent:
        await agent.socket.send(text)
        assert (await agent.until("error"))["code"] == code


# -- HTTP -----------------------------------------------------------------------------------------


async def test_the_same_is_done_over_http_with_real_statuses(hive: Hive, token: str) -> None:
    namespace = hive.fresh()
    base = f"/api/{namespace}"
    assert (await hive.http("GET", f"{base}/state", token=token)).status_code == 404
    made = await hive.http("POST", f"{base}/events", {"type": "a", "data": 1}, token=token)
    assert made.status_code == 201
    await hive.http("POST", f"{base}/state", {"key": "k", "value": [1]}, token=token)
    wrong = {"key": "k", "value": 2, "ifVersion": 7}
    assert (await hive.http("POST", f"{base}/state", wrong, token=token)).status_code == 409
    assert (await hive.http("GET", f"{base}/state?key=k", token=token)).json() == {"k": [1]}
    events = (await hive.http("GET", f"{base}/events?type=a", token=token)).json()
    assert [(each["id"], each["type"], each["data"]) for each in events] == [(1, "a", 1)]
    claimed = await hive.http("POST", f"{base}/claims", {"resource": "r"}, token=token)
    assert claimed.json()["fence"] == 1
    other = hive.token("bob", "bus")
    taken = await hive.http("POST", f"{base}/claims", {"resource": "r"}, token=other)
    assert taken.status_code == 409
    assert taken.json()["error"]["details"][0]["owner"] == "ada"
    stop = {"command": "halt", "reason": "enough"}
    watcher = hive.token("eve", "bus:observe")
    assert (await hive.http("POST", f"{base}/control", stop, token=watcher)).status_code == 403
    assert (await hive.http("POST", f"{base}/control", stop, token=token)).status_code == 200
    assert json.loads((await hive.http("GET", f"{base}/agents", token=token)).text) == []
