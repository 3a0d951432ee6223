"""Runs over their sockets: snapshot, log, what was missed, decisions, who may do what."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.node import node_with_websocket
from tests.wire.conftest import DEADLINE, Wire
from tests.wire.following import Follower, Frame, ask, at_rest, following, started

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
APPROVAL = {"type": "human_decision", "node_id": "review", "decision": "approve"}
RESTART = {"type": "mutate_dag", "mutation": {"kind": "restart"}}


@pytest.fixture(scope="module")
def token(wire: Wire) -> str:
    return wire.token("ada")


# -- what is told ----------------------------------------------------------------------------------


async def test_the_snapshot_comes_first_and_once_more_in_words_that_old_clients_know(
    wire: Wire, token: str
) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    async with following(wire, run, token) as follower:
        gate = await follower.until("human_gate_waiting")
    snapshot, *plain = follower.heard
    assert snapshot["type"] == "snapshot"
    assert snapshot["run"]["id"] == run
    assert snapshot["nodes"]["left"]["output"] == {"n": 11}
    assert snapshot["edges"] == [["left", "review"], ["right", "review"], ["review", "total"]]
    assert snapshot["open_gates"] == [{"node_id": "review", "presentation": gate["presentation"]}]
    told = {frame["node_id"]: frame["status"] for frame in plain if frame["type"] == "node_state"}
    assert told == {name: node["status"] for name, node in snapshot["nodes"].items()}
    assert {frame["offset"] for frame in plain} == {snapshot["offset"]}


async def test_every_entry_of_the_log_is_told_in_order_without_a_hole(
    wire: Wire, token: str
) -> None:
    run = await started(wire, token)
    async with following(wire, run, token) as follower:
        await follower.until("human_gate_waiting")
        await follower.say(**APPROVAL)
        done = await follower.until("execution_complete")
    offsets = [frame["offset"] for frame in follower.entries]
    assert offsets == list(range(offsets[0], done["offset"] + 1))
    assert done["outcome"] == "completed"
    assert done["results"]["total"] == {"total": 31}


async def test_who_comes_back_gets_what_was_missed_and_nothing_else(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    snapshot = await at_rest(wire, token, run, "review", "paused")
    since, epoch = snapshot["offset"], snapshot["epoch"]
    await ask(
        wire, "POST", f"/{run}/decisions", token, {"node_id": "review", "decision": "approve"}
    )
    await at_rest(wire, token, run, "total", "completed")
    async with following(wire, run, token, f"?since={since}&epoch={epoch}") as follower:
        done = await follower.until("execution_complete")
    first, *missed = follower.heard
    assert (first["type"], first["recovered"]) == ("snapshot", True)
    assert [frame["offset"] for frame in missed] == list(range(since + 1, done["offset"] + 1))


@pytest.mark.parametrize("query", ["?since=1&epoch=other", "?since=100000"])
async def test_who_comes_back_from_elsewhere_gets_the_snapshot_alone(
    wire: Wire, token: str, query: str
) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    async with following(wire, run, token, query) as follower:
        await follower.say("ping")
        await follower.until("pong")
    assert [frame["type"] for frame in follower.heard] == ["snapshot", "pong"]
    assert follower.heard[0]["recovered"] is False


async def test_an_open_socket_can_be_told_again(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    async with following(wire, run, token) as follower:
        await follower.until("human_gate_waiting")
        await follower.say("resync", since=0)
        again = await follower.until("snapshot")
        told = [(await follower.hear())["offset"] for _ in range(again["offset"])]
    assert again["recovered"] is True
    assert told == list(range(1, again["offset"] + 1))


async def test_two_sockets_are_told_the_same_in_the_same_order(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    async with following(wire, run, token) as one, following(wire, run, token) as other:
        for follower in (one, other):
            await follower.until("human_gate_waiting")
        await asyncio.gather(
            one.say(**APPROVAL, ref="one"),
            other.say(**{**APPROVAL, "decision": "reject"}, ref="other"),
        )
        await one.until("execution_complete")
        await other.until("execution_complete")
        await _answered(one)
        await _answered(other)
    assert one.entries == other.entries
    assert len([frame for frame in one.entries if frame["type"] == "gate_decided"]) == 1
    answers = [_answers(one), _answers(other)]
    assert sorted(answer["type"] for answer in answers) == ["ack", "error"]
    (refused,) = [answer for answer in answers if answer["type"] == "error"]
    assert refused["code"] == "gate_closed"


async def _answered(follower: Follower) -> None:
    while not any("ref" in frame for frame in follower.heard):
        await follower.hear()


def _answers(follower: Follower) -> Frame:
    (answer,) = [frame for frame in follower.heard if "ref" in frame]
    return answer


async def test_the_seeds_react_hook_works_unchanged(wire: Wire, token: str) -> None:
    node = node_with_websocket()
    if node is None:
        pytest.skip("There is no Node with a WebSocket here.")
    run = await started(wire, token)
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", "--no-warnings", str(HERE / "seed_dag_client.mjs"),
        f"ws://{wire.project.host}", run, token,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 2 * DEADLINE)
    assert process.returncode == 0, err.decode()
    store = json.loads(out)
    assert {name: node["status"] for name, node in store["nodes"].items()} == dict.fromkeys(
        ("left", "right", "review", "total"), "completed"
    )
    assert store["nodes"]["total"]["output"] == {"total": 31}
    assert store["cost"] == {"spent": 0, "budget": 4}
    assert store["results"]["total"] == {"total": 31}


# -- what is said ----------------------------------------------------------------------------------


async def test_a_decision_sent_again_with_its_ref_is_acknowledged_again(
    wire: Wire, token: str
) -> None:
    run = await started(wire, token)
    async with following(wire, run, token) as follower:
        await follower.until("human_gate_waiting")
        for _ in range(2):
            answer = await follower.answer(**APPROVAL, ref="once")
            assert answer == {"type": "ack", "ref": "once"}
        while all(frame["type"] != "execution_complete" for frame in follower.heard):
            await follower.hear()
    assert len([frame for frame in follower.heard if frame["type"] == "gate_decided"]) == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({**APPROVAL, "revision": 7}, "gate_changed"),
        ({**APPROVAL, "node_id": "nothing"}, "not_found"),
        ({**APPROVAL, "decision": "maybe"}, "invalid_input"),
        ({"type": "resume_execution", "ref": "r"}, None),
        ({**RESTART, "topology_version": 9}, "stale_topology"),
        ({"type": "dance"}, "unknown_message"),
    ],
)
async def test_every_message_is_answered(
    wire: Wire, token: str, message: Frame, code: str | None
) -> None:
    run = await started(wire, token)
    async with following(wire, run, token) as follower:
        await follower.until("human_gate_waiting")
        answer = await follower.answer(**message)
    assert answer.get("code") == code
    if code is not None:
        row = wire.accesses(surface=f"run:{run}", outcome="refused")[-1]
        assert row["code"] == ("conflict" if code in {"gate_changed", "stale_topology"} else code)


async def test_who_may_only_look_can_neither_decide_nor_cancel(wire: Wire, token: str) -> None:
    viewer = wire.token("viewer", "runs:view:wire_*")
    run = await started(wire, token)
    async with following(wire, run, viewer) as follower:
        await follower.until("human_gate_waiting")
        for message in (APPROVAL, {"type": "cancel_execution"}):
            assert (await follower.answer(**message))["code"] == "forbidden"
    refused = wire.accesses(surface=f"run:{run}", principal="viewer", outcome="refused")
    assert [row["event"] for row in refused] == ["decide", "control"]


async def test_a_paused_run_goes_on_where_it_was(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    async with following(wire, run, token) as follower:
        await follower.until("human_gate_waiting")
        assert (await follower.answer("pause_execution", ref="p"))["ref"] == "p"
        await follower.until("run_state", status="paused")
        await follower.say(**APPROVAL)
        await follower.until("node_state", node_id="review", status="completed")
        await follower.say("resume_execution")
        assert (await follower.until("execution_complete"))["outcome"] == "completed"


async def test_fresh_credentials_are_taken_and_somebody_elses_are_not(
    wire: Wire, token: str
) -> None:
    run = await started(wire, token)
    async with following(wire, run, token) as follower:
        fresh = await follower.answer("authenticate", token=wire.token("ada"), ref="a")
        assert fresh == {"type": "ack", "ref": "a"}
        other = await follower.answer("authenticate", token=wire.token("eve"), ref="e")
        assert (other["code"], other["ref"]) == ("forbidden", "e")


async def test_a_revoked_key_ends_the_socket(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    key = wire.api_key("runs-robot")
    async with wire.connect(f"/api/dags/{run}/stream?api_key={key}") as socket:
        follower = Follower(socket)
        await follower.until("human_gate_waiting")
        wire.revoke(key)
        with pytest.raises(ConnectionClosed) as closed:
            await follower.until("nothing more")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


# -- which run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "scopes", "status"),
    [
        ("the run", ("machines:run",), 403),
        ("the run", ("runs:view:other",), 403),
        ("no-such-run", (), 404),
        ("no-such-run", ("machines:run",), 404),
        ("the run", None, 401),
    ],
)
async def test_the_upgrade_is_refused_with_the_status_that_says_why(
    wire: Wire, token: str, key: str, scopes: tuple[str, ...] | None, status: int
) -> None:
    run = await started(wire, token) if key == "the run" else key
    credential = None if scopes is None else wire.token("nobody", *scopes)
    with pytest.raises(InvalidStatus) as refused:
        await wire.connect(f"/api/dags/{run}/stream", credential)
    assert refused.value.response.status_code == status
    asked = await ask(wire, "GET", f"/{run}/stream", credential)
    assert asked.status_code == status


async def test_a_machines_name_is_its_newest_run(wire: Wire, token: str) -> None:
    await started(wire, token)
    run = await started(wire, token)
    async with following(wire, "wire_run", token) as follower:
        assert (await follower.hear())["run"]["id"] == run


async def test_a_machines_own_websocket_shows_its_runs_to_anybody(wire: Wire, token: str) -> None:
    older = await started(wire, token)
    newer = await started(wire, token)
    other = await started(wire, token, "wire_wait", seconds=0)
    for query, shown in (("", newer), (f"?run={older}", older)):
        async with wire.connect(f"/ws/wire/run/stream{query}") as socket:
            follower = Follower(socket)
            assert (await follower.hear())["run"]["id"] == shown
            assert (await follower.answer(**APPROVAL))["code"] == "forbidden"
    with pytest.raises(InvalidStatus) as refused:
        await wire.connect(f"/ws/wire/run/stream?run={other}")
    assert refused.value.response.status_code == 404


async def test_a_socket_is_idle_once_its_run_is_over(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    async with wire.connect(f"/ws/wire/run/stream?run={run}") as socket:
        follower = Follower(socket)
        await follower.until("human_gate_waiting")
        with pytest.raises(TimeoutError):  # longer than its idle_timeout
            await asyncio.wait_for(socket.recv(), 1.5)
        await ask(wire, "POST", f"/{run}/cancel", token)
        await follower.until("execution_complete", outcome="cancelled")
        with pytest.raises(ConnectionClosed) as closed:
            await follower.until("nothing more")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408
