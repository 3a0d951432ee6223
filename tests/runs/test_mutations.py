"""A run's graph is changed while it runs: what may be, and what stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance.door import GovernedMachine
from mashin_surfaces.machines.definition import Compute, Implements, MachineDefinition
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.machines.run_graph import in_order
from mashin_surfaces.models import Run
from mashin_surfaces.runs import commands, mutations
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.store import Creation, NewRun
from tests.runs import run_effects
from tests.runs.conftest import Runs, refusal

STEPS = """\
    ask first, from: "run.wait"
      name: "first"
    compute second
      {n: 1}
    compute third
      {n: 2}
"""


def compute(id: str, needs: list[str] | None = None, body: str = "{n: 3}") -> dict[str, Any]:
    step = {"kind": "compute", "name": id, "body": body}
    return {"id": id, "step": step, **({} if needs is None else {"needs": needs})}


async def mutate(runs: Runs, run: Run, version: int = 1, **mutation: Any) -> None:
    await commands.amutate(run, {"kind": "add_node", **mutation}, version, runs.ada)


@pytest.mark.django_db(transaction=True)
async def test_nodes_come_go_and_change_before_they_have_begun(runs: Runs) -> None:
    run = await runs.run(STEPS)
    await runs.node(run, "first", "running")
    await mutate(
        runs,
        run,
        kind="replace_node",
        nodes_added=[compute("extra", ["second"])],
        nodes_changed=[compute("second", body="{n: 10}")],
        nodes_removed=["third"],
        reason="a shorter way",
    )
    run_effects.gate("first").set()
    ended = await runs.ended(run)
    assert ended.outcome == "completed"
    assert await runs.statuses(run) == {
        "first": "completed", "second": "completed", "third": "mutated", "extra": "completed",
    }  # fmt: skip
    assert (await runs.node(run, "second")).output == {"n": 10}
    (told,) = await runs.log(run, "dag_mutated")
    mutation = told["mutation"]
    assert (mutation["by"], mutation["reason"], mutation["topology_version"]) == (
        "ada", "a shorter way", 2,
    )  # fmt: skip
    assert mutation["before"] == {"first": [], "second": ["first"], "third": ["second"]}
    assert mutation["after"] == {"first": [], "second": ["first"], "extra": ["second"]}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        ({"kind": "explode"}, "It is one of"),
        ({"nodes_added": [compute("second")]}, "already"),
        ({"nodes_added": [compute("new", ["nobody"])]}, "not in the graph"),
        ({"nodes_added": [compute("new", body="{n: ")]}, ""),
        ({"nodes_added": [{"id": "new", "step": {"kind": "magic", "name": "new"}}]}, ""),
        ({"nodes_removed": ["second"]}, "not in the graph"),
        ({"nodes_removed": ["nobody"]}, "no node"),
        ({"edges_added": [["third", "second"]]}, "circle"),
        ({"edges_added": [["second", "second"]]}, "circle"),
        ({}, "changes nothing"),
    ],
)
async def test_what_would_break_the_graph_is_refused_and_changes_nothing(
    runs: Runs, mutation: dict[str, Any], said: str
) -> None:
    run = await runs.run(STEPS)
    await runs.node(run, "first", "running")
    refused = await refusal(mutate(runs, run, **mutation))
    assert refused.code is Code.INVALID_INPUT
    assert said in refused.message
    run_effects.gate("first").set()
    assert (await runs.ended(run)).topology_version == 1


@pytest.mark.django_db(transaction=True)
async def test_what_runs_or_has_ended_stays_as_it_is(runs: Runs) -> None:
    run = await runs.run(STEPS)
    await runs.node(run, "first", "running")
    for mutation in ({"nodes_removed": ["first"]}, {"edges_added": [["second", "first"]]}):
        assert (await refusal(mutate(runs, run, **mutation))).subject == "node_state"
    run_effects.gate("first").set()
    await runs.ended(run)
    late = await refusal(mutate(runs, run, nodes_added=[compute("late")]))
    assert late.code is Code.CONFLICT


@pytest.mark.django_db(transaction=True)
async def test_who_has_not_seen_the_graph_as_it_is_does_not_change_it(runs: Runs) -> None:
    run = await runs.run(STEPS)
    await runs.node(run, "first", "running")
    await mutate(runs, run, nodes_added=[compute("one", ["third"])])
    stale = await refusal(mutate(runs, run, nodes_added=[compute("two", ["third"])]))
    assert stale.subject == "stale_topology"
    await mutate(runs, run, 2, nodes_added=[compute("two", ["third"])])
    run_effects.gate("first").set()
    assert (await runs.ended(run)).topology_version == 3


names = st.sampled_from([f"n{number}" for number in range(8)])
edges = st.lists(st.tuples(names, names).map(list), max_size=6)
changes = st.fixed_dictionaries(
    {
        "kind": st.just("add_edge"),
        "edges_added": edges,
        "edges_removed": edges,
        "nodes_removed": st.lists(names, max_size=2),
        "nodes_added": st.lists(
            st.builds(compute, names, st.lists(names, max_size=3, unique=True)), max_size=2
        ),
    }
)


@given(st.lists(changes, max_size=6))
def test_whatever_is_asked_for_a_graph_stays_without_circles(asked: list[dict[str, Any]]) -> None:
    steps = tuple(Compute(name=f"n{n}", body="{n: 1}", after=()) for n in range(4))
    definition = MachineDefinition(name="graph", implements=Implements(steps=steps))
    machine = GovernedMachine(CompiledMachine.of(definition))
    for mutation in asked:
        creation = Creation(NewRun(machine, {}, "ada"))
        change = Change(creation.state)
        try:
            mutations.apply(change, mutation, "ada")
        except Refusal:
            continue
        needs = {
            name: tuple(node.needs)
            for name, node in creation.state.nodes.items()
            if node.status != "mutated"
        }
        assert len(in_order(needs)) == len(needs)
        assert all(need in needs for each in needs.values() for need in each)
