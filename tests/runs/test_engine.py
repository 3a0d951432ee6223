"""A run's nodes: when they start, what a failure does, how a run is paused and cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from math import inf
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from mashin_surfaces.commit import GroupCommit
from mashin_surfaces.exceptions import Code
from mashin_surfaces.machines.models import Machine
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.models import Run
from mashin_surfaces.runs import calls, commands, driver, progress
from mashin_surfaces.runs import engine as engine_module
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.driver import Driver
from mashin_surfaces.runs.store import load
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs, refusal

pytestmark = pytest.mark.django_db(transaction=True)

WIDE = """\
    ask a, from: "run.wait", after: none
      name: "a"
    ask b, from: "run.wait", after: none
      name: "b"
    ask c, from: "run.wait", after: none
      name: "c"
"""


# -- order ----------------------------------------------------------------------------------------


async def test_a_run_that_only_computes_is_made_and_ended_at_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONGEST", inf)  # a pause of this process ends no look
    run = await runs.run(
        "    compute one\n      {n: input.n + 1}\n    compute two\n      {n: 2 * steps.one.n}\n"
    )
    assert (run.status, run.outcome, run.output) == ("completed", "completed", {"n": 4})
    complete = (await runs.log(run))[-1]
    assert complete["results"] == {"one": {"n": 2}, "two": {"n": 4}}
    await runs.check(run)


async def test_a_node_starts_when_what_it_needs_is_done_whatever_else_runs(runs: Runs) -> None:
    run = await runs.run(
        '    ask slow, from: "run.wait", after: none\n      name: "slow"\n'
        '    ask quick, from: "run.note", after: none\n      name: "quick"\n'
        '    ask next, from: "run.note", after: quick\n      name: "next"\n'
        "    compute both, after: slow, next\n      {n: 1}\n"
    )
    await runs.node(run, "next", "completed")
    assert (await runs.statuses(run))["slow"] == "running"
    run_effects.gate("slow").set()
    assert (await runs.ended(run)).outcome == "completed"


async def test_no_more_run_at_once_than_are_allowed(runs: Runs) -> None:
    run = await runs.run(WIDE, max_parallel=2)
    await runs.node(run, "c", "scheduled")
    await runs.node(run, "b", "running")
    for name in "abc":
        run_effects.gate(name).set()
    await runs.ended(run)
    assert run_effects.most_at_once == 2


async def test_a_condition_that_is_not_met_skips_a_node_and_not_those_behind(runs: Runs) -> None:
    run = await runs.run(
        '    ask deep, from: "run.note", when: "input.n > 5"\n      name: "deep"\n'
        "    compute after\n      {skipped: steps.deep is null}\n"
    )
    ended = await runs.ended(run)
    assert await runs.statuses(run) == {"deep": "skipped", "after": "completed"}
    assert (await runs.node(run, "deep")).reason == "condition_not_met"
    assert ended.output == {"skipped": True}


# -- failures -------------------------------------------------------------------------------------


async def test_a_failure_skips_what_needs_it_and_nothing_else(runs: Runs) -> None:
    run = await runs.run(
        '    ask broken, from: "run.fail", after: none\n'
        "    compute behind, after: broken\n      {n: 1}\n"
        "    compute further, after: behind\n      {n: 1}\n"
        "    compute beside, after: none\n      {n: 1}\n"
    )
    ended = await runs.ended(run)
    assert ended.outcome == "failed"
    assert ended.error is not None
    assert ended.error["node_id"] == "broken"
    assert await runs.statuses(run) == {
        "broken": "failed", "behind": "skipped", "further": "skipped", "beside": "completed",
    }  # fmt: skip
    (error,) = await runs.log(run, "error")
    assert "secret" not in error["message"]


async def test_only_the_last_failure_counts(runs: Runs) -> None:
    run = await runs.run(
        '    retry twice, max: 3, backoff: "none"\n      ask broken, from: "run.fail"\n'
        "        times: 2\n"
        "    compute behind\n      {n: steps.twice.name + steps.broken.name}\n"
    )
    ended = await runs.ended(run)
    assert ended.output == {"n": "failfail"}
    states = [e["status"] for e in await runs.log(run, "node_state") if e["node_id"] == "twice"]
    assert states == ["running", "retrying", "running", "retrying", "running", "completed"]


async def test_an_optional_failure_skips_nothing_and_fails_nothing(runs: Runs) -> None:
    run = await runs.run(
        '    ask extra, from: "run.fail", optional: true\n'
        "    compute behind\n      {n: steps.extra is null}\n"
    )
    assert (await runs.ended(run)).output == {"n": True}


async def test_what_takes_too_long_is_ended(runs: Runs, settings: object) -> None:
    settings.MASHIN_SURFACES = {"RUNS": {"NODE_TIMEOUT": 0.05}}  # type: ignore[attr-defined]
    run = await runs.run('    ask slow, from: "run.wait"\n      name: "slow"\n')
    await runs.ended(run)
    assert (await runs.error_of(run, "slow"))["code"] == "timeout"


async def test_what_no_database_keeps_fails_its_node(runs: Runs) -> None:
    run = await runs.run('    ask odd, from: "run.odd"\n')
    assert (await runs.ended(run)).outcome == "failed"
    assert "can't be kept" in (await runs.error_of(run, "odd"))["message"]


async def test_a_run_ends_at_its_deadline(runs: Runs) -> None:
    run = await runs.run(
        '    ask slow, from: "run.wait", after: none\n      name: "slow"\n'
        '    gate review, after: none\n      question: "?"\n',
        ensures='    limits\n      timeout: "200ms"\n',
    )
    ended = await runs.ended(run)
    assert ended.outcome == "timeout"
    assert await runs.statuses(run) == {"slow": "cancelled", "review": "cancelled"}


async def test_big_outputs_are_referred_to(runs: Runs) -> None:
    run = await runs.run('    ask big, from: "run.big"\n      size: 20000\n')
    ended = await runs.ended(run)
    told = next(e for e in await runs.log(run, "node_state") if e["status"] == "completed")
    assert told["output"]["$ref"] == f"/api/dags/{run.pk}/nodes/big/output"
    assert told["output"]["size"] == 20011
    assert ended.output == {"text": "x" * 20000}


# -- control --------------------------------------------------------------------------------------


async def test_a_pause_lets_run_what_runs_and_starts_nothing(runs: Runs) -> None:
    run = await runs.run(WIDE + "    compute behind, after: a\n      {n: 1}\n")
    await runs.node(run, "c", "running")
    await commands.acontrol(run, "pause", runs.ada)
    for name in "abc":
        run_effects.gate(name).set()
    paused = await runs.until(run, lambda found: found.status == "paused")
    assert (await runs.statuses(run))["behind"] == "pending"
    await commands.acontrol(paused, "resume", runs.ada)
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done == {"a": 1, "b": 1, "c": 1}


async def test_a_cancelled_run_tells_what_runs_and_closes_its_gates(runs: Runs) -> None:
    run = await runs.run(WIDE + '    gate review, after: none\n      question: "?"\n')
    gate = await runs.gate(run, "review")
    await runs.node(run, "c", "running")
    await commands.acontrol(run, "cancel", runs.ada)
    ended = await runs.ended(run)
    assert (ended.status, ended.outcome) == ("cancelled", "cancelled")
    assert not run_effects.running
    await gate.arefresh_from_db()
    assert gate.status == "closed"
    assert (await refusal(commands.acontrol(run, "resume", runs.ada))).code is Code.CONFLICT


async def test_a_run_over_its_time_waits_for_what_still_ends_and_for_no_moment(runs: Runs) -> None:
    run = await runs.run(
        '    ask a, from: "run.spend_and_wait"\n'
        '      name: "a"\n      amount: 0.1\n      is_stubborn: true\n',
        ensures='    limits\n      timeout: "50ms"\n',
    )
    await runs.until(run, lambda found: found.status == "cancelling")
    state = await sync_to_async(load)(run.pk)
    run_effects.gate("a").set()
    assert (await runs.ended(run)).outcome == "timeout"
    assert state is not None
    assert state.next_due() is None


async def test_what_does_not_end_is_abandoned(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "GRACE", 0.05)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    run_effects.gates["send"] = type("Stubborn", (), {"wait": staticmethod(stubborn)})()
    run = await runs.run('    ask send, from: "run.send"\n')
    await runs.node(run, "send", "running")
    await commands.acontrol(run, "cancel", runs.ada)
    assert (await runs.ended(run)).outcome == "cancelled"
    released.set()


async def test_a_failed_node_is_run_again_and_what_was_skipped_for_it(runs: Runs) -> None:
    run = await runs.run(
        '    ask broken, from: "run.fail"\n      times: 1\n    compute behind\n      {n: 1}\n'
    )
    failed = await runs.ended(run)
    await commands.aretry(failed, "broken", runs.ada)
    ended = await runs.until(run, lambda found: found.outcome == "completed")
    assert ended.output == {"n": 1}
    assert (await refusal(commands.aretry(ended, "broken", runs.ada))).subject == "node_state"


# -- launches and waits ---------------------------------------------------------------------------


async def test_a_launched_run_goes_its_own_way(runs: Runs) -> None:
    await runs.load("    compute twice\n      {n: 2 * input.n}\n", "child")
    run = await runs.run('    launch go, from: "child"\n      n: input.n + 1\n', {"n": 4})
    ended = await runs.ended(run)
    child = await Run.objects.aget(parent=run)
    assert ended.output == {"run_id": child.pk}
    assert (await runs.ended(child)).output == {"n": 10}


async def test_many_are_launched_so_many_at_once_and_waited_for(runs: Runs) -> None:
    await runs.load(
        '    ask work, from: "run.wait"\n      name: "w${input.item}"\n',
        "child",
        accepts="    item as number\n",
    )
    run = await runs.run(
        "    launch_many all\n"
        '      machine: "child"\n      items: [1, 2, 3]\n      max_concurrency: 2\n'
        "      collect: true\n"
    )
    await runs.until(run, lambda found: not found.holder)
    assert await Run.objects.filter(parent=run).acount() == 2
    for name in ("w1", "w2", "w3"):
        run_effects.gate(name).set()
    ended = await runs.ended(run)
    assert ended.output is not None
    results = ended.output["results"]
    assert [each["output"] for each in results] == [{"name": f"w{n}"} for n in (1, 2, 3)]
    assert run_effects.most_at_once <= 2


async def test_a_wait_goes_on_with_what_it_is_given(runs: Runs) -> None:
    run = await runs.run(
        '    wait for payment\n      event: "order.paid"\n      schema\n        amount as number\n'
        "    compute after\n      {paid: steps.payment.amount}\n"
    )
    await runs.node(run, "payment", "paused")
    rested = await runs.at_rest(run)
    wrong = await refusal(
        commands.asignal(rested, runs.ada, {"amount": "much"}, event="order.paid")
    )
    assert wrong.code is Code.INVALID_INPUT
    await commands.asignal(rested, runs.ada, {"amount": 7}, event="order.paid")
    assert (await runs.ended(run)).output == {"paid": 7}


@pytest.mark.parametrize(("on_timeout", "outcome"), [("fail", "failed"), ("continue", "completed")])
async def test_a_wait_ends_in_time(runs: Runs, on_timeout: str, outcome: str) -> None:
    run = await runs.run(
        '    wait for payment\n      event: "order.paid"\n      timeout: "50ms"\n'
        f'      on_timeout: "{on_timeout}"\n    compute after\n      {{n: 1}}\n'
    )
    assert (await runs.ended(run)).outcome == outcome


# -- one start, one machine -----------------------------------------------------------------------


async def test_the_same_request_starts_one_run(runs: Runs) -> None:
    await runs.load('    gate review\n      question: "?"\n')
    first, second = await asyncio.gather(runs.start(request_key="k"), runs.start(request_key="k"))
    assert first.pk == second.pk
    assert (await refusal(runs.start(input={"n": 2}, request_key="k"))).code is Code.CONFLICT
    assert await Run.objects.acount() == 1


async def test_a_run_is_worked_on_although_who_starts_it_goes_away_meanwhile(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_together, is_put = GroupCommit.put_together, asyncio.Event()

    def observed(self: GroupCommit, *given: Any) -> Any:
        is_put.set()
        return put_together(self, *given)

    machine = await runs.load('    ask send, from: "run.send"\n      name: "send"\n')
    monkeypatch.setattr(GroupCommit, "put_together", observed)
    starting = asyncio.create_task(runs.start(machine))
    await is_put.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(DEADLINE):
        while not await Run.objects.aexists():  # noqa: ASYNC110  it is the database that tells
            await asyncio.sleep(0.01)
    run = await Run.objects.aget()
    assert (await runs.at_rest(run)).outcome == "completed"
    assert run_effects.done == {"send": 1}


async def test_a_run_that_a_thread_starts_is_not_left_to_the_next_look(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()
    look = engine_module._look

    def observed() -> Any:
        found = look()
        looked.set()
        return found

    machine = await runs.load("    compute a\n      {n: 1}\n")
    await runs.engine.close()
    monkeypatch.setattr(engine_module, "LOOK", 2 * DEADLINE)
    monkeypatch.setattr(engine_module, "_look", observed)
    runs.engine.start()
    assert await asyncio.to_thread(looked.wait, DEADLINE)

    def begin() -> str:
        try:
            return calls.start_run(machine, {}, principal=runs.ada.principal)
        finally:
            connections.close_all()

    run = await Run.objects.aget(pk=await asyncio.to_thread(begin))
    assert (await runs.ended(run)).outcome == "completed"


async def test_who_leaves_a_run_that_somebody_just_gives_back_takes_it_up_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look pokes the driver as it rests; it reads once more, and meanwhile somebody decides."""
    run = await runs.run(
        '    ask a, from: "run.wait"\n      name: "a"\n    gate ok\n      question: "?"\n'
    )
    await run_effects.has_begun("a")
    loop = asyncio.get_running_loop()
    commit, undecided = Driver._commit, ["ok"]

    async def commit_and_be_poked(self: Driver, change: Change) -> bool:
        counted = await commit(self, change)
        if undecided and not self.state.run.holder:
            self.poke()
        return counted

    def read_late(id: str) -> Any:
        found = load(id)
        if undecided:
            deciding = runs.decide(run, undecided.pop())
            asyncio.run_coroutine_threadsafe(deciding, loop).result(DEADLINE)
        return found

    monkeypatch.setattr(engine_module, "LOOK", 2 * DEADLINE)
    monkeypatch.setattr(Driver, "_commit", commit_and_be_poked)
    monkeypatch.setattr(driver, "load", read_late)
    run_effects.gate("a").set()
    assert (await runs.ended(run)).outcome == "completed"


def test_what_belongs_to_loops_that_are_gone_is_forgotten() -> None:
    async def own() -> weakref.ref[engine_module.Engine]:
        return weakref.ref(engine_module.engine())

    *before, _ = [asyncio.run(own()) for _ in range(4)]
    gc.collect()
    assert [each() for each in before] == [None] * 3


async def test_a_run_goes_on_with_the_revision_it_was_started_with(runs: Runs) -> None:
    run = await runs.run('    gate review\n      question: "?"\n    compute end\n      {n: 1}\n')
    await runs.gate(run, "review")
    await runs.load("    compute other\n      {n: 2}\n")
    await runs.decide(run, "review")
    assert (await runs.ended(run)).output == {"n": 1}


async def test_a_run_whose_machine_is_gone_ends_and_says_so(runs: Runs) -> None:
    run = await runs.run('    gate review\n      question: "?"\n')
    await runs.gate(run, "review")
    await Machine.objects.all().adelete()
    await runs.at_rest(run)
    registry.forget()
    await runs.decide(run, "review")
    ended = await runs.ended(run)
    assert ended.outcome == "failed"
    assert ended.error is not None
    assert "is gone" in ended.error["message"]
