"""The state machines of runs, nodes and gates: every pair is allowed or forbidden."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from mashin_surfaces.governance.door import GovernedMachine
from mashin_surfaces.machines.definition import Compute, Implements, MachineDefinition
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.models import Gate
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.states import (
    ENDED,
    GATE_STEPS,
    NODE_STEPS,
    OVER,
    RUN_STEPS,
    ForbiddenStep,
    GateStatus,
    NodeStatus,
    RunStatus,
    move,
)
from mashin_surfaces.runs.store import Creation, NewRun

TABLES: list[tuple[Any, Any]] = [
    (NODE_STEPS, NodeStatus),
    (RUN_STEPS, RunStatus),
    (GATE_STEPS, GateStatus),
]
PAIRS = [
    (table, before, after)
    for table, statuses in TABLES
    for before, after in product(statuses, repeat=2)
]
#: What may follow what, told a second time: a table that changes by mistake does not pass.
ALLOWED = {
    "pending": "scheduled running paused skipped mutated cancelled failed",
    "scheduled": "running paused pending mutated cancelled failed",
    "running": "completed failed retrying pending paused cancelled",
    "retrying": "running scheduled paused pending failed mutated cancelled",
    "paused": "completed failed pending mutated cancelled",
    "completed": "pending",
    "failed": "pending",
    "skipped": "pending",
    "cancelled": "pending",
    "mutated": "",
}
RUNS = {
    "running": "pausing cancelling completed failed",
    "pausing": "paused running cancelling completed failed",
    "paused": "running cancelling",
    "cancelling": "cancelled failed",
    "failed": "running",
    "cancelled": "",
    "completed": "",
}
GATES = {
    "open": "decided expired closed",
    "decided": "open",
    "expired": "open",
    "closed": "open",
}


@pytest.mark.parametrize(("table", "before", "after"), PAIRS)
def test_a_step_is_made_when_its_table_has_it_and_else_refused(
    table: Mapping[Any, frozenset[Any]], before: Any, after: Any
) -> None:
    if after in table[before]:
        assert move(table, before, after) is after
    else:
        with pytest.raises(ForbiddenStep, match=f"{before.value} can't become {after.value}"):
            move(table, before, after)


@pytest.mark.parametrize(
    ("table", "wanted"), [(NODE_STEPS, ALLOWED), (RUN_STEPS, RUNS), (GATE_STEPS, GATES)]
)
def test_the_tables_say_what_is_meant(table: Any, wanted: dict[str, str]) -> None:
    assert {before.value: {after.value for after in steps} for before, steps in table.items()} == {
        before: set(steps.split()) for before, steps in wanted.items()
    }


def test_what_has_ended_goes_on_only_when_a_person_says_so() -> None:
    for status in ENDED:
        assert NODE_STEPS[status] <= {NodeStatus.PENDING}
    for over in OVER:
        assert RUN_STEPS[over] <= {RunStatus.RUNNING}


def test_a_row_does_not_take_a_step_that_its_table_forbids() -> None:
    definition = MachineDefinition(
        name="graph", implements=Implements(steps=(Compute(name="only", body="{n: 1}"),))
    )
    creation = Creation(NewRun(GovernedMachine(CompiledMachine.of(definition)), {}, "ada"))
    state, change = creation.state, Change(creation.state)
    node = state.nodes["only"]
    with pytest.raises(ForbiddenStep):
        change.set_node(node, NodeStatus.COMPLETED, output={"n": 1})
    with pytest.raises(ForbiddenStep):
        change.set_run(RunStatus.PAUSED)
    gate = Gate(node="only", status=GateStatus.DECIDED)
    with pytest.raises(ForbiddenStep):
        change.close_gate(gate, GateStatus.EXPIRED)
    assert (node.status, node.output, state.run.status) == ("pending", None, "running")
    assert gate.status == "decided"
    assert change.is_empty
