"""The examples of the seed, played as they are written."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest

from tests.incubators.conftest import HERE, Hive
from tests.node import node_with_websocket

pytestmark = pytest.mark.slow

#: What the seed shows as coming from the server, but for ids and times.
EXAMPLES: dict[str, dict[str, Any]] = {
    "event": {
        "type": "event",
        "event_type": "task.started",
        "data": {"task": "auth-module"},
        "agent_id": "worker-1",
    },
    "state_changed": {
        "type": "state_changed",
        "key": "current_phase",
        "value": "review",
        "agent_id": "player-1",
    },
    "dance_result": {
        "type": "dance_result",
        "callId": "call-123",
        "result": {"success": True, "move": "e2-e4"},
    },
    "control": {"type": "control", "command": "halt", "reason": "Budget exceeded"},
    "replay_done": {"type": "replay_done"},
}


async def test_the_seeds_javascript_runs_unchanged(hive: Hive) -> None:
    """Connection, publish, dance call, metrics, replay, control, reset: in Node, word for word."""
    node = node_with_websocket()
    if node is None:
        pytest.skip("There is no Node with a WebSocket here.")
    words = ("--kind", "jwt", "--name", "swarm", "--scope", "bus")
    agents = ("--agent", "worker-1", "--agent", "player-1")
    token = hive.project.manage("issue_credential", *words, *agents).splitlines()[-1]
    path = f"/ws?namespace={hive.fresh()}&agentId=worker-1&token={token}"
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", "--no-warnings", str(HERE / "seed_client.mjs"),
        hive.project.websocket_url(path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["printed"] == ["Connected", "Caught up with all events"]
    for type, example in EXAMPLES.items():
        first = told["inbound"][type][0]
        assert {key: first[key] for key in example} == example
    event = told["inbound"]["event"][0]
    assert isinstance(event["id"], int)
    assert event["timestamp"].endswith("Z")
    metrics = told["inbound"]["metrics"][-1]["data"]
    assert (metrics["totalTokens"], metrics["totalCost"]) == (15_000, 0.45)
    assert metrics["agentCount"] == 1
    assert metrics["eventCounts"] == {
        "task.started": 1, "moved": 1, "tool_call": 1, "llm_call": 1,
    }  # fmt: skip
    kinds = [msg["type"] for msg in told["caughtUp"]]
    assert kinds[:4] == ["event", "state_changed", "event", "replay_done"]
    assert told["inbound"]["reset"][0]["by"] == "worker-1"
