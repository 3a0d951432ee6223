"""A run as who works on it has it in memory: its rows, its graph, and what its steps gave.

Rows are changed here and written by ``change.py``; nobody else changes them meanwhile, or the
write is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from ..governance.door import GovernedMachine
from ..machines.definition import LaunchMany
from ..steps.evaluation import Scope
from ..steps.nodes import NodeStep
from ..steps.run import Run as StepRun
from .models import Gate, Node, Run
from .states import ENDED, NodeStatus

#: Why a node is skipped. The last says nothing against those that need it.
DEPENDENCY_FAILED = "dependency_failed"
NOT_CHOSEN = "branch_not_chosen"
CONDITION_NOT_MET = "condition_not_met"


class RunState:
    """One run. ``outputs``: of every step that has one, by name, also of steps within steps."""

    __slots__ = (
        "active", "busy", "dependents", "gates", "machine", "missing", "nodes", "outputs", "ready",
        "retrying", "run", "scheduled", "steps",
    )  # fmt: skip

    def __init__(
        self,
        run: Run,
        nodes: Iterable[Node],
        gates: Iterable[Gate],
        machine: GovernedMachine,
        steps: Mapping[str, NodeStep],
    ) -> None:
        self.run = run
        self.nodes = {node.name: node for node in nodes}
        #: The last one of each node that has, or had, one.
        self.gates = {gate.node: gate for gate in gates}
        self.machine = machine
        self.steps = steps
        self.outputs: dict[str, Any] = {}
        self.dependents: dict[str, list[str]] = {}
        self.missing: dict[str, int] = {}
        self.ready: deque[str] = deque()
        self.scheduled: deque[str] = deque()
        self.active = 0  # nodes that have not ended
        self.busy: set[str] = set()
        self.retrying: set[str] = set()
        self.rebuild()

    def rebuild(self) -> None:
        """Count anew who waits for whom, after nodes came, went, or are to run again."""
        self.outputs = {}
        self.dependents = {name: [] for name in self.nodes}
        self.missing = {}
        self.ready.clear()
        self.scheduled.clear()
        self.active = 0
        self.busy.clear()
        self.retrying.clear()
        for name, node in self.nodes.items():
            status = NodeStatus(node.status)
            if status is NodeStatus.MUTATED:
                continue
            if status in ENDED:
                self._keep_output(node)
            else:
                self.active += 1
            missing = 0
            for need in node.needs:
                self.dependents[need].append(name)
                missing += NodeStatus(self.nodes[need].status) not in ENDED
            self.missing[name] = missing
            if status is NodeStatus.PENDING and not missing:
                self.ready.append(name)
            elif status is NodeStatus.SCHEDULED:
                self.scheduled.append(name)
            elif status is NodeStatus.RUNNING:
                self.busy.add(name)
            elif status is NodeStatus.RETRYING:
                self.retrying.add(name)

    def moved(self, node: Node, before: NodeStatus, after: NodeStatus) -> None:
        """A node has another status than before."""
        name = node.name
        self.busy.discard(name)
        self.retrying.discard(name)
        if after is NodeStatus.RUNNING:
            self.busy.add(name)
        elif after is NodeStatus.RETRYING:
            self.retrying.add(name)
        elif after is NodeStatus.SCHEDULED:
            self.scheduled.append(name)
        elif after is NodeStatus.PENDING and not self.missing[name]:
            self.ready.append(name)
        elif after in ENDED and before not in ENDED:
            self.ended(node)

    def ended(self, node: Node) -> None:
        """A node has ended: those that waited for it alone are ready."""
        self.active -= 1
        self._keep_output(node)
        for name in self.dependents[node.name]:
            self.missing[name] -= 1
            if not self.missing[name] and self.nodes[name].status == NodeStatus.PENDING:
                self.ready.append(name)

    def _keep_output(self, node: Node) -> None:
        self.outputs[node.name] = node.output
        if node.inner:
            self.outputs.update(node.inner)

    def executing(self) -> list[Node]:
        """The nodes that are executed somewhere: not those that only wait for their children."""
        nodes = [self.nodes[name] for name in self.busy]
        return [node for node in nodes if not isinstance(self.steps[node.name].inner, LaunchMany)]

    def collecting(self) -> list[Node]:
        """The nodes that wait for the runs they have launched."""
        nodes = [self.nodes[name] for name in self.busy]
        return [node for node in nodes if isinstance(self.steps[node.name].inner, LaunchMany)]

    def execution(self, node: Node, shown_at: datetime | None = None) -> StepRun:
        """What the node's step sees: the same for the same attempt, whenever it is made.

        ``shown_at``: when what it does is shown to somebody; once that is approved, it is done so.
        """
        step, gate = self.steps[node.name], self.gates.get(node.name)
        if shown_at is None and gate is not None and gate.kind == Gate.Kind.APPROVAL:
            shown_at = gate.opened_at
        chance = node.attempt if shown_at is None else shown_at.timestamp()
        outputs = dict(self.outputs) if step.has_inner_outputs else self.outputs
        execution = StepRun(self.run.input, self.machine.permissions.allows)
        execution.scope = Scope(
            self.run.input,
            steps=outputs,
            state={"feedback": node.feedback},
            now=shown_at or node.started_at or self.run.started_at,
            random=Random(f"{self.run.seed}:{node.name}:{chance}"),  # noqa: S311
        )
        return execution

    @property
    def free_budget(self) -> Decimal | None:
        """What is neither spent nor reserved; None without a budget."""
        run = self.run
        return None if run.budget is None else run.budget - run.spent - run.reserved

    def next_due(self) -> datetime | None:
        """When something happens by itself, while nothing runs."""
        # Once it is known how it ends, its time says nothing more.
        moments: list[datetime | None] = [None if self.run.outcome else self.run.deadline_at]
        moments += [gate.expires_at for gate in self.gates.values() if gate.status == "open"]
        moments += [self.nodes[name].retry_at for name in self.retrying]
        return min((moment for moment in moments if moment is not None), default=None)

    def results(self) -> Mapping[str, Any]:
        """The outputs of the nodes that completed, by name."""
        return {
            name: node.output
            for name, node in self.nodes.items()
            if node.status == NodeStatus.COMPLETED
        }

    def output(self) -> Any:
        """The last step's: of the nodes that nothing needs, the last that completed."""
        last = [
            node
            for name, node in self.nodes.items()
            if not self.dependents[name] and node.status == NodeStatus.COMPLETED
        ]
        return max(last, key=lambda node: node.position).output if last else None
