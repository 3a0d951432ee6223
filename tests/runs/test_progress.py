"""Looks at a run in memory, without a database: what can begin does, whatever else there is."""

from __future__ import annotations

import json
from decimal import Decimal
from math import inf
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.governance.door import GovernedMachine
from mashin_surfaces.machines.definition import AskEffect, Implements, MachineDefinition
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.execution import Outcome
from mashin_surfaces.runs.progress import MOST_EVENTS, Progress
from mashin_surfaces.runs.store import Creation, NewRun
from mashin_surfaces.steps.spending import Charge

COST = [Charge(Decimal("0.01"))]
STEP = """
    ask ask_{number}, from: "mail.send", after: none
      number: {number}
"""


def machine(steps: int) -> GovernedMachine:
    """So many steps that need nothing of each other."""
    source = "machine wide\n  ensures\n    allowed to mail.send\n  implements" + "".join(
        STEP.format(number=number) for number in range(steps)
    )
    return GovernedMachine(CompiledMachine.of(parse(source).definition, revision=1))


def test_a_node_that_waits_for_a_place_begins_although_so_much_ended_at_once() -> None:
    """The look that takes all of it in has no time left to begin anything: it is not the last."""
    at_once = MOST_EVENTS
    creation = Creation(NewRun(machine(at_once + 1), {}, "ada", max_parallel=at_once))
    state = creation.state
    progress = Progress(state, creation.change)
    progress.go_on(())
    while not progress.is_resting:
        ended = [] if progress.has_more else state.executing()
        outcomes = [Outcome(node.name, node.attempt, output={}, charges=COST) for node in ended]
        progress = Progress(state, Change(state))
        progress.go_on(outcomes)
    assert progress.is_over


FAILED = {"code": "execution_failed", "message": "It failed."}
#: Of each node: which of those before it it needs, whether it is optional, whether it fails.
graphs = st.lists(
    st.tuples(st.sets(st.integers(0, 9), max_size=3), st.booleans(), st.booleans()),
    min_size=1,
    max_size=10,
)


def expected(graph: list[tuple[set[int], bool, bool]]) -> dict[str, str]:
    """What becomes of each node, whatever the order in which they end."""
    statuses: list[str] = []
    for number, (needs, _, fails) in enumerate(graph):
        before = [(statuses[need], graph[need][1]) for need in needs if need < number]
        is_skipped = any(
            status == "skipped" or (status == "failed" and not is_optional)
            for status, is_optional in before
        )
        statuses.append("skipped" if is_skipped else "failed" if fails else "completed")
    return {f"n{number}": status for number, status in enumerate(statuses)}


@patch("mashin_surfaces.runs.progress.LONGEST", inf)  # a pause of this process ends no look
@given(graphs, st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_graph_is_gone_through_in_its_order_whatever_ends_or_is_lost_first(
    graph: list[tuple[set[int], bool, bool]], at_once: int, chance: Any
) -> None:
    steps = tuple(
        AskEffect(
            name=f"n{number}",
            source="some.effect",
            after=tuple(f"n{need}" for need in sorted(needs) if need < number),
            optional=is_optional,
        )
        for number, (needs, is_optional, _) in enumerate(graph)
    )
    definition = MachineDefinition(name="graph", implements=Implements(steps=steps))
    machine = GovernedMachine(CompiledMachine.of(definition))
    state = Creation(NewRun(machine, {}, "ada", max_parallel=at_once)).state
    outcomes: list[Outcome] = []
    log: list[tuple[str, str]] = []
    while True:
        change = Change(state)
        progress = Progress(state, change)
        for node in state.executing():
            if not outcomes and chance.random() < 0.5:
                progress.lose(node)
        progress.go_on(outcomes)
        for event in change.events:
            if event.type == "node_state":
                told = json.loads(event.payload)
                log.append((told["node_id"], told["status"]))
        assert len(state.executing()) <= at_once
        for node in progress.to_run:
            ended = {state.nodes[need].status for need in node.needs}
            assert ended <= {"completed", "failed", "skipped"}
        if progress.is_over:
            break
        running = state.executing()
        assert running, "nothing runs, and it is not over"
        outcomes = []
        if chance.random() < 0.8:
            node = chance.choice(running)
            fails = graph[int(node.name[1:])][2]
            outcomes = [Outcome(node.name, node.attempt, error=FAILED if fails else None)]
    statuses = {name: node.status for name, node in state.nodes.items()}
    assert statuses == expected(graph)
    assert dict(log) == statuses
    for name, last in statuses.items():
        ends = [status for node, status in log if node == name and status != "running"]
        assert ends[-1:] == [last]
        assert set(ends[:-1]) <= {"pending", "scheduled"}, "what has ended does not go on"
