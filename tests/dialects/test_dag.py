"""The run dialect: text in, command out; what the log and a snapshot say, in frames out."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mashin_surfaces.dialects import dag
from mashin_surfaces.dialects.dag import (
    MUTATION_KINDS,
    Authenticate,
    Cancel,
    Command,
    HumanDecision,
    MutateDag,
    Pause,
    Ping,
    Resume,
    Resync,
    decode,
    human_decision,
    mutate_dag,
    ref_of,
)
from mashin_surfaces.exceptions import Code, Refusal

AT = "2026-11-21T10:00:00.000Z"


def refused(frame: Any) -> Refusal:
    """How a frame is refused; a frame that is taken fails the test."""
    with pytest.raises(Refusal) as caught:
        decode(frame if isinstance(frame, str | bytes) else json.dumps(frame))
    return caught.value


def mutation(kind: str = "add_node", **parts: Any) -> dict[str, Any]:
    """A mutation as the runs get it: whatever was not sent is there, and empty."""
    empty: dict[str, Any] = {
        "nodes_added": [],
        "nodes_removed": [],
        "nodes_changed": [],
        "edges_added": [],
        "edges_removed": [],
        "reason": "",
    }
    return {"kind": kind, **empty, **parts}


# -- client → server ------------------------------------------------------------------------------

COMMANDS: list[tuple[dict[str, Any], Command]] = [
    (
        {"type": "human_decision", "node_id": "review", "decision": "approve"},
        HumanDecision("review", "approve"),
    ),
    (
        {"type": "human_decision", "gate_id": "g1", "decision": "reject", "scope": "abort"},
        HumanDecision(None, "reject", gate_id="g1", scope="abort"),
    ),
    (
        {
            "type": "human_decision",
            "node_id": "review",
            "decision": "modify",
            "feedback": "Shorter.\nAnd kinder: ü",
            "gate_id": "g1",
            "revision": 2,
            "scope": "phase",
            "option_id": "changes",
            "ref": "r1",
        },
        HumanDecision(
            "review", "modify", "Shorter.\nAnd kinder: ü", "g1", 2, "phase", "changes", "r1"
        ),
    ),
    (
        {
            "type": "human_decision",
            "node_id": "n" * 64,
            "decision": "approve",
            "feedback": None,
            "gate_id": None,
            "revision": None,
            "scope": None,
            "option_id": None,
            "ref": None,
        },
        HumanDecision("n" * 64, "approve"),
    ),
    (
        {"type": "human_decision", "node_id": "a", "decision": "modify", "feedback": "f" * 10_000},
        HumanDecision("a", "modify", "f" * 10_000),
    ),
    ({"type": "pause_execution"}, Pause()),
    ({"type": "pause_execution", "ref": "r" * 64}, Pause("r" * 64)),
    ({"type": "resume_execution"}, Resume()),
    ({"type": "resume_execution", "ref": "r 1"}, Resume("r 1")),
    ({"type": "cancel_execution"}, Cancel()),
    ({"type": "cancel_execution", "ref": "ü"}, Cancel("ü")),
    (
        {"type": "mutate_dag", "mutation": {"kind": "restart"}, "topology_version": 1},
        MutateDag(mutation("restart"), 1),
    ),
    (
        {
            "type": "mutate_dag",
            "mutation": {
                "kind": "replace_node",
                "nodes_added": [{"id": "b", "step": {"kind": "compute", "value": "1"}}],
                "nodes_removed": ["a"],
                "nodes_changed": [{"id": "c", "needs": ["b"]}],
                "edges_added": [["b", "c"]],
                "edges_removed": [["a", "c"]],
                "reason": "It was wrong.",
            },
            "topology_version": 3,
            "ref": "r1",
        },
        MutateDag(
            mutation(
                "replace_node",
                nodes_added=[{"id": "b", "step": {"kind": "compute", "value": "1"}}],
                nodes_removed=["a"],
                nodes_changed=[{"id": "c", "needs": ["b"]}],
                edges_added=[["b", "c"]],
                edges_removed=[["a", "c"]],
                reason="It was wrong.",
            ),
            3,
            "r1",
        ),
    ),
    (
        {
            "type": "mutate_dag",
            "mutation": {
                "kind": "add_edge",
                "edges_added": [[f"{n:064}", "b"] for n in range(1000)],
                "nodes_added": None,
                "reason": None,
            },
            "topology_version": 2**63 - 1,
        },
        MutateDag(
            mutation("add_edge", edges_added=[[f"{n:064}", "b"] for n in range(1000)]), 2**63 - 1
        ),
    ),
    ({"type": "resync", "since": 0}, Resync(0)),
    ({"type": "resync", "since": 2**63 - 1, "epoch": "e"}, Resync(2**63 - 1, "e")),
    ({"type": "authenticate", "token": "t", "ref": "a"}, Authenticate("t", "a")),
    ({"type": "ping"}, Ping()),
]


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_a_frame_is_a_command_as_text_and_as_bytes(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps(frame)) == command
    assert decode(json.dumps(frame, ensure_ascii=False).encode()) == command


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_keys_that_nobody_knows_are_passed_over(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps({"dag_id": "d", "at": [1], **frame, "": None})) == command


def test_who_mutates_does_not_say_what_the_server_says() -> None:
    claimed = {"kind": "restart", "id": "m1", "by": "root", "topology_version": 9, "more": [1]}
    frame = {"type": "mutate_dag", "mutation": claimed, "topology_version": 1}
    assert decode(json.dumps(frame)) == MutateDag(mutation("restart"), 1)


@pytest.mark.parametrize("kind", MUTATION_KINDS)
def test_every_kind_of_mutation_is_taken(kind: str) -> None:
    body = {"mutation": {"kind": kind}, "topology_version": 1}
    assert mutate_dag(body).mutation["kind"] == kind


def test_a_body_that_comes_over_http_needs_no_type() -> None:
    assert human_decision({"gate_id": "g", "decision": "approve"}) == HumanDecision(
        None, "approve", gate_id="g"
    )
    assert mutate_dag({"mutation": {"kind": "fork"}, "topology_version": 2, "ref": "r"}) == (
        MutateDag(mutation("fork"), 2, "r")
    )


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "",
        "{",
        "{'type':'ping'}",
        '{"type":"ping"}{"type":"ping"}',
        '{"type":"resync","since":NaN}',
        '{"type":"pause_execution","ref":"\\ud800"}',
        '\ufeff{"type":"ping"}',
        "\ud800",
        b"\xff",
        '{"type":"ping"}'.encode("utf-16"),
        "null",
        "[]",
        '"ping"',
        "3",
        '[{"type":"ping"}]',
    ],
)
def test_what_is_no_json_object_is_invalid_json(text: str | bytes) -> None:
    assert refused(text).code is Code.INVALID_JSON


@pytest.mark.parametrize(
    "type",
    [
        "dance", "pong", "PING", "ping ", "snapshot", "", "ü" * 99,
        None, 3, ["ping"],
    ],
)  # fmt: skip
def test_another_type_is_an_unknown_message(type: Any) -> None:
    refusal = refused({"type": type, "token": "t"})
    assert refusal.code is Code.UNKNOWN_MESSAGE
    assert len(refusal.message) < 100


def test_a_message_without_a_type_is_an_unknown_message() -> None:
    assert refused({"node_id": "a", "decision": "approve"}).code is Code.UNKNOWN_MESSAGE


DECISION = {"type": "human_decision", "node_id": "a", "decision": "approve"}
MUTATION: dict[str, Any] = {"type": "mutate_dag", "topology_version": 1}


def mutating(**parts: Any) -> dict[str, Any]:
    return {**MUTATION, "mutation": {"kind": "expand", **parts}}


@pytest.mark.parametrize(
    ("frame", "path", "code"),
    [
        ({"type": "human_decision", "decision": "approve"}, "/node_id", "missing"),
        ({**DECISION, "node_id": 5}, "/node_id", "wrong_type"),
        ({**DECISION, "node_id": ""}, "/node_id", "wrong_type"),
        ({**DECISION, "node_id": "n" * 65}, "/node_id", "wrong_type"),
        ({**DECISION, "node_id": "a\x00b"}, "/node_id", "wrong_type"),
        ({**DECISION, "node_id": ["a"], "gate_id": "g"}, "/node_id", "wrong_type"),
        ({**DECISION, "gate_id": ""}, "/gate_id", "wrong_type"),
        ({**DECISION, "decision": None}, "/decision", "missing"),
        ({**DECISION, "decision": "Approve"}, "/decision", "not_a_choice"),
        ({**DECISION, "decision": True}, "/decision", "not_a_choice"),
        ({**DECISION, "decision": ["approve"]}, "/decision", "not_a_choice"),
        ({**DECISION, "feedback": {"text": "no"}}, "/feedback", "wrong_type"),
        ({**DECISION, "feedback": "f" * 10_001}, "/feedback", "wrong_type"),
        ({**DECISION, "feedback": "a\x00b"}, "/feedback", "wrong_type"),
        ({**DECISION, "revision": 0}, "/revision", "wrong_type"),
        ({**DECISION, "revision": "1"}, "/revision", "wrong_type"),
        ({**DECISION, "revision": 1.0}, "/revision", "wrong_type"),
        ({**DECISION, "revision": True}, "/revision", "wrong_type"),
        ({**DECISION, "revision": 2**63}, "/revision", "wrong_type"),
        ({**DECISION, "scope": "run"}, "/scope", "not_a_choice"),
        ({**DECISION, "scope": 1}, "/scope", "not_a_choice"),
        ({**DECISION, "option_id": 1}, "/option_id", "wrong_type"),
        ({**DECISION, "ref": 1}, "/ref", "wrong_type"),
        ({**DECISION, "ref": "r\n"}, "/ref", "wrong_type"),
        ({"type": "pause_execution", "ref": {}}, "/ref", "wrong_type"),
        ({"type": "resume_execution", "ref": ""}, "/ref", "wrong_type"),
        ({"type": "cancel_execution", "ref": "r" * 65}, "/ref", "wrong_type"),
        ({"type": "resync"}, "/since", "missing"),
        ({"type": "resync", "since": None, "epoch": "e"}, "/since", "missing"),
        ({"type": "resync", "since": -1}, "/since", "wrong_type"),
        ({"type": "resync", "since": "1"}, "/since", "wrong_type"),
        ({"type": "resync", "since": 2**63}, "/since", "wrong_type"),
        ({"type": "resync", "since": False}, "/since", "wrong_type"),
        ({"type": "resync", "since": 1, "epoch": 2}, "/epoch", "wrong_type"),
        (MUTATION, "/mutation", "missing"),
        ({**MUTATION, "mutation": "restart"}, "/mutation", "wrong_type"),
        ({**MUTATION, "mutation": [{}]}, "/mutation", "wrong_type"),
        ({**MUTATION, "mutation": {}}, "/mutation/kind", "missing"),
        ({**MUTATION, "mutation": {"kind": "explode"}}, "/mutation/kind", "not_a_choice"),
        ({**MUTATION, "mutation": {"kind": {}}}, "/mutation/kind", "not_a_choice"),
        ({**mutating(), "topology_version": None}, "/topology_version", "missing"),
        ({**mutating(), "topology_version": 0}, "/topology_version", "wrong_type"),
        ({**mutating(), "topology_version": "1"}, "/topology_version", "wrong_type"),
        ({**mutating(), "ref": ""}, "/ref", "wrong_type"),
        (mutating(reason=1), "/mutation/reason", "wrong_type"),
        (mutating(nodes_added={"id": "a"}), "/mutation/nodes_added", "wrong_type"),
        (mutating(nodes_added=["a"]), "/mutation/nodes_added/0", "wrong_type"),
        (mutating(nodes_added=[{"id": "a"}, {}]), "/mutation/nodes_added/1/id", "missing"),
        (mutating(nodes_changed=[{"id": 5}]), "/mutation/nodes_changed/0/id", "wrong_type"),
        (mutating(nodes_removed="a"), "/mutation/nodes_removed", "wrong_type"),
        (mutating(nodes_removed=["a", {"id": "b"}]), "/mutation/nodes_removed/1", "wrong_type"),
        (mutating(nodes_removed=[None]), "/mutation/nodes_removed/0", "missing"),
        (mutating(nodes_removed=["a"] * 1001), "/mutation/nodes_removed", "wrong_type"),
        (mutating(edges_added=["ab"]), "/mutation/edges_added/0", "wrong_type"),
        (mutating(edges_added=[["a"]]), "/mutation/edges_added/0", "wrong_type"),
        (mutating(edges_added=[["a", "b", "c"]]), "/mutation/edges_added/0", "wrong_type"),
        (mutating(edges_removed=[["a", 1]]), "/mutation/edges_removed/0/1", "wrong_type"),
        (
            mutating(edges_removed=[{"from": "a", "to": "b"}]),
            "/mutation/edges_removed/0",
            "wrong_type",
        ),
    ],
)
def test_a_wrong_field_is_named(frame: dict[str, Any], path: str, code: str) -> None:
    refusal = refused(frame)
    assert refusal.code is Code.INVALID_INPUT
    assert refusal.details is not None
    (detail,) = refusal.details
    assert (detail["path"], detail["code"]) == (path, code)
    assert detail["message"].endswith(".")
    assert detail["message"] in refusal.message


@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_a_mutation_may_be_64_levels_deep_and_no_deeper(pair: str) -> None:
    def nested(levels: int) -> str:
        value = "1"
        for _ in range(levels):
            value = f"{pair[:-1]}{value}{pair[-1]}"
        node = f'{{"id":"n","step":{value}}}'
        changed = f'{{"kind":"expand","nodes_added":[{node}]}}'
        return f'{{"type":"mutate_dag","topology_version":1,"ref":"r","mutation":{changed}}}'

    taken = decode(nested(61))  # and three around it
    assert isinstance(taken, MutateDag)
    for levels in (62, 300, 900):
        refusal = refused(nested(levels))
        assert refusal.code is Code.INVALID_INPUT
        assert "64 levels" in refusal.message
    assert ref_of(nested(62)) == "r"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ('{"type":"dance","ref":"r9"}', "r9"),
        (b'{"type":"human_decision","ref":"r9"}', "r9"),
        ('{"ref":"r9"}', "r9"),
        ('{"type":"ping","ref":5}', None),
        ('{"type":"dance"}', None),
        ("{oops", None),
        ("[1]", None),
        (b"\xff", None),
    ],
)
def test_a_refused_frame_still_tells_its_ref(text: str | bytes, ref: str | None) -> None:
    assert ref_of(text) == ref


# -- refusals in the dialect's words --------------------------------------------------------------


@pytest.mark.parametrize("subject", ["gate_closed", "gate_changed", "stale_topology"])
def test_a_conflict_that_clients_tell_apart_has_its_own_word(subject: str) -> None:
    conflict = Refusal(Code.CONFLICT, "Look again.", subject=subject)
    assert json.loads(dag.error(conflict))["code"] == subject
    assert dag.error_code(Refusal(Code.NOT_FOUND, "No.", subject=subject)) == "not_found"


@pytest.mark.parametrize("subject", ["", "run", "gate"])
def test_any_other_conflict_is_a_conflict(subject: str) -> None:
    assert dag.error_code(Refusal(Code.CONFLICT, "No.", subject=subject)) == "conflict"


@pytest.mark.parametrize("code", Code)
def test_every_code_is_its_own_word(code: Code) -> None:
    assert json.loads(dag.error(Refusal(code, "No.")))["code"] == code.value


def test_an_error_says_only_what_there_is_to_say() -> None:
    assert json.loads(dag.error(Refusal(Code.BUSY, "Wait."))) == {
        "type": "error",
        "code": "busy",
        "message": "Wait.",
    }
    details = [{"path": "/decision", "code": "missing", "message": "Which one?"}]
    full = Refusal(Code.INVALID_INPUT, "No.", details=details, retry_after=0.0)
    assert json.loads(dag.error(full, node_id="review", ref="r1")) == {
        "type": "error",
        "code": "invalid_input",
        "message": "No.",
        "node_id": "review",
        "ref": "r1",
        "details": details,
        "retry_after": 0.0,
    }


# -- server → client ------------------------------------------------------------------------------

VIEW: dict[str, Any] = {
    "run": {"id": "run1", "machine": "release_review", "status": "running", "started_at": AT},
    "nodes": {
        "check": {
            "status": "completed",
            "attempt": 2,
            "output": {"ok": True},
            "metrics": {"duration_ms": 12, "cost_usd": Decimal("0.020000")},
            "needs": [],
            "title": "Check",
        },
        "slow": {
            "status": "retrying",
            "attempt": 1,
            "error": {"code": "timeout", "message": "Too slow."},
            "needs": [],
            "title": "Slow",
        },
        "off": {"status": "skipped", "attempt": 0, "reason": "condition_not_met", "needs": []},
        "empty": {"status": "completed", "attempt": 1, "output": None, "needs": []},
        "review": {"status": "paused", "attempt": 0, "needs": ["check"], "title": "Review"},
    },
    "edges": [["check", "review"]],
    "cost": {
        "spent": Decimal("0.020000"),
        "budget": Decimal("1.000000"),
        "remaining": Decimal("0.980000"),
        "currency": "USD",
    },
    "open_gates": [
        {
            "node_id": "review",
            "presentation": {
                "gate_id": "g1",
                "revision": 1,
                "expires_at": datetime(2026, 11, 22, tzinfo=UTC),
            },
        }
    ],
    "topology_version": 1,
}


def test_an_entry_says_what_was_logged_with_its_place() -> None:
    payload = '{"node_id":"check","status":"completed","output":{"ok":true}}'
    assert json.loads(dag.entry("node_state", payload, 7, AT)) == {
        "type": "node_state",
        "node_id": "check",
        "status": "completed",
        "output": {"ok": True},
        "offset": 7,
        "at": AT,
    }


def test_an_entry_may_have_nothing_to_say() -> None:
    frame = {"type": "run_state", "offset": 7, "at": AT}
    assert json.loads(dag.entry("run_state", "{}", 7, AT)) == frame


def test_the_first_frame_is_the_run_with_its_place() -> None:
    view = {"run": {"id": "r"}, "nodes": {}, "topology_version": 1}
    text = dag.snapshot(json.dumps(view), offset=3, epoch="e", recovered=False, at=AT)
    assert json.loads(text) == {
        "type": "snapshot",
        **view,
        "offset": 3,
        "epoch": "e",
        "recovered": False,
        "at": AT,
    }


def test_what_is_json_already_is_not_read_again() -> None:
    number = "123456789012345678901234567890.10"  # no reader of 64 bits could give it back
    entry = dag.entry("node_state", f'{{"output":{number}}}', 1, AT)
    view = f'{{"nodes":{{"a":{{"output":{number}}}}}}}'
    snapshot = dag.snapshot(view, offset=1, epoch="e", recovered=True, at=AT)
    assert number in entry
    assert number in snapshot


def test_clients_that_know_no_snapshot_get_its_nodes_its_cost_and_its_gates() -> None:
    place = {"offset": 9, "at": AT}
    frames = [json.loads(text) for text in dag.plain(VIEW, offset=9, at=AT)]
    assert frames == [
        {
            "type": "node_state",
            "node_id": "check",
            "status": "completed",
            "attempt": 2,
            "output": {"ok": True},
            "metrics": {"duration_ms": 12, "cost_usd": 0.02},
            **place,
        },
        {
            "type": "node_state",
            "node_id": "slow",
            "status": "retrying",
            "attempt": 1,
            "error": {"code": "timeout", "message": "Too slow."},
            **place,
        },
        {
            "type": "node_state",
            "node_id": "off",
            "status": "skipped",
            "attempt": 0,
            "reason": "condition_not_met",
            **place,
        },
        {
            "type": "node_state",
            "node_id": "empty",
            "status": "completed",
            "attempt": 1,
            "output": None,
            **place,
        },
        {"type": "node_state", "node_id": "review", "status": "paused", "attempt": 0, **place},
        {
            "type": "cost_update",
            "spent": 0.02,
            "budget": 1.0,
            "remaining": 0.98,
            "currency": "USD",
            **place,
        },
        {
            "type": "human_gate_waiting",
            "node_id": "review",
            "presentation": {
                "gate_id": "g1",
                "revision": 1,
                "expires_at": "2026-11-22T00:00:00+00:00",
            },
            **place,
        },
    ]


def test_an_amount_has_all_its_digits() -> None:
    cost = {"spent": Decimal("1234567890.123456"), "budget": None, "remaining": None}
    (text,) = dag.plain({"nodes": {}, "cost": cost, "open_gates": []}, offset=1, at=AT)
    assert '"spent":1234567890.123456,' in text


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("-Infinity"), object()])
def test_what_json_has_not_is_not_written(value: Any) -> None:
    view = {"nodes": {}, "cost": {"spent": value}, "open_gates": []}
    with pytest.raises(TypeError):
        list(dag.plain(view, offset=1, at=AT))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (dag.ack("r1"), {"type": "ack", "ref": "r1"}),
        (dag.ack(None), {"type": "ack"}),
        (dag.pong(), {"type": "pong"}),
    ],
)
def test_the_other_frames(frame: str, says: dict[str, Any]) -> None:
    assert json.loads(frame) == says


# -- any input ------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=9,
)
TYPES: dict[str, type[Command]] = {
    "human_decision": HumanDecision,
    "pause_execution": Pause,
    "resume_execution": Resume,
    "cancel_execution": Cancel,
    "mutate_dag": MutateDag,
    "resync": Resync,
    "ping": Ping,
}
NODES = st.lists(st.fixed_dictionaries({"id": TEXT}, optional={"step": JSON}), max_size=2)
EDGES = st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=2)
MUTATIONS = st.fixed_dictionaries(
    {"kind": st.sampled_from(MUTATION_KINDS) | JSON},
    optional={
        "nodes_added": NODES | JSON,
        "nodes_removed": st.lists(TEXT, max_size=2) | JSON,
        "nodes_changed": NODES | JSON,
        "edges_added": EDGES | JSON,
        "edges_removed": EDGES | JSON,
        "reason": TEXT | JSON,
    },
)
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(list(TYPES)) | JSON},
    optional={
        "node_id": TEXT | JSON,
        "gate_id": TEXT | JSON,
        "decision": st.sampled_from(dag.VERDICTS) | JSON,
        "scope": st.sampled_from(dag.SCOPES) | JSON,
        "feedback": TEXT | JSON,
        "revision": st.integers(0, 9) | JSON,
        "option_id": TEXT | JSON,
        "ref": TEXT | JSON,
        "mutation": MUTATIONS | JSON,
        "topology_version": st.integers(0, 9) | JSON,
        "since": st.integers(-1, 9) | JSON,
        "epoch": TEXT | JSON,
    },
)
#: The messages that the seed's client knows, with the fields that it needs (its TypeScript types).
SEED: dict[str, dict[str, Any]] = {
    "node_state": {"node_id": str, "status": str},
    "cost_update": {"spent": int | float, "budget": int | float | None},
    "human_gate_waiting": {"node_id": str, "presentation": dict},
    "error": {"message": str},
}


def understood(text: str) -> dict[str, Any]:
    """A frame as the seed's client reads it: JSON, a known type, its fields with their types."""
    frame: dict[str, Any] = json.loads(text)
    assert "\n" not in text
    for name, type in SEED[frame["type"]].items():
        assert isinstance(frame[name], type)
    return frame


@given(st.text() | st.binary())
@example("[" * 2000)
@example('{"a":' * 2000)
def test_any_frame_is_a_command_or_a_refusal(frame: str | bytes) -> None:
    with suppress(Refusal):
        assert isinstance(decode(frame), Command)
    ref_of(frame)


@given(FRAMES)
def test_any_object_is_a_command_or_a_refusal_that_can_be_told(frame: dict[str, Any]) -> None:
    text = json.dumps(frame)
    is_known = frame["type"] in list(TYPES)
    try:
        command = decode(text)
    except Refusal as refusal:
        told = understood(dag.error(refusal, ref=ref_of(text)))
        assert told["code"] == ("invalid_input" if is_known else "unknown_message")
        return
    assert type(command) is TYPES[frame["type"]]
    match command:
        case HumanDecision():
            sent = {name: value for name, value in frame.items() if value is not None}
            assert command == HumanDecision(
                sent.get("node_id"),
                sent["decision"],
                sent.get("feedback", ""),
                sent.get("gate_id"),
                sent.get("revision"),
                sent.get("scope", "node"),
                sent.get("option_id"),
                sent.get("ref"),
            )
            assert command.node_id or command.gate_id
        case MutateDag():
            changed = {name: each for name, each in frame["mutation"].items() if each is not None}
            assert command == MutateDag(
                mutation(**changed), frame["topology_version"], frame.get("ref")
            )
        case Resync():
            assert command == Resync(frame["since"], frame.get("epoch"))
        case Pause() | Resume() | Cancel():
            assert command.ref == frame.get("ref")


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


PLACED = {"type", "offset", "at"}
OFFSETS = st.integers(1, 2**63 - 1)


@given(
    type=TEXT,
    payload=st.dictionaries(TEXT.filter(lambda key: key not in PLACED), JSON, max_size=3),
    offset=OFFSETS,
)
def test_any_entry_comes_back_from_its_frame(
    type: str, payload: dict[str, Any], offset: int
) -> None:
    frame = json.loads(dag.entry(type, compact(payload), offset, AT))
    assert frame == {"type": type, **payload, "offset": offset, "at": AT}


@given(nodes=st.dictionaries(TEXT, JSON, max_size=3), epoch=TEXT, recovered=st.booleans())
def test_any_run_comes_back_from_its_first_frame(
    nodes: dict[str, Any], epoch: str, recovered: bool
) -> None:
    text = dag.snapshot(
        compact({"nodes": nodes}), offset=1, epoch=epoch, recovered=recovered, at=AT
    )
    frame = json.loads(text)
    assert frame["type"] == "snapshot"
    assert (frame["nodes"], frame["epoch"], frame["recovered"]) == (nodes, epoch, recovered)


@given(
    nodes=st.dictionaries(
        TEXT,
        st.fixed_dictionaries({"status": TEXT}, optional={"output": JSON, "needs": JSON}),
        max_size=4,
    ),
    spent=st.decimals(0, 10**10, places=6),
    offset=OFFSETS,
)
def test_the_seeds_client_understands_any_run(
    nodes: dict[str, Any], spent: Decimal, offset: int
) -> None:
    cost = {"spent": spent, "budget": None, "remaining": None}
    gates = [{"node_id": id, "presentation": {}} for id in nodes]
    view = {"nodes": nodes, "cost": cost, "open_gates": gates}
    frames = [understood(text) for text in dag.plain(view, offset=offset, at=AT)]
    assert all(frame["offset"] == offset for frame in frames)
    states, (account, *waiting) = frames[: len(nodes)], frames[len(nodes) :]
    assert {
        state["node_id"]: (state["status"], state.get("output", "none")) for state in states
    } == {id: (node["status"], node.get("output", "none")) for id, node in nodes.items()}
    assert account["type"] == "cost_update"
    assert [frame["node_id"] for frame in waiting] == list(nodes)


@given(
    code=st.sampled_from(Code),
    message=TEXT,
    subject=TEXT | st.sampled_from(sorted(dag.CONFLICTS)),
    ref=st.none() | TEXT,
)
def test_any_refusal_can_be_told(code: Code, message: str, subject: str, ref: str | None) -> None:
    frame = understood(dag.error(Refusal(code, message, subject=subject), ref=ref))
    assert (frame["message"], frame.get("ref")) == (message, ref)
    assert frame["code"] in {code.value, *dag.CONFLICTS}
