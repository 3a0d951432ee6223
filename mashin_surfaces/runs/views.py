"""What is told of a node, of the money and of a gate: the same in the log and in snapshots."""

from __future__ import annotations

from typing import Any

from .models import Gate, Node, Run
from .outputs import MOST_SHOWN, shown
from .states import NodeStatus


def node_view(node: Node, run: str, most: int = MOST_SHOWN) -> dict[str, Any]:
    """Its status and what it came to. ``most``: bytes of an output that is not referred to."""
    told: dict[str, Any] = {"status": node.status}
    if node.status == NodeStatus.COMPLETED:
        told["output"] = shown(node.output, run, node.name, most)
    if node.metrics:
        told["metrics"] = node.metrics
    if node.attempt:
        told["attempt"] = node.attempt
    if node.error and node.status in {NodeStatus.FAILED, NodeStatus.RETRYING}:
        told["error"] = node.error
    if node.reason:
        told["reason"] = node.reason
    return told


def cost_view(run: Run) -> dict[str, Any]:
    """US dollars; ``budget`` and ``remaining`` are None without a budget."""
    left = None if run.budget is None else run.budget - run.spent
    return {"spent": run.spent, "budget": run.budget, "remaining": left}


def gate_view(run: Run, gate: Gate, open_nodes: int) -> dict[str, Any]:
    """The GatePresentation of the wire (``docs/runs.md``). ``open_nodes``: those of the run that
    have not ended, the gate's own among them."""
    return {
        "gate_id": gate.id,
        "revision": gate.revision,
        **{
            part: gate.shown.get(part)
            for part in ("title", "context", "question", "output", "options", "on_timeout")
        },
        "cost": cost_view(run),
        "remaining_nodes": open_nodes - 1,
        "gate_class": gate.gate_class,
        "expires_at": gate.expires_at,
        **({"escalated": True} if gate.is_escalated else {}),
    }
