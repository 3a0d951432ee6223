"""A run's log in sentences."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mashin_surfaces.rooms.events import Event
from mashin_surfaces.surfaces.run_story import MOST_TOLD, story

AT = datetime(2026, 11, 21, tzinfo=UTC)
TITLES = {"tests": "all tests"}


def told(*entries: tuple[str, dict[str, Any]]) -> list[str]:
    events = [
        Event(offset, type, json.dumps({"node_id": "tests", **payload}), "", "", AT)
        for offset, (type, payload) in enumerate(entries, 1)
    ]
    return [sentence.text for sentence in story(events, TITLES)]


@pytest.mark.parametrize(
    ("type", "payload", "sentence"),
    [
        ("node_state", {"status": "completed"}, "All tests: done."),
        ("node_state", {"status": "completed", "node_id": "other"}, "Other: done."),
        (
            "node_state",
            {"status": "failed", "error": {"code": "timeout", "message": "Too slow."}},
            "All tests: failed: Too slow. (timeout)",
        ),
        ("node_state", {"status": "retrying"}, "All tests: tried again."),
        (
            "node_state",
            {"status": "skipped", "reason": "condition_not_met"},
            "All tests: skipped: condition not met.",
        ),
        ("node_state", {"status": "cancelled"}, "All tests: cancelled."),
        (
            "node_state",
            {"status": "paused", "reason": "waits for paid"},
            "All tests: waits for paid.",
        ),
        ("human_gate_waiting", {"presentation": {}}, "All tests: waits for a decision."),
        (
            "human_gate_waiting",
            {"presentation": {"escalated": True}},
            "All tests: still waits for a decision.",
        ),
        ("gate_decided", {"decision": "reject", "by": "ada"}, "All tests: rejected by ada."),
        (
            "gate_decided",
            {"decision": "modify", "by": "ada", "feedback": "Shorter."},
            "All tests: sent back by ada: Shorter.",
        ),
        (
            "gate_decided",
            {"decision": "approve", "by": "", "timed_out": True},
            "All tests: approved, since nobody decided in time.",
        ),
        ("cost_update", {"spent": 0.5}, "$0.50 are spent."),
        (
            "budget_warning",
            {"spent": 0.8, "budget": 1},
            "Most of the budget is spent: $0.80 of $1.00.",
        ),
        (
            "dag_mutated",
            {"mutation": {"by": "ada", "reason": "One more."}},
            "ada changed the graph: One more.",
        ),
        ("run_state", {"status": "running"}, "The run began."),
        ("run_state", {"status": "running", "by": "ada"}, "ada had the run go on."),
        ("run_state", {"status": "pausing", "by": "ada"}, "ada had the run stop: pausing."),
        ("run_state", {"status": "paused"}, "The run is paused."),
        ("execution_complete", {"outcome": "timeout"}, "The run has ended: timeout."),
        ("error", {"code": "conflict", "message": "Not now."}, "Not now. (conflict)"),
    ],
)
def test_an_entry_is_a_sentence(type: str, payload: dict[str, Any], sentence: str) -> None:
    assert told((type, payload)) == [sentence]


@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("node_state", {"status": "scheduled"}),
        ("node_state", {"status": "paused"}),
        ("run_state", {"status": "completed"}),
        ("edge_active", {"from": "a", "to": "b"}),
        ("something new", {}),
    ],
)
def test_what_says_nothing_to_people_is_left_out(type: str, payload: dict[str, Any]) -> None:
    assert told((type, payload)) == []


def test_the_newest_come_first_and_the_oldest_are_left_out() -> None:
    count = MOST_TOLD + 3
    entries = [("node_state", {"status": "completed", "node_id": f"n{n}"}) for n in range(count)]
    assert told(*entries) == [f"N{n}: done." for n in reversed(range(3, count))]
