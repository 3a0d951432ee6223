"""The cost account of a run: reserved before a node starts, settled when it has ended.

Parallel nodes reserve from the same account, so that together they can't spend more than is there
as long as none costs more than its estimate.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

from ..conf import settings
from ..steps.nodes import NodeStep
from .change import Change
from .execution import Outcome
from .models import CostEntry, Gate, Node
from .state import RunState
from .states import GateStatus

#: Amounts are kept to a millionth of a dollar.
SMALLEST: Final = Decimal("0.000001")

Verdict = Literal["ok", "wait", "gate", "exceeded"]


def amount(value: Decimal | float) -> Decimal:
    """As it is kept."""
    return Decimal(str(value)).quantize(SMALLEST)


def reservation(state: RunState, change: Change, node: Node, step: NodeStep) -> Verdict:
    """Reserve what a node is estimated to cost; else why it can't start now.

    ``wait``: others run, and may leave enough. ``gate``: somebody may allow more.
    """
    free = state.free_budget
    estimate = amount(step.definition.estimate or 0)
    if free is None or step.is_pure:
        return "ok"
    if estimate <= free and free > 0:
        if estimate:
            node.reserved = estimate
            state.run.reserved += estimate
            change.touch_run()
        return "ok"
    if state.run.reserved > 0 or any(_is_budget_gate(gate) for gate in state.gates.values()):
        return "wait"
    return "gate" if settings.RUNS.ON_BUDGET == "gate" else "exceeded"


def shortage(state: RunState, step: NodeStep) -> Decimal:
    """How much more somebody is asked for: the budget once more, or as often as the node takes."""
    once = state.run.budget or Decimal(1)
    missing = amount(step.definition.estimate or 0) - (state.free_budget or Decimal(0))
    return once * (missing // once + 1)


def _is_budget_gate(gate: Gate) -> bool:
    return gate.kind == Gate.Kind.BUDGET and gate.status == GateStatus.OPEN


def settle(state: RunState, change: Change, outcome: Outcome, node: Node | None) -> None:
    """Book what an attempt cost, and give back what was reserved for it."""
    run = state.run
    if outcome.is_remote:
        change.taken.append((outcome.node, outcome.attempt))
    if node is not None and node.reserved:
        run.reserved -= node.reserved
        node.reserved = Decimal(0)
        change.touch_run()
        change.touch_node(node)
    entries = [
        CostEntry(
            run=run,
            node=outcome.node,
            attempt=outcome.attempt,
            amount=amount(charge.amount),
            model=charge.model[:200],
            input_tokens=charge.input_tokens,
            output_tokens=charge.output_tokens,
            at=change.now,
        )
        for charge in outcome.charges
    ]
    if not entries:
        return
    change.costs += entries
    run.spent += sum((entry.amount for entry in entries), Decimal(0))
    change.touch_run()
    change.tell_cost(outcome.node)
    _warn(state, change)


def _warn(state: RunState, change: Change) -> None:
    """Once, when most of the budget is spent."""
    run = state.run
    if run.budget is None or run.is_warned or run.spent < run.budget * share_of(state):
        return
    run.is_warned = True
    change.tell(
        "budget_warning",
        spent=run.spent,
        budget=run.budget,
        remaining=run.budget - run.spent,
        share=share_of(state),
    )


def share_of(state: RunState) -> Decimal:
    """The share of the budget at which it is warned."""
    said = state.machine.compiled.definition.ensures.limits.warn_at
    if said is None:
        return Decimal(str(settings.RUNS.WARN_AT))
    if said <= 1:
        return Decimal(str(said))
    budget = state.run.budget or Decimal(1)
    return min(Decimal(1), Decimal(str(said)) / budget)
