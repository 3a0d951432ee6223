"""A run as it is at one moment, for whoever looks at it: its socket, HTTP, the admin, pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..machines.json_values import dumps
from ..rooms.events import RoomHead
from ..rooms.log import database
from .models import Gate, Node, Run
from .outputs import MOST_RESULTS, MOST_SHOWN, PREVIEW
from .states import ENDED, GateStatus, NodeStatus
from .store import one_moment
from .views import cost_view, gate_view, node_view

#: Nodes that are read at once.
CHUNK: Final = 500
_TOLD: Final = (
    "name", "kind", "title", "needs", "status", "attempt", "output", "metrics", "error", "reason",
    "run_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``view``: ``{"run", "nodes", "edges", "cost", "open_gates", "topology_version"}``, JSON-ready
    but for moments and decimals; ``head``: where the log stood at that moment."""

    head: RoomHead
    view: dict[str, Any]


def take(id: str) -> Snapshot | None:
    """The run with this id, None when it is gone. Synchronous, on a thread that may query.

    Big outputs are referred to, and so are those behind the first 256 KiB together.
    """
    alias = database()
    with one_moment(alias):
        run = Run.objects.using(alias).select_related("room").filter(pk=id).first()
        if run is None:
            return None
        nodes, edges, open_nodes = _graph(run, alias)
        waiting = Gate.objects.using(alias).filter(run=run, status=GateStatus.OPEN)
        gates = [
            {"node_id": gate.node, "presentation": gate_view(run, gate, open_nodes)}
            for gate in waiting.exclude(kind=Gate.Kind.WAIT).order_by("opened_at")
        ]
    room = run.room
    return Snapshot(
        RoomHead(
            room.pk, room.kind, room.key, room.machine, room.epoch, room.floor, room.head,
            room.status,
        ),
        {
            "run": run_view(run),
            "nodes": nodes,
            "edges": edges,
            "cost": {**cost_view(run), "currency": "USD"},
            "open_gates": gates,
            "topology_version": run.topology_version,
        },
    )  # fmt: skip


def run_view(run: Run) -> dict[str, Any]:
    """The run itself; what it has not come to yet is left out."""
    view: dict[str, Any] = {
        "id": run.id,
        "machine": run.machine,
        "revision": run.revision,
        "status": run.status,
        "started_at": run.started_at,
        "started_by": run.principal,
    }
    if run.ended_at is not None:
        view |= {"outcome": run.outcome, "ended_at": run.ended_at}
    if run.error:
        view["error"] = run.error
    return view


def _graph(run: Run, alias: str) -> tuple[dict[str, Any], list[list[str]], int]:
    """Nodes and edges, and how many nodes have not ended."""
    nodes: dict[str, Any] = {}
    edges: list[list[str]] = []
    open_nodes, left = 0, MOST_RESULTS
    rows = Node.objects.using(alias).filter(run=run).order_by("position").only(*_TOLD)
    for node in rows.iterator(chunk_size=CHUNK):
        told = node_view(node, run.id, max(PREVIEW, min(MOST_SHOWN, left)))
        left -= len(dumps(told.get("output")))
        nodes[node.name] = {
            **told,
            "attempt": node.attempt,
            "needs": node.needs,
            "title": node.title,
            "kind": node.kind,
        }
        open_nodes += NodeStatus(node.status) not in ENDED
        edges += [[need, node.name] for need in node.needs]
    return nodes, edges, open_nodes
