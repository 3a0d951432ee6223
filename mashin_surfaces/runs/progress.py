"""One look at a run: what has happened is taken in, and what can begin begins.

outcomes ─► gates' choices ─► deadlines ─► nodes that are ready ─► the end

No I/O and no waiting: rows change in memory, entries of the log are put together, and what has to
run elsewhere comes back. ``driver.py`` commits the change before anything of it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from time import monotonic
from typing import Any

from ..exceptions import Code, Refusal
from ..machines.definition import Gate as GateStep
from ..machines.definition import Launch, LaunchMany, WaitFor
from ..steps.nodes import LONGEST_WAIT, NodeStep
from . import gates, launches
from .accounts import reservation, settle, shortage
from .change import Change
from .execution import Outcome, run_pure
from .models import Gate, Node
from .outputs import shown_results
from .state import CONDITION_NOT_MET, DEPENDENCY_FAILED, NOT_CHOSEN, RunState
from .states import ENDED, GateStatus, NodeStatus, RunStatus

#: Seconds of computing after which what is done so far is committed.
LONGEST = 0.02
#: Entries of the log after which it is, too.
MOST_EVENTS = 150
_WAITING = frozenset({NodeStatus.PENDING, NodeStatus.SCHEDULED, NodeStatus.RETRYING})
_STATUS_OF = {
    "completed": RunStatus.COMPLETED,
    "cancelled": RunStatus.CANCELLED,
    "failed": RunStatus.FAILED,
    "timeout": RunStatus.FAILED,
    "budget_exceeded": RunStatus.FAILED,
}


class Progress:
    """One look. ``to_run``: nodes whose execution has to begin once the change is committed;
    ``is_over``: whether the run has ended with it; ``has_more``: whether to look again at once."""

    def __init__(self, state: RunState, change: Change) -> None:
        self.state = state
        self.change = change
        self.to_run: list[Node] = []
        self.has_more = False
        self.is_over = False
        self._until = monotonic() + LONGEST
        #: Whether something waits for money: nothing that may cost begins before it.
        self._is_short = False

    def go_on(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.take(outcome)
        self._take_choices()
        self._expire()
        run = self.state.run
        if run.status == RunStatus.RUNNING:
            self._begin_what_is_ready()
        if run.status == RunStatus.PAUSING and not self.state.busy:
            self.change.set_run(RunStatus.PAUSED)
        if run.status == RunStatus.CANCELLING:
            self._cancel()
        if not self.state.active and run.status in {
            RunStatus.RUNNING,
            RunStatus.PAUSING,
            RunStatus.CANCELLING,
        }:
            self._end()

    @property
    def is_resting(self) -> bool:
        """Whether nothing of the run happens in any process until somebody or the time comes."""
        is_working = self.to_run or self.has_more or self.state.executing()
        return self.is_over or not is_working

    def rest(self) -> None:
        """Nobody holds the run any more, once this is committed."""
        run = self.state.run
        run.holder, run.due_at = "", None if self.is_over else self.state.next_due()
        self.change.touch_run()

    # -- what has happened ----------------------------------------------------------------------

    def take(self, outcome: Outcome) -> None:
        """What an execution came to; one that is not waited for any more only costs."""
        node = self.state.nodes.get(outcome.node)
        is_awaited = (
            node is not None
            and node.status == NodeStatus.RUNNING
            and node.attempt == outcome.attempt
        )
        settle(self.state, self.change, outcome, node if is_awaited else None)
        if node is None or not is_awaited:
            return
        if outcome.is_lost:
            self.lose(node)
            return
        ended: dict[str, Any] = {"ended_at": self.change.now, "metrics": outcome.metrics(node)}
        if outcome.error is None:
            self.change.set_node(
                node,
                NodeStatus.COMPLETED,
                output=outcome.output,
                inner=outcome.inner or None,
                error=None,
                **ended,
            )
        elif outcome.is_cancelled and self.state.run.status == RunStatus.CANCELLING:
            self.change.set_node(node, NodeStatus.CANCELLED, **ended)
        else:
            self._failed(node, outcome, ended)

    def _failed(self, node: Node, outcome: Outcome, ended: dict[str, Any]) -> None:
        error = outcome.error or {}
        node.attempts = [
            *node.attempts,
            {
                "attempt": node.attempt,
                "started_at": node.started_at and node.started_at.isoformat(),
                "ended_at": self.change.now.isoformat(),
                "error": error,
            },
        ]
        rule = self.state.steps[node.name].retry
        tries = len(node.attempts)
        is_going_on = self.state.run.status != RunStatus.CANCELLING
        if is_going_on and rule.allows(tries, error["code"]):
            wait = rule.wait(tries, Random(), LONGEST_WAIT)  # noqa: S311  jitter
            retry_at = self.change.now + timedelta(seconds=wait)
            self.change.set_node(node, NodeStatus.RETRYING, error=error, retry_at=retry_at, **ended)
            return
        self.fail(node, error, **ended)

    def fail(self, node: Node, error: dict[str, Any], **values: Any) -> None:
        """A node fails for good; who needs it is told when its turn comes."""
        values.setdefault("ended_at", self.change.now)
        self.change.set_node(node, NodeStatus.FAILED, error=error, **values)
        self.change.tell("error", node_id=node.name, **error)

    def lose(self, node: Node) -> None:
        """The process that ran a node died with it."""
        node.reserved, self.state.run.reserved = (
            Decimal(0),
            self.state.run.reserved - node.reserved,
        )
        self.change.touch_run()
        if self.state.run.status == RunStatus.CANCELLING:
            self.change.set_node(node, NodeStatus.CANCELLED, ended_at=self.change.now)
        elif self.state.steps[node.name].may_repeat():
            self.change.set_node(node, NodeStatus.PENDING, reason="process_died")
        else:
            gates.open_crash_gate(self.state, self.change, node)

    # -- gates ----------------------------------------------------------------------------------

    def _take_choices(self) -> None:
        for gate in list(self.state.gates.values()):
            node = self.state.nodes[gate.node]
            if gate.is_taken or gate.status == GateStatus.OPEN:
                continue
            self.change.take_gate(gate)
            if node.status == NodeStatus.PAUSED and gate.status != GateStatus.CLOSED:
                self._go_on_with(gate, node)

    def _go_on_with(self, gate: Gate, node: Node) -> None:
        choice = gate.choice
        if gate.kind == Gate.Kind.WAIT:
            self._go_on_with_event(gate, node)
        elif choice is not None and choice["decision"] == "approve":
            self._approved(gate, node, choice)
        elif gate.kind == Gate.Kind.BUDGET:  # nobody allows more: said, or not said in time
            self._stop("budget_exceeded")
        elif choice is None:
            message = "Nobody decided in time."
            self.fail(node, {"code": Code.TIMEOUT.value, "message": message})
        elif choice["decision"] == "modify" or choice["scope"] == "phase":
            self._again([*node.needs], node, choice["feedback"])
        else:
            who = f" by {choice['by']}" if choice["by"] else ""
            message = f"It was rejected{who}." + (
                f" {choice['feedback']}" if choice["feedback"] else ""
            )
            # Nothing went wrong, so the log has no error: somebody said no.
            denied = {"code": Code.APPROVAL_DENIED.value, "message": message}
            self.change.set_node(node, NodeStatus.FAILED, error=denied, ended_at=self.change.now)
            if choice["scope"] == "abort":
                self._stop("cancelled")

    def _go_on_with_event(self, gate: Gate, node: Node) -> None:
        step = self.state.steps[node.name].inner
        if gate.choice is None and getattr(step, "on_timeout", None) != "continue":
            message = f"No event came in time: it waited for {gate.shown['event']}."
            self.fail(node, {"code": Code.TIMEOUT.value, "message": message})
            return
        value = None if gate.choice is None else gate.choice["value"]
        self.change.set_node(
            node, NodeStatus.COMPLETED, output=value, reason="", ended_at=self.change.now
        )

    def _approved(self, gate: Gate, node: Node, choice: dict[str, Any]) -> None:
        if gate.kind == Gate.Kind.STEP:
            output = {
                "decision": choice["decision"],
                "option": choice["option"],
                "feedback": choice["feedback"],
                "by": choice["by"],
                "revision": gate.revision,
            }
            self.change.set_node(
                node, NodeStatus.COMPLETED, output=output, ended_at=self.change.now
            )
            return
        if gate.kind == Gate.Kind.APPROVAL:
            node.approved = gate.shown["inputs_digest"]
        elif gate.kind == Gate.Kind.BUDGET:
            run = self.state.run
            run.budget = (run.budget or Decimal(0)) + Decimal(gate.shown["more"])
            self.change.touch_run()
            self.change.tell_cost()
        self.change.set_node(node, NodeStatus.PENDING, reason="")

    def _again(self, names: Sequence[str], gate: Node, feedback: str) -> None:
        """Have nodes run again, and the gate behind them opened anew."""
        self.change.set_node(gate, NodeStatus.PENDING, reason="")
        for name in names:
            node = self.state.nodes[name]
            if NodeStatus(node.status) in ENDED and self.state.steps[name].may_repeat():
                reset(self.change, node, feedback)
                call_back(self.change, node)
        self.state.rebuild()

    # -- time -----------------------------------------------------------------------------------

    def _expire(self) -> None:
        run, now = self.state.run, self.change.now
        if run.deadline_at is not None and run.deadline_at <= now and not run.outcome:
            self._stop("timeout")
        for gate in list(self.state.gates.values()):
            is_open = gate.status == GateStatus.OPEN
            if is_open and gate.expires_at is not None and gate.expires_at <= now:
                gates.expire(self.state, self.change, gate)
        self._take_choices()
        for name in [*self.state.retrying]:
            retry_at = self.state.nodes[name].retry_at
            if retry_at is None or retry_at <= now:
                self.state.retrying.discard(name)
                self.state.ready.append(name)

    def _stop(self, outcome: str) -> None:
        """End the run early, as soon as nothing runs any more."""
        run = self.state.run
        if run.status in {RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.PAUSED}:
            run.outcome = outcome
            self.change.set_run(RunStatus.CANCELLING)

    def _cancel(self) -> None:
        for node in list(self.state.nodes.values()):
            status = NodeStatus(node.status)
            if status in ENDED or status is NodeStatus.RUNNING:
                continue
            gate = self.state.gates.get(node.name)
            if gate is not None and gate.status == GateStatus.OPEN:
                self.change.close_gate(gate, GateStatus.CLOSED)
                self.change.take_gate(gate)
            self.change.set_node(node, NodeStatus.CANCELLED, ended_at=self.change.now)
        # Those that wait for runs end when these are cancelled: the run does not rest before.
        self.has_more = bool(self.state.collecting())

    # -- what begins ----------------------------------------------------------------------------

    def _begin_what_is_ready(self) -> None:
        state = self.state
        while state.run.status == RunStatus.RUNNING:
            if monotonic() > self._until or len(self.change.events) > MOST_EVENTS:
                self.has_more = bool(state.ready) or self._has_next()
                return
            if self._has_next():
                name = state.scheduled.popleft()
            elif state.ready:
                name = state.ready.popleft()
            else:
                return
            node = state.nodes[name]
            if node.status in _WAITING:
                self._begin(node)

    def _has_next(self) -> bool:
        """Whether one that waited for others to end can begin."""
        return bool(self.state.scheduled) and self._has_place() and not self._is_short

    def _has_place(self) -> bool:
        return len(self.state.busy) < self.state.run.max_parallel

    def _begin(self, node: Node) -> None:
        """Begin with a node, or see that there is nothing to begin."""
        step = self.state.steps[node.name]
        try:
            if node.status == NodeStatus.PENDING:
                reason = self._why_not(node, step)
                if reason:
                    self.change.set_node(
                        node, NodeStatus.SKIPPED, reason=reason, ended_at=self.change.now
                    )
                    return
                if self._waits(node, step):
                    return
            if isinstance(step.inner, Launch | LaunchMany):
                launches.begin(self.state, self.change, node, step)
                return
        except Refusal as refusal:
            self.fail(node, {"code": refusal.code.value, "message": refusal.message})
            return
        self._start(node, step)

    def _why_not(self, node: Node, step: NodeStep) -> str:
        """Why a node is skipped, "" when it is not."""
        nodes, chosen = self.state.nodes, False
        for name in node.needs:
            need = nodes[name]
            if need.status == NodeStatus.SKIPPED and need.reason == DEPENDENCY_FAILED:
                return DEPENDENCY_FAILED
            has_failed = need.status in {NodeStatus.FAILED, NodeStatus.CANCELLED}
            if has_failed and not self.state.steps[name].definition.optional:
                return DEPENDENCY_FAILED
            if self._branches_elsewhere(name, node.name):
                return NOT_CHOSEN
            chosen = chosen or need.reason != NOT_CHOSEN
        if node.needs and not chosen:
            return NOT_CHOSEN
        if step.when is not None and not step.when(self.state.execution(node)):
            return CONDITION_NOT_MET
        return ""

    def _branches_elsewhere(self, gate: str, node: str) -> bool:
        """Whether the gate has an option that leads to this node, and another was chosen."""
        step = self.state.steps[gate].inner
        if not isinstance(step, GateStep) or not step.options:
            return False
        options = gates.options_of(step)
        leading = {option["id"] for option in options if option.get("branch_to") == node}
        output = self.state.nodes[gate].output or {}
        return bool(leading) and output.get("option") not in leading

    def _waits(self, node: Node, step: NodeStep) -> bool:
        """Open the gate at which a node waits, if there is one."""
        match step.inner:
            case GateStep():
                gates.open_step_gate(self.state, self.change, node, step.inner)
            case WaitFor():
                gates.open_wait(self.state, self.change, node, step.inner)
            case _:
                return bool(step.effect) and self._needs_approval(node, step)
        return True

    def _needs_approval(self, node: Node, step: NodeStep) -> bool:
        if not self.state.machine.permissions.wants_approval(step.effect):
            return False
        if node.approved and node.approved == gates.digest(self._inputs(node, step)):
            return False
        inputs = self._inputs(node, step, self.change.now)
        gates.open_approval(self.state, self.change, node, step.effect, inputs)
        return True

    def _inputs(
        self, node: Node, step: NodeStep, shown_at: datetime | None = None
    ) -> dict[str, Any]:
        execution = self.state.execution(node, shown_at)
        return {name: value(execution) for name, value in step.expressions.items()}

    def _start(self, node: Node, step: NodeStep) -> None:
        state, change = self.state, self.change
        if not step.is_pure and (self._is_short or not self._has_place()):
            self._schedule(node)
            return
        verdict = reservation(state, change, node, step)
        if verdict != "ok":
            self._is_short = True
            if verdict == "wait":
                self._schedule(node)
            elif verdict == "gate":
                gates.open_budget_gate(state, change, node, shortage(state, step))
            else:
                self._stop("budget_exceeded")
            return
        for need in node.needs:
            if state.nodes[need].status == NodeStatus.COMPLETED:
                change.tell("edge_active", **{"from": need, "to": node.name})
        change.set_node(
            node,
            NodeStatus.RUNNING,
            attempt=node.attempt + 1,
            started_at=change.now,
            retry_at=None,
            metrics=None,
            reason="",
        )
        if step.is_pure:
            self.take(run_pure(state, node))
        else:
            self.to_run.append(node)

    def _schedule(self, node: Node) -> None:
        if node.status != NodeStatus.SCHEDULED:
            self.change.set_node(node, NodeStatus.SCHEDULED)
        else:
            self.state.scheduled.appendleft(node.name)

    # -- the end --------------------------------------------------------------------------------

    def _end(self) -> None:
        state, run, change = self.state, self.state.run, self.change
        if not run.outcome:
            has_failed = any(
                node.status == NodeStatus.FAILED and not state.steps[name].definition.optional
                for name, node in state.nodes.items()
            )
            run.outcome = "failed" if has_failed else "completed"
        if run.outcome == "completed":
            try:
                run.output = state.machine.compiled.responds.check_output(state.output() or {})
            except Refusal as refusal:
                run.outcome = "failed"
                run.error = {"code": refusal.code.value, "message": refusal.message}
                change.tell("error", **run.error)
        elif run.outcome == "failed":
            failed = next(
                (node for node in state.nodes.values() if node.status == NodeStatus.FAILED), None
            )
            run.error = failed and {**(failed.error or {}), "node_id": failed.name}
        run.ended_at, run.due_at, run.reserved = change.now, None, Decimal(0)
        change.set_run(_STATUS_OF[run.outcome])
        counts = {
            f"nodes_{status}": sum(node.status == status for node in state.nodes.values())
            for status in (NodeStatus.COMPLETED, NodeStatus.FAILED, NodeStatus.SKIPPED)
        }
        change.tell(
            "execution_complete",
            results=shown_results(dict(state.results()), run.id),
            outcome=run.outcome,
            metrics={
                **counts,
                "duration_ms": round((change.now - run.started_at).total_seconds() * 1000),
                "cost_usd": run.spent,
            },
        )
        self.is_over = True


def reset(change: Change, node: Node, feedback: str = "") -> None:
    """A node that has ended is to run again, as if it had not."""
    change.set_node(
        node,
        NodeStatus.PENDING,
        attempts=[],
        output=None,
        inner=None,
        error=None,
        metrics=None,
        approved="",
        feedback=feedback,
        reason="again" if not feedback else "changes_wanted",
        retry_at=None,
        ended_at=None,
    )


def call_back(change: Change, node: Node) -> None:
    """What is about to go on with what the node gave before waits for it anew."""
    state = change.state
    for name in state.dependents[node.name]:
        other, gate = state.nodes[name], state.gates.get(name)
        if other.status == NodeStatus.PAUSED:
            if gate is None or gate.kind not in {Gate.Kind.STEP, Gate.Kind.APPROVAL}:
                continue
            if gate.status == GateStatus.OPEN:
                change.close_gate(gate, GateStatus.CLOSED)
                change.take_gate(gate)
        elif other.status not in {NodeStatus.SCHEDULED, NodeStatus.RETRYING}:
            continue
        change.set_node(other, NodeStatus.PENDING, reason="", retry_at=None)
