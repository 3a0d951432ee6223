"""The cost account: booked, reserved, warned of, and never overspent by nodes that run at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code
from mashin_surfaces.governance.door import GovernedMachine
from mashin_surfaces.machines.definition import AskEffect, Implements, MachineDefinition
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.models import CostEntry, Gate, Run
from mashin_surfaces.runs import commands, driver, store
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.execution import Outcome
from mashin_surfaces.runs.progress import Progress
from mashin_surfaces.runs.store import Creation, NewRun
from mashin_surfaces.steps.spending import Charge
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs, refusal

SPEND = """\
    ask {name}, from: "run.spend", after: none, estimate: {estimate}
      name: "{name}"
      amount: {amount}
"""


def spending(*nodes: tuple[str, float, float]) -> str:
    """Nodes that run at once: name, estimate, and what they really cost."""
    return "".join(
        SPEND.format(name=name, estimate=estimate, amount=amount)
        for name, estimate, amount in nodes
    )


@pytest.mark.django_db(transaction=True)
async def test_what_a_node_costs_is_booked_and_told(runs: Runs) -> None:
    run = await runs.run(spending(("a", 0.5, 0.25), ("b", 0.5, 0.1)), budget=Decimal(2))
    ended = await runs.ended(run)
    assert (ended.spent, ended.reserved) == (Decimal("0.35"), Decimal(0))
    entries = {entry.node: entry async for entry in CostEntry.objects.filter(run=run)}
    assert (entries["a"].amount, entries["a"].model) == (Decimal("0.25"), "test")
    updates = await runs.log(run, "cost_update")
    assert updates[-1]["spent"] == 0.35
    assert updates[-1]["remaining"] == 1.65
    node = await runs.node(run, "a")
    assert node.metrics is not None
    assert (node.metrics["tokens_used"], node.metrics["cost_usd"]) == (5, 0.25)


@pytest.mark.django_db(transaction=True)
async def test_most_of_the_budget_is_warned_of_once(runs: Runs) -> None:
    run = await runs.run(
        spending(("a", 0, 0.5), ("b", 0, 0.2), ("c", 0, 0.2)), budget=Decimal(1), max_parallel=1
    )
    await runs.ended(run)
    (warning,) = await runs.log(run, "budget_warning")
    assert (warning["spent"], warning["share"]) == (0.9, 0.8)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("decision", "outcome"), [("approve", "completed"), ("reject", "budget_exceeded")]
)
async def test_a_spent_budget_asks_a_person(runs: Runs, decision: str, outcome: str) -> None:
    run = await runs.run(
        spending(("a", 0.8, 0.8), ("b", 0.5, 0.5)), budget=Decimal(1), max_parallel=1
    )
    gate = await runs.gate(run, "b")
    assert gate.kind == "budget"
    assert run_effects.done == {"a": 1}
    assert (await refusal(runs.decide(run, "b", "modify"))).code is Code.INVALID_INPUT
    await runs.decide(run, "b", decision)
    ended = await runs.ended(run)
    assert ended.outcome == outcome
    assert ended.budget == (2 if decision == "approve" else 1)


@pytest.mark.django_db(transaction=True)
async def test_when_nobody_says_in_time_that_more_may_be_spent_the_run_ends(runs: Runs) -> None:
    run = await runs.run(spending(("a", 0.8, 0.8), ("b", 0.5, 0.5)), budget=Decimal(1))
    gate = await runs.gate(run, "b")
    await runs.at_rest(run)
    past = datetime.now(UTC) - timedelta(seconds=1)
    await Gate.objects.filter(pk=gate.pk).aupdate(expires_at=past)
    await Run.objects.filter(pk=run.pk).aupdate(due_at=past)
    assert (await runs.ended(run)).outcome == "budget_exceeded"
    assert await runs.statuses(run) == {"a": "completed", "b": "cancelled"}


@pytest.mark.django_db(transaction=True)
async def test_a_spent_budget_ends_the_run_where_the_project_says_so(
    runs: Runs, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"RUNS": {"ON_BUDGET": "fail"}}
    run = await runs.run(
        spending(("a", 0.8, 0.8), ("b", 0.5, 0.5)), budget=Decimal(1), max_parallel=1
    )
    ended = await runs.ended(run)
    assert (ended.outcome, ended.spent) == ("budget_exceeded", Decimal("0.8"))
    assert run_effects.done == {"a": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("budget", "estimate", "asked"), [("0", 0, 1), ("0.1", 0.35, "0.4"), ("0.5", 0.5, "0.5")]
)
async def test_somebody_is_asked_for_enough(
    runs: Runs, budget: str, estimate: float, asked: Any
) -> None:
    """Who has said yes is not asked for the same node again."""
    spent = spending(("a", 0, 0.1), ("b", estimate, estimate))
    run = await runs.run(spent, budget=Decimal(budget), max_parallel=1)
    if budget == "0":
        await runs.gate(run, "a")
        await runs.decide(run, "a")
    else:
        await runs.gate(run, "b")
        await runs.decide(run, "b")
    ended = await runs.ended(run)
    assert (ended.outcome, ended.budget) == ("completed", Decimal(budget) + Decimal(asked))


@pytest.mark.django_db(transaction=True)
async def test_what_is_cancelled_before_it_has_begun_is_not_waited_for(
    runs: Runs, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MASHIN_SURFACES = {"RUNS": {"ON_BUDGET": "fail"}}
    monkeypatch.setattr(driver, "GRACE", 2 * DEADLINE)
    run = await runs.run(
        '    ask first, from: "run.wait"\n      name: "first"\n'
        '    ask a, from: "run.wait", after: first\n      name: "a"\n'
        '    ask b, from: "run.wait", after: first, estimate: 5\n      name: "b"\n',
        budget=1,
    )
    await run_effects.has_begun("first")
    run_effects.gate("first").set()
    assert (await runs.ended(run)).outcome == "budget_exceeded"
    assert run_effects.done == {"first": 1}


@pytest.mark.django_db(transaction=True)
async def test_what_was_booked_in_vain_is_booked_again(runs: Runs) -> None:
    """By a batch that was rolled back; meanwhile another process books with the same number."""
    run = await runs.at_rest(await runs.run('    gate ok\n      question: "?"\n'))

    def entry(node: str) -> CostEntry:
        return CostEntry(run=run, node=node, attempt=1, amount=Decimal(1), at=change.now)

    def book() -> None:
        with transaction.atomic():
            change.write()
            transaction.set_rollback(True)
        entry("other").save()
        with transaction.atomic():
            change.write()

    state = await sync_to_async(store.load)(run.pk)
    assert state is not None
    change = Change(state)
    change.costs.append(entry("ok"))
    await sync_to_async(book)()
    booked = CostEntry.objects.filter(run=run).order_by("node")
    assert [node async for node in booked.values_list("node", flat=True)] == ["ok", "other"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("grace", "is_stubborn"), [(5.0, False), (0.05, True)])
async def test_what_is_cancelled_or_abandoned_has_cost_what_it_has(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, grace: float, is_stubborn: bool
) -> None:
    monkeypatch.setattr(driver, "GRACE", grace)
    run = await runs.run(
        '    ask begun, from: "run.spend_and_wait"\n      name: "begun"\n      amount: 0.25\n'
        f"      is_stubborn: {str(is_stubborn).lower()}\n"
    )
    await runs.node(run, "begun", "running")
    await run_effects.has_begun("begun")
    await commands.acontrol(run, "cancel", runs.ada)
    ended = await runs.ended(run)
    assert (ended.outcome, ended.spent) == ("cancelled", Decimal("0.25"))
    run_effects.gate("begun").set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("warn_at", "spent"), [(0.5, 0.6), (0.3, 0.3), (2, 2.1)])
async def test_a_machine_says_when_it_is_warned(runs: Runs, warn_at: float, spent: float) -> None:
    steps = spending(*((f"n{number}", 0, 0.3) for number in range(8)))
    run = await runs.run(
        steps,
        budget=Decimal(4 if warn_at > 1 else 1),
        max_parallel=1,
        ensures=f"    limits\n      max_cost: 10\n      warn_at: {warn_at}\n",
    )
    await runs.until(run, lambda found: found.is_warned and not found.holder)
    (warning,) = await runs.log(run, "budget_warning")
    assert warning["spent"] == spent


amounts = st.integers(0, 100).map(lambda cents: Decimal(cents) / 100)
nodes = st.lists(st.tuples(amounts, st.floats(0, 1)), min_size=1, max_size=12)


@patch("mashin_surfaces.runs.progress.LONGEST", inf)  # a pause of this process ends no look
@given(nodes, amounts, st.integers(1, 12), st.randoms(use_true_random=False))
def test_nodes_that_run_at_once_never_spend_more_than_is_there(
    wanted: list[tuple[Decimal, float]], budget: Decimal, at_once: int, chance: Any
) -> None:
    """Each costs at most its estimate, and they end in any order."""
    steps = tuple(
        AskEffect(name=f"n{n}", source="run.spend", after=(), estimate=float(estimate))
        for n, (estimate, _) in enumerate(wanted)
    )
    definition = MachineDefinition(name="spender", implements=Implements(steps=steps))
    machine = GovernedMachine(CompiledMachine.of(definition))
    creation = Creation(NewRun(machine, {}, "ada", budget=budget, max_parallel=at_once))
    state, run = creation.state, creation.state.run
    shares = {f"n{n}": share for n, (_, share) in enumerate(wanted)}
    outcomes: list[Outcome] = []
    running: list[Any] = []
    while True:
        change = Change(state)
        progress = Progress(state, change)
        progress.go_on(outcomes)
        running += progress.to_run
        assert len(running) <= at_once
        assert run.spent + run.reserved <= budget
        if not running:
            break
        node = running.pop(chance.randrange(len(running)))
        cost = (node.reserved * Decimal(str(round(shares[node.name], 3)))).quantize(Decimal("0.01"))
        cost = min(cost, node.reserved)
        outcomes = [Outcome(node.name, node.attempt, output={}, charges=[Charge(cost, "", 0, 0)])]
    assert run.reserved == 0
