"""One change of a run: the rows that differ, and what is told, in one transaction.

The write is refused (``Superseded``) when somebody else has changed the run since it was read, or
holds it now: then what is in memory is worth nothing, and has to be read again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connections

from ..machines.json_values import dumps
from ..rooms.appending import Append
from ..rooms.events import NewEvent
from ..rooms.log import database
from .models import CostEntry, Execution, Gate, Node, Run
from .rows import values_of
from .state import RunState
from .states import (
    GATE_STEPS,
    NODE_STEPS,
    RUN_STEPS,
    GateStatus,
    NodeStatus,
    RunStatus,
    move,
)
from .views import cost_view, node_view


class Superseded(Exception):
    """Somebody else has changed the run, or holds it."""


class Change:
    """What is done to one run and told of it. ``actor``: who is to be named in the log."""

    def __init__(self, state: RunState, actor: str = "") -> None:
        self.state = state
        self.actor = actor
        self.now = datetime.now(UTC)
        self.events: list[NewEvent] = []
        self.nodes: dict[str, Node] = {}
        self.gates: dict[str, Gate] = {}
        self.new_nodes: list[Node] = []
        self.new_gates: list[Gate] = []
        self.costs: list[CostEntry] = []
        self.taken: list[tuple[str, int]] = []  # executions whose outcome is in here
        self.also: list[Any] = []  # callables that write more, with the alias
        self.is_run_changed = False

    @property
    def is_empty(self) -> bool:
        is_own = self.events or self.nodes or self.gates or self.is_run_changed or self.taken
        return not (is_own or self.also)

    # -- what is told ---------------------------------------------------------------------------

    def tell(self, type: str, **payload: Any) -> None:
        self.events.append(NewEvent(type, dumps(payload).decode(), self.actor))

    def tell_node(self, node: Node) -> None:
        """``node_state``, with what it came to."""
        self.tell("node_state", node_id=node.name, **node_view(node, self.state.run.id))

    def tell_cost(self, node: str = "") -> None:
        told = cost_view(self.state.run)
        if node:
            told["node_id"] = node
        self.tell("cost_update", **told, currency="USD")

    # -- what is changed ------------------------------------------------------------------------

    def set_node(self, node: Node, status: NodeStatus, **values: Any) -> None:
        """A node's next state, told."""
        before = NodeStatus(node.status)
        node.status = move(NODE_STEPS, before, status)
        for name, value in values.items():
            setattr(node, name, value)
        self.nodes[node.name] = node
        self.tell_node(node)
        self.state.moved(node, before, status)

    def touch_node(self, node: Node) -> None:
        self.nodes[node.name] = node

    def set_run(self, status: RunStatus, by: str = "") -> None:
        """The run's next state, told."""
        run = self.state.run
        run.status = move(RUN_STEPS, RunStatus(run.status), status)
        self.is_run_changed = True
        told = {"status": run.status, **({"by": by} if by else {})}
        self.tell("run_state", **told)

    def touch_run(self) -> None:
        self.is_run_changed = True

    def open_gate(self, gate: Gate, *, is_new: bool) -> None:
        self.state.gates[gate.node] = gate
        self.gates[gate.id] = gate
        if is_new:
            self.new_gates.append(gate)

    def close_gate(self, gate: Gate, status: GateStatus, choice: Any = None) -> None:
        gate.status = move(GATE_STEPS, GateStatus(gate.status), status)
        gate.closed_at = self.now
        if choice is not None:
            gate.choice = choice
        self.gates[gate.id] = gate

    def take_gate(self, gate: Gate) -> None:
        """The run goes on with the gate's choice, or without it."""
        gate.is_taken = True
        self.gates[gate.id] = gate

    # -- written --------------------------------------------------------------------------------

    def as_append(self) -> Append:
        return Append(self.state.run.room_id, self.events, also=self.write)

    def write(self) -> None:
        """On the writer's thread, with the room locked; raises ``Superseded``."""
        alias = database()
        run, connection = self.state.run, connections[alias]
        with connection.cursor() as cursor:
            values = values_of(connection, run, _RUN_COLUMNS)
            cursor.execute(_RUN_UPDATE, [*values, run.pk, run.fence, run.version])
            if not cursor.rowcount:
                raise Superseded()
            new = {node.name for node in self.new_nodes}
            rows = [
                [*values_of(connection, node, _NODE_COLUMNS), run.pk, node.name]
                for node in self.nodes.values()
                if node.name not in new
            ]
            if rows:
                cursor.executemany(_NODE_UPDATE, rows)
            for name, attempt in self.taken:
                cursor.execute(_TAKEN, [run.pk, name, attempt])
        if self.new_nodes:
            Node.objects.using(alias).bulk_create(self.new_nodes)
        self.write_besides(alias)

    def write_besides(self, alias: str) -> None:
        """What is not the run's row and not its nodes."""
        if self.new_gates:
            Gate.objects.using(alias).bulk_create(self.new_gates)
        new = {gate.id for gate in self.new_gates}
        for gate in self.gates.values():
            if gate.id not in new:
                gate.save(using=alias, force_update=True)
        if self.costs:
            for entry in self.costs:
                entry.pk = None  # of a batch that was rolled back, and is tried again
            CostEntry.objects.using(alias).bulk_create(self.costs)
        for write in self.also:
            write(alias)

    def committed(self) -> None:
        """It is in the database."""
        self.state.run.version += 1


_RUN_COLUMNS = (
    "status", "outcome", "output", "error", "topology_version", "budget", "spent", "reserved",
    "is_warned", "holder", "due_at", "deadline_at", "ended_at",
)  # fmt: skip
_NODE_COLUMNS = (
    "needs", "step", "title", "kind", "status", "attempt", "attempts", "output", "inner", "error",
    "reason", "feedback", "metrics", "reserved", "approved", "retry_at", "started_at", "ended_at",
)  # fmt: skip
_TAKEN = f"DELETE FROM {Execution._meta.db_table} WHERE run_id = %s AND node = %s AND attempt = %s"  # noqa: S608  own names
_NODE_UPDATE = (
    f"UPDATE {Node._meta.db_table} SET "  # noqa: S608  own names
    + ", ".join(f'"{name}" = %s' for name in _NODE_COLUMNS)
    + " WHERE run_id = %s AND name = %s"
)
_RUN_UPDATE = (
    f"UPDATE {Run._meta.db_table} SET version = version + 1, "  # noqa: S608  own names
    + ", ".join(f'"{name}" = %s' for name in _RUN_COLUMNS)
    + " WHERE id = %s AND fence = %s AND version = %s"
)
