"""Runs over HTTP, and machines that are runs behind surfaces of their own."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.wire.conftest import DEADLINE, Wire
from tests.wire.following import Follower, ask, at_rest, following, started, until_it_is

pytestmark = pytest.mark.slow

APPROVAL = {"node_id": "review", "decision": "approve"}
START = {"machine": "wire_run", "input": {"amount": 1}}


@pytest.fixture(scope="module")
def token(wire: Wire) -> str:
    return wire.token("ada")


# -- started ---------------------------------------------------------------------------------------


async def test_a_started_run_says_where_it_can_be_followed(wire: Wire, token: str) -> None:
    body = {**START, "budget": 2.5, "max_parallel": 1}
    answer = await ask(wire, "POST", "", token, body)
    run = answer.json()
    assert answer.status_code == 201
    assert run["wsUrl"] == f"ws://{wire.project.host}/api/dags/{run['id']}/stream"
    (row,) = wire.accesses(request_id=answer.headers["X-Request-ID"])
    assert (row["event"], row["principal"], row["outcome"]) == ("start", "ada", "allowed")
    cost = (await ask(wire, "GET", f"/{run['id']}", token)).json()["cost"]
    assert cost == {"spent": 0, "budget": 2.5, "remaining": 2.5, "currency": "USD"}


async def test_the_same_key_starts_one_run(wire: Wire, token: str) -> None:
    key = {"Idempotency-Key": "order-4711"}
    answers = await asyncio.gather(*(ask(wire, "POST", "", token, START, **key) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await ask(wire, "POST", "", token, {**START, "input": {"amount": 2}}, **key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        ({"machine": "wire_run", "input": {}}, 422, "invalid_input", "/amount"),
        ({"machine": "wire_run", "input": {"amount": 1, "more": 1}}, 422, "invalid_input", "/more"),
        ({"machine": "wire_run", "budget": -1}, 422, "invalid_input", "/budget"),
        ({"machine": "wire_run", "max_parallel": 0}, 422, "invalid_input", "/max_parallel"),
        ({**START, "budget": 5}, 422, "invalid_input", "/budget"),
        ({"input": {}}, 422, "invalid_input", "/machine"),
        ({"machine": "no such machine"}, 404, "not_found", None),
    ],
)
async def test_a_start_is_refused_with_what_is_wrong(
    wire: Wire, token: str, body: Any, status: int, code: str, path: str | None
) -> None:
    answer = await ask(wire, "POST", "", token, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert path is None or error["details"][0]["path"] == path
    (row,) = wire.accesses(request_id=error["request_id"])
    assert (row["outcome"], row["code"]) == ("refused", code)


async def test_starting_takes_a_scope_of_its_own(wire: Wire) -> None:
    for scopes, status in ((("runs:view",), 403), (("runs:start:wire_run",), 201)):
        credential = wire.token("starter", *scopes)
        assert (await ask(wire, "POST", "", credential, START)).status_code == status


# -- read ------------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first_page_by_page(wire: Wire, token: str) -> None:
    ids = [await started(wire, token) for _ in range(3)][::-1]
    listed: list[str] = []
    path = "?machine=wire_run&status=running&limit=2"
    while len(listed) < 3:
        page = (await ask(wire, "GET", path, token)).json()
        listed += [run["id"] for run in page["runs"]]
        path = page["next"].removeprefix("/api/dags")
    assert listed[:3] == ids
    stranger = wire.token("stranger", "runs:view:other")
    assert (await ask(wire, "GET", "", stranger)).json() == {"runs": []}


async def test_the_log_is_read_from_an_offset_on(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    head = (await at_rest(wire, token, run, "review", "paused"))["offset"]
    body = (await ask(wire, "GET", f"/{run}/events?since=2&limit=3", token)).json()
    assert [event["offset"] for event in body["events"]] == [3, 4, 5]
    assert body["offset"] == head
    async with following(wire, run, token, "?since=2") as follower:
        told = [await follower.hear() for _ in range(4)][1:]
    assert body["events"] == told


async def test_big_outputs_are_told_by_where_they_are(wire: Wire, token: str) -> None:
    note = "n" * 20_000
    run = await started(wire, token, amount=1, note=note)
    snapshot = await at_rest(wire, token, run, "review", "paused")
    told = snapshot["nodes"]["right"]["output"]
    assert told["size"] > len(note)
    assert snapshot["nodes"]["left"]["output"] == {"n": 2}
    whole = await wire.get(told["$ref"], headers={"Authorization": f"Bearer {token}"})
    assert whole.json() == {"n": 2, "note": note}
    results = (await ask(wire, "GET", f"/{run}/results", token)).json()
    assert results == {"left": {"n": 2}, "right": {"n": 2, "note": note}}
    assert (await ask(wire, "GET", f"/{run}/nodes/total/output", token)).status_code == 404


async def test_a_sockets_path_is_explained(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    answer = await ask(wire, "GET", f"/{run}/stream", token)
    assert answer.status_code == 426
    assert answer.json()["surface"]["scopes"] == ["runs:view:wire_run"]


# -- changed ---------------------------------------------------------------------------------------


async def test_a_gate_is_decided_once(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    first = await ask(wire, "POST", f"/{run}/decisions", token, APPROVAL)
    assert (first.status_code, first.json()["id"]) == (200, run)
    second = await ask(wire, "POST", f"/{run}/decisions", token, APPROVAL)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "gate_closed")
    rows = wire.accesses(surface=f"run:{run}", event="decide")
    assert [row["outcome"] for row in rows] == ["allowed", "refused"]
    assert rows[0]["request_id"] == first.headers["X-Request-ID"]
    assert rows[1]["request_id"] == second.headers["X-Request-ID"]


async def test_a_run_is_paused_resumed_and_cancelled(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = await ask(wire, "POST", f"/{run}/{verb}", token)
        assert answer.status_code in {200, 202}
        await until_it_is(wire, token, run, status)
    late = await ask(wire, "POST", f"/{run}/resume", token)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")


async def test_an_event_from_outside_lets_a_run_go_on(wire: Wire, token: str) -> None:
    run = await started(wire, token, "wire_wait", seconds=0)
    await at_rest(wire, token, run, "parcel", "paused")
    for body, status in (
        ({"event": "parcel.lost", "value": {"weight": 1}}, 404),
        ({"event": "parcel.arrived", "value": {"weight": "heavy"}}, 422),
        ({"value": {"weight": 1}}, 422),
        ({"event": "parcel.arrived", "value": {"weight": 3}}, 200),
    ):
        assert (await ask(wire, "POST", f"/{run}/signals", token, body)).status_code == status
    await at_rest(wire, token, run, "answer", "completed")
    assert (await ask(wire, "GET", f"/{run}/results", token)).json()["answer"] == {"value": 3}


async def test_a_node_that_was_rejected_is_asked_for_again(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    no = {"node_id": "review", "decision": "reject", "feedback": "Too much."}
    await ask(wire, "POST", f"/{run}/decisions", token, no)
    snapshot = await at_rest(wire, token, run, "review", "failed")
    assert "Too much." in snapshot["nodes"]["review"]["error"]["message"]
    await until_it_is(wire, token, run, "failed")
    assert (await ask(wire, "POST", f"/{run}/nodes/review/retry", token)).status_code == 200
    await at_rest(wire, token, run, "review", "paused")


async def test_a_graph_is_changed_where_it_is_known(wire: Wire, token: str) -> None:
    run = await started(wire, token)
    await at_rest(wire, token, run, "review", "paused")
    step = {"kind": "compute", "name": "half", "body": "{half: steps.total.total / 2}"}
    mutation = {
        "kind": "add_node",
        "nodes_added": [{"id": "half", "step": step, "needs": ["total"]}],
    }
    body = {"mutation": mutation, "topology_version": 1}
    changed = await ask(wire, "POST", f"/{run}/mutations", token, body)
    assert changed.status_code == 200, changed.text
    stale = await ask(wire, "POST", f"/{run}/mutations", token, body)
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "stale_topology")
    await ask(wire, "POST", f"/{run}/decisions", token, APPROVAL)
    snapshot = await at_rest(wire, token, run, "half", "completed")
    assert snapshot["nodes"]["half"]["output"] == {"half": 15.5}


async def test_only_an_id_says_which_run_is_changed(wire: Wire, token: str) -> None:
    await started(wire, token)
    assert (await ask(wire, "GET", "/wire_run", token)).status_code == 200
    assert (await ask(wire, "POST", "/wire_run/cancel", token)).status_code == 404
    wrong = await ask(wire, "DELETE", "/wire_run", token)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET")


async def test_code_of_another_process_starts_and_decides(wire: Wire, token: str) -> None:
    code = (
        "from mashin_surfaces import decide, start_run\n"
        "from mashin_surfaces.identity.principal import Credential, Principal\n"
        "from mashin_surfaces.identity.scopes import Scopes\n"
        "robot = Principal('robot', Credential('none'), Scopes(['runs']))\n"
    )
    start = "print(start_run('wire_run', {'amount': 10}, principal=robot, budget=0.5))"
    run = wire.project.manage("shell", "-v", "0", "-c", code + start).split()[-1]
    snapshot = await at_rest(wire, token, run, "review", "paused")
    assert (snapshot["run"]["started_by"], snapshot["cost"]["budget"]) == ("robot", 0.5)
    answer = "decide(%r, 'review', 'approve', principal=robot, revision=1)"
    wire.project.manage("shell", "-c", code + answer % run)
    assert (await until_it_is(wire, token, run, "completed"))["run"]["outcome"] == "completed"


# -- surfaces of machines that are runs ------------------------------------------------------------


async def test_a_machine_that_waits_answers_with_its_run(wire: Wire, token: str) -> None:
    answer = await wire.request("POST", "/api/wire/run", content='{"amount": 10}')
    assert answer.status_code == 202
    begun = answer.json()
    assert begun["stream"] == f"/api/dags/{begun['run_id']}/stream"
    (row,) = wire.accesses(request_id=answer.headers["X-Request-ID"])
    assert (row["surface"], row["outcome"]) == ("api:/api/wire/run", "allowed")
    await at_rest(wire, token, begun["run_id"], "review", "paused")


async def test_a_machine_that_waits_answers_with_its_run_over_its_websocket(
    wire: Wire, token: str
) -> None:
    async with wire.connect("/ws/wire/run") as socket:
        await socket.send('{"amount": 10}')
        begun = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
    snapshot = await at_rest(wire, token, begun["run_id"], "review", "paused")
    assert snapshot["run"]["started_by"] == "anonymous"


async def test_what_needs_no_approval_this_time_is_answered_as_always(wire: Wire) -> None:
    body = json.dumps({"text": "ab", "is_shouted": False})
    answer = await wire.request("POST", "/api/wire/approved", content=body)
    assert (answer.status_code, answer.json()) == (200, {"text": "ab"}), answer.text
    events = [row["event"] for row in wire.accesses(request_id=answer.headers["X-Request-ID"])]
    assert events == ["start", "message"]


@pytest.mark.parametrize("surface", ["websocket", "api", "page"])
async def test_an_approval_is_asked_for_over_every_surface(
    wire: Wire, token: str, surface: str
) -> None:
    run, node = await _approval_wanted(wire, surface)
    async with following(wire, run, token) as follower:
        gate = await follower.until("human_gate_waiting")
        assert gate["presentation"]["output"]["inputs"] == {"text": "ab", "times": 2}
        decision = {"node_id": node, "decision": "approve"}
        assert (await follower.answer("human_decision", **decision))["type"] == "ack"
        done = await _the_end(follower)
    assert done["results"]["answer"] == {"text": "abab"}


async def _the_end(follower: Follower) -> Any:
    heard = [frame for frame in follower.heard if frame["type"] == "execution_complete"]
    return heard[0] if heard else await follower.until("execution_complete")


async def _approval_wanted(wire: Wire, surface: str) -> tuple[str, str]:
    """Ask the machine over a surface; the run and the node where somebody has to decide."""
    if surface == "websocket":
        async with wire.connect("/ws/wire/approved") as socket:
            await socket.send('{"text": "ab"}')
            told = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
        return _gate_of(told["error"])
    if surface == "api":
        answer = await wire.request("POST", "/api/wire/approved", content='{"text": "ab"}')
        assert answer.status_code == 202
        return _gate_of(answer.json()["error"])
    form = {"text": "ab", "is_shouted": "true"}
    page = await wire.request("POST", "/wire/approved", data=form)
    assert page.status_code == 303
    found = re.fullmatch(r".*\?run=([0-9a-f]{32})", page.headers["location"])
    assert found is not None, page.headers["location"]
    return found[1], "shouted"


def _gate_of(error: Any) -> tuple[str, str]:
    assert error["code"] == "approval_required"
    (gate,) = error["details"]
    return gate["run_id"], gate["node_id"]
