"""Whose turn it is: who waits for a place, for money or for another holds up nobody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mashin_surfaces.models import Node, Run
from mashin_surfaces.runs import commands
from tests.runs import run_effects
from tests.runs.conftest import Runs, refusal

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = '    ask slow, from: "run.wait", after: none, estimate: 0.8\n      name: "slow"\n'
DEAR = '    ask dear, from: "run.note", after: none, estimate: 0.9\n      name: "dear"\n'
FREE = """\
    gate review, after: none
      question: "?"
    compute sum, after: none
      {n: 1}
"""


async def test_what_costs_nothing_does_not_wait_for_money(runs: Runs) -> None:
    run = await runs.run(SLOW + DEAR + FREE, budget=Decimal(1))
    await runs.gate(run, "review")
    await runs.node(run, "sum", "completed")  # it may be of the next look
    statuses = {"slow": "running", "dear": "scheduled", "review": "paused", "sum": "completed"}
    assert await runs.statuses(run) == statuses
    run_effects.gate("slow").set()
    await runs.decide(run, "review")
    assert (await runs.ended(run)).outcome == "completed"


async def test_what_costs_nothing_goes_on_while_a_person_is_asked_for_money(runs: Runs) -> None:
    run = await runs.run(DEAR + FREE, budget=Decimal("0.5"))
    assert (await runs.gate(run, "dear")).kind == "budget"
    assert (await runs.gate(run, "review")).kind == "step"
    await runs.node(run, "sum", "completed")


async def test_money_is_given_in_turn(runs: Runs) -> None:
    cheap = '    ask cheap, from: "run.note", after: none, estimate: 0.1\n      name: "cheap"\n'
    run = await runs.run(SLOW + DEAR + cheap, budget=Decimal(1))
    await runs.node(run, "cheap", "scheduled")
    assert not run_effects.done["cheap"]
    run_effects.gate("slow").set()
    await runs.ended(run)
    begun = [e["node_id"] for e in await runs.log(run, "node_state") if e["status"] == "running"]
    assert begun == ["slow", "dear", "cheap"]


# -- a graph that changes -------------------------------------------------------------------------


async def mutate(runs: Runs, run: Run, **mutation: Any) -> None:
    await commands.amutate(run, {"kind": "add_edge", **mutation}, 1, runs.ada)


async def test_who_waits_for_a_place_waits_for_what_it_needs_from_now_on(runs: Runs) -> None:
    run = await runs.run(
        '    ask slow, from: "run.wait", after: none\n      name: "slow"\n'
        '    ask last, from: "run.note", after: none\n      name: "last"\n'
        '    gate review, after: none\n      question: "?"\n',
        max_parallel=1,
    )
    await runs.gate(run, "review")
    await runs.node(run, "last", "scheduled")
    await mutate(runs, run, edges_added=[["review", "last"]])
    run_effects.gate("slow").set()
    rested = await runs.at_rest(run)
    assert await runs.statuses(rested) == {
        "slow": "completed", "last": "pending", "review": "paused",
    }  # fmt: skip
    await runs.decide(run, "review")
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done["last"] == 1


async def test_what_was_shown_or_failed_once_gets_no_new_needs(runs: Runs) -> None:
    run = await runs.run(
        '    retry again, max: 3, backoff: "linear", delay: "1h", after: none\n'
        '      ask broken, from: "run.fail"\n'
        '    gate review, after: none\n      question: "?"\n'
        '    gate other, after: none\n      question: "?"\n'
    )
    await runs.node(run, "again", "retrying")
    await runs.gate(run, "other")
    for name in ("again", "review"):
        refused = await refusal(mutate(runs, run, edges_added=[["other", name]]))
        assert refused.subject == "node_state"


async def test_what_is_to_be_tried_again_can_be_taken_out_of_the_graph(runs: Runs) -> None:
    run = await runs.run(
        '    retry again, max: 3, backoff: "linear", delay: "1h"\n'
        '      ask broken, from: "run.fail"\n'
    )
    await runs.node(run, "again", "retrying")
    await mutate(runs, run, kind="remove_node", nodes_removed=["again"])
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done == {"fail": 1}


# -- tried again ----------------------------------------------------------------------------------


async def test_nobody_holds_a_run_that_only_waits_for_its_next_try(runs: Runs) -> None:
    run = await runs.run(
        '    retry again, max: 2, backoff: "linear", delay: "1h"\n'
        '      ask broken, from: "run.fail"\n        times: 1\n'
    )
    node = await runs.node(run, "again", "retrying")
    rested = await runs.at_rest(run)
    assert (rested.due_at, runs.engine.working_on) == (node.retry_at, 0)
    assert node.retry_at is not None
    assert node.retry_at <= rested.started_at + timedelta(hours=1, seconds=30)
    now = datetime.now(UTC)
    await Node.objects.filter(pk=node.pk).aupdate(retry_at=now)
    await Run.objects.filter(pk=run.pk).aupdate(due_at=now)
    assert (await runs.ended(run)).outcome == "completed"
    again = await runs.node(run, "again")
    assert (again.attempt, [each["attempt"] for each in again.attempts]) == (2, [1])


# -- events ---------------------------------------------------------------------------------------


async def test_each_event_is_for_one_of_those_that_wait_for_it(runs: Runs) -> None:
    waits = "".join(
        f'    wait for {name}, after: none\n      event: "parcel"\n' for name in ("one", "two")
    )
    run = await runs.run(waits + "    compute all, after: one, two\n      steps\n")
    await runs.node(run, "two", "paused")
    for number in (1, 2):
        await commands.asignal(run, runs.ada, {"number": number}, event="parcel")
    await runs.ended(run)
    came = [(await runs.node(run, name)).output for name in ("one", "two")]
    assert sorted(each["number"] for each in came if each is not None) == [1, 2]
    late = await refusal(commands.asignal(run, runs.ada, {}, event="parcel"))
    assert late.subject == "gate_closed"
