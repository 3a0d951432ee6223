"""Gates: what is shown to people, and what becomes of the run when they have decided.

``commands.decide`` records a decision, in a transaction of its own; here the one who works on the
run opens gates, and goes on with what was decided.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import orjson

from ..conf import settings
from ..machines.definition import VERDICTS, WaitFor
from ..machines.definition import Gate as GateStep
from .change import Change
from .models import Gate, Node
from .outputs import shown
from .state import RunState
from .states import ENDED, GateStatus, NodeStatus
from .views import gate_view

#: What happens when nobody decides in time, by class.
ON_TIMEOUT: Final = {"irreversible": "fail", "quality": "escalate", "calibration": "approve"}
OPTIONS: Final = tuple(
    {"id": verdict, "label": label, "decision": verdict} for verdict, label in VERDICTS.items()
)
YES_OR_NO: Final = tuple(option for option in OPTIONS if option["id"] != "modify")


def digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def options_of(step: GateStep) -> list[dict[str, Any]]:
    """The options of a gate as they are shown."""
    return [option.model_dump(exclude_none=True) for option in step.choices]


# -- opened ---------------------------------------------------------------------------------------


def open_step_gate(state: RunState, change: Change, node: Node, step: GateStep) -> None:
    """A gate of the machine; raises ``Refusal`` when its texts can't be made."""
    execution = state.execution(node)
    texts = {part: make(execution) for part, make in state.steps[node.name].expressions.items()}
    under_review = {need: shown(state.outputs.get(need), state.run.id, need) for need in node.needs}
    _open(
        state,
        change,
        node,
        Gate.Kind.STEP,
        {
            **texts,
            "title": texts["title"] or node.title,
            "output": next(iter(under_review.values())) if len(node.needs) == 1 else under_review,
            "options": options_of(step),
        },
        step.gate_class,
        step.timeout,
    )


def open_approval(
    state: RunState, change: Change, node: Node, effect: str, inputs: dict[str, Any]
) -> None:
    """An effect that somebody has to approve before it acts."""
    shown_inputs = {"effect": effect, "inputs": shown(inputs, state.run.id, node.name)}
    texts = {
        "title": node.title,
        "context": "",
        "question": f'May the step "{node.name}" do "{effect}"?',
        "output": shown_inputs,
        "options": [dict(option) for option in OPTIONS],
        "inputs_digest": digest(inputs),
    }
    _open(state, change, node, Gate.Kind.APPROVAL, texts, "irreversible", None)


def open_crash_gate(state: RunState, change: Change, node: Node) -> None:
    """An effect that must not run twice was cut off, nobody knows where."""
    texts = {
        "title": node.title,
        "context": "The process that ran it died. What it did until then is not known.",
        "question": f'May the step "{node.name}" run again?',
        "output": None,
        "options": [dict(option) for option in YES_OR_NO],
    }
    _open(state, change, node, Gate.Kind.CRASH, texts, "irreversible", None)


def open_budget_gate(state: RunState, change: Change, node: Node, more: Decimal) -> None:
    """The budget does not allow the next node."""
    texts = {
        "title": "The budget is spent",
        "context": f"{state.run.spent} of {state.run.budget} US dollars are spent.",
        "question": f'May the run spend {more} US dollars more? "{node.name}" is next.',
        "output": None,
        "options": [dict(option) for option in YES_OR_NO],
        "more": str(more),
    }
    _open(state, change, node, Gate.Kind.BUDGET, texts, "irreversible", None)


def open_wait(state: RunState, change: Change, node: Node, step: WaitFor) -> None:
    """A node that waits for an event from outside; no person is asked."""
    gate = _gate(state, node, Gate.Kind.WAIT, {"event": step.event or node.name}, "quality")
    gate.event = step.event or ""
    if step.timeout is not None:
        gate.expires_at = change.now + timedelta(seconds=step.timeout)
    is_new = gate.revision == 1
    gate.opened_at = change.now
    change.open_gate(gate, is_new=is_new)
    change.set_node(
        node, NodeStatus.PAUSED, started_at=change.now, reason=f"waits for {gate.shown['event']}"
    )


def _open(
    state: RunState,
    change: Change,
    node: Node,
    kind: Gate.Kind,
    texts: dict[str, Any],
    gate_class: str,
    timeout: float | None,
) -> None:
    texts["on_timeout"] = ON_TIMEOUT[gate_class]
    before = state.gates.get(node.name)
    gate = _gate(state, node, kind, texts, gate_class)
    gate.opened_at = change.now
    gate.expires_at = change.now + timedelta(seconds=timeout or settings.RUNS.GATE_TIMEOUT)
    change.open_gate(gate, is_new=before is None)
    change.set_node(node, NodeStatus.PAUSED, started_at=change.now, reason="")
    change.tell("human_gate_waiting", node_id=node.name, presentation=presentation(state, gate))


def _gate(
    state: RunState, node: Node, kind: Gate.Kind, texts: dict[str, Any], gate_class: str
) -> Gate:
    """The node's gate, new or shown again."""
    gate = state.gates.get(node.name)
    if gate is None:
        gate = Gate(id=uuid4().hex, run=state.run, node=node.name, revision=0)
    gate.revision += 1
    gate.kind, gate.gate_class, gate.shown, gate.digest = kind, gate_class, texts, digest(texts)
    gate.status, gate.choice, gate.is_taken, gate.is_escalated = GateStatus.OPEN, None, False, False
    gate.closed_at = None
    return gate


def presentation(state: RunState, gate: Gate) -> dict[str, Any]:
    """The GatePresentation of the wire (``docs/runs.md``)."""
    open_nodes = sum(NodeStatus(node.status) not in ENDED for node in state.nodes.values())
    return gate_view(state.run, gate, open_nodes)


# -- in time --------------------------------------------------------------------------------------


def expire(state: RunState, change: Change, gate: Gate) -> None:
    """Nobody decided, and no event came, in time."""
    if gate.kind == Gate.Kind.WAIT:
        change.close_gate(gate, GateStatus.EXPIRED)
        return
    if gate.gate_class == "quality" and not gate.is_escalated:
        gate.is_escalated = True
        assert gate.expires_at is not None  # noqa: S101  it has expired
        gate.expires_at += gate.expires_at - gate.opened_at
        change.open_gate(gate, is_new=False)
        told = presentation(state, gate)
        change.tell("human_gate_waiting", node_id=gate.node, presentation=told)
        return
    choice = None
    if gate.gate_class == "calibration":
        recommended = gate.shown["options"][0]
        choice = {
            "decision": recommended["decision"],
            "option": recommended["id"],
            "scope": "node",
            "feedback": "",
            "by": "",
        }
        told = {"decision": recommended["decision"], "by": "", "timed_out": True}
        change.tell("gate_decided", node_id=gate.node, gate_id=gate.id, **told)
    change.close_gate(gate, GateStatus.EXPIRED, choice)
