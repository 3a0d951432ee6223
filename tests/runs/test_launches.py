"""Runs that start runs: what comes of the children, and of what can't be started."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import F

from mashin_surfaces.machines.models import Machine
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.models import Run
from mashin_surfaces.runs import commands, engine
from mashin_surfaces.runs.launches import MOST_DEPTH
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs

pytestmark = pytest.mark.django_db(transaction=True)

CHILD = """\
    ask work, from: "{effect}"
      name: "w${{input.item}}"
"""


def many(items: str, more: str = "") -> str:
    return (
        "    launch_many all\n"
        f'      machine: "child"\n      items: {items}\n      collect: true\n{more}'
    )


async def load_child(runs: Runs, effect: str) -> None:
    await runs.load(
        CHILD.format(effect=effect),
        "child",
        accepts="    item as number\n    times as number, default: 1000\n",
    )


async def test_a_child_that_fails_is_one_of_the_results(runs: Runs) -> None:
    await load_child(runs, "run.fail")
    run = await runs.run(many("[1, 2]"))
    ended = await runs.ended(run)
    assert (ended.outcome, ended.error) == ("completed", None)
    assert ended.output is not None
    for each in ended.output["results"]:
        assert (each["outcome"], each["output"]) == ("failed", None)
        assert each["error"]["node_id"] == "work"
    assert run_effects.done == {"w1": 1, "w2": 1}


async def test_who_waits_for_its_children_is_told_of_their_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_child(runs, "run.note")
    monkeypatch.setattr(engine, "LOOK", 2 * DEADLINE)
    run = await runs.run(many("[1, 2, 3]", "      max_concurrency: 1\n"))
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done == {"w1": 1, "w2": 1, "w3": 1}


async def test_the_next_child_is_launched_whatever_else_runs(runs: Runs) -> None:
    await load_child(runs, "run.note")
    launch = many("[1, 2]", "      max_concurrency: 1\n").replace("all\n", "all, after: none\n", 1)
    run = await runs.run(
        f'    ask other, from: "run.wait", after: none\n      name: "other"\n{launch}'
    )
    await run_effects.has_begun("other")
    await runs.node(run, "all", "completed")
    run_effects.gate("other").set()
    assert (await runs.ended(run)).outcome == "completed"


async def test_who_waits_for_a_child_that_is_given_up_is_told_of_that(runs: Runs) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(many("[1]"))
    await run_effects.has_begun("w1")
    await runs.at_rest(run)
    await Machine.objects.filter(name="child").adelete()
    registry.forget()
    child = await Run.objects.aget(parent=run)
    await Run.objects.filter(pk=child.pk).aupdate(version=F("version") + 1)  # it is read again
    run_effects.gate("w1").set()
    ended = await runs.ended(run)
    assert ended.output is not None
    assert [each["outcome"] for each in ended.output["results"]] == ["failed"]


async def test_for_nothing_nothing_is_launched(runs: Runs) -> None:
    await load_child(runs, "run.note")
    run = await runs.run(many("[]"))
    assert (await runs.ended(run)).output == {"results": []}


async def test_a_run_that_is_cancelled_launches_no_more(runs: Runs) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(many("[1, 2, 3]", "      max_concurrency: 1\n"))
    await run_effects.has_begun("w1")
    await commands.acontrol(run, "cancel", runs.ada)
    assert (await runs.ended(run)).outcome == "cancelled"
    assert await runs.statuses(run) == {"all": "cancelled"}
    assert await Run.objects.filter(parent=run).acount() == 1


async def test_with_a_run_are_cancelled_those_that_it_waits_for_and_theirs_and_no_others(
    runs: Runs,
) -> None:
    await load_child(runs, "run.wait")
    between = many("[1, 2]")
    await runs.load(between, "between", accepts="    item as number\n")
    steps = (
        '    launch alone, from: "child", after: none\n      item: 9\n'
        '    launch_many all, after: none\n      machine: "between"\n'
        "      items: [0]\n      collect: true\n"
    )
    run = await runs.run(steps)
    for name in ("w1", "w2", "w9"):
        await run_effects.has_begun(name)
    await commands.acontrol(run, "cancel", runs.ada)
    assert (await runs.ended(run)).outcome == "cancelled"
    middle = await Run.objects.aget(machine="between")
    waited_for = [middle, *[child async for child in Run.objects.filter(parent=middle)]]
    for child in waited_for:
        ended = await runs.ended(child)
        (_, told, _) = await runs.log(child, "run_state")
        assert (ended.outcome, told["by"]) == ("cancelled", f"run:{child.parent_id}")
    alone = await Run.objects.aget(parent=run, parent_node="alone")
    assert alone.status == "running"
    run_effects.gate("w9").set()
    assert (await runs.ended(alone)).outcome == "completed"


async def test_who_takes_over_a_run_that_is_being_cancelled_cancels_its_children(
    runs: Runs,
) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(many("[1, 2]"))
    await runs.at_rest(run)
    # As a process leaves it that dies when the cancellation is written, and nothing else.
    await Run.objects.filter(pk=run.pk).aupdate(
        status="cancelling",
        outcome="cancelled",
        holder="d" * 32,
        fence=F("fence") + 1,
        version=F("version") + 1,
    )
    assert (await runs.ended(run)).outcome == "cancelled"
    async for child in Run.objects.filter(parent=run):
        assert (await runs.ended(child)).outcome == "cancelled"
    assert not run_effects.running


@pytest.mark.parametrize("is_late", [True, False])
async def test_a_run_that_ends_early_waits_for_its_children_no_more(
    runs: Runs, is_late: bool
) -> None:
    await load_child(runs, "run.wait")
    gate = '    gate stop, after: none\n      question: "?"\n'
    run = await runs.run(gate + many("[1]").replace("many all", "many all, after: none"))
    await run_effects.has_begun("w1")
    await runs.at_rest(run)
    if is_late:
        now = datetime.now(UTC)
        await Run.objects.filter(pk=run.pk).aupdate(deadline_at=now, due_at=now)
    else:
        await runs.decide(run, "stop", "reject", scope="abort")
    assert (await runs.ended(run)).outcome == ("timeout" if is_late else "cancelled")
    assert (await runs.ended(await Run.objects.aget(parent=run))).outcome == "cancelled"


async def test_a_node_that_runs_again_launches_anew_and_waits_for_those(runs: Runs) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(
        '    ask broken, from: "run.fail", after: none\n      times: 1\n'
        + many("[1]").replace("many all", "many all, after: none")
    )
    await runs.node(run, "broken", "failed")
    await runs.at_rest(run)
    now = datetime.now(UTC)
    await Run.objects.filter(pk=run.pk).aupdate(deadline_at=now, due_at=now)
    assert (await runs.ended(run)).outcome == "timeout"
    run_effects.gate("w1").set()
    await commands.aretry(run, "broken", runs.ada)
    ended = await runs.until(run, lambda found: found.outcome == "completed")
    assert ended.output is not None
    assert [each["outcome"] for each in ended.output["results"]] == ["completed"]
    assert await Run.objects.filter(parent=run).acount() == 2


async def test_who_takes_a_run_over_launches_nothing_again(runs: Runs) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(many("[1, 2]"))
    await runs.at_rest(run)
    before = {each.pk async for each in Run.objects.filter(parent=run)}
    await Run.objects.filter(pk=run.pk).aupdate(
        holder="d" * 32, fence=F("fence") + 1, version=F("version") + 1
    )
    await runs.until(run, lambda found: found.holder != "d" * 32)
    run_effects.gate("w1").set()
    run_effects.gate("w2").set()
    ended = await runs.ended(run)
    assert ended.output is not None
    assert {each["run_id"] for each in ended.output["results"]} == before
    assert {each.pk async for each in Run.objects.filter(parent=run)} == before
    assert run_effects.done == {"w1": 1, "w2": 1}


@pytest.mark.parametrize(
    ("steps", "code", "said"),
    [
        ('    launch go, from: "nobody"\n', "not_found", "no machine"),
        ('    launch go, from: "child"\n      item: "much"\n', "invalid_input", ""),
        (many('"text"').replace("all", "go"), "execution_failed", "got none"),
        (many("[1, 2, 3]").replace("all", "go"), "too_large", "3 runs; 2 are allowed"),
        (many('[1, "two"]').replace("all", "go"), "invalid_input", ""),
    ],
)
async def test_what_can_not_be_launched_fails_its_node(
    runs: Runs, settings: Any, steps: str, code: str, said: str
) -> None:
    settings.MASHIN_SURFACES = {"RUNS": {"MAX_CHILDREN": 2}}
    await load_child(runs, "run.note")
    run = await runs.run(steps)
    assert (await runs.ended(run)).outcome == "failed"
    error = await runs.error_of(run, "go")
    assert error["code"] == code
    assert said in error["message"]
    assert not await Run.objects.filter(parent=run).aexists()


async def test_runs_do_not_launch_each_other_for_ever(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOOK", 2 * DEADLINE)  # who launches says so, nobody has to look
    last = await runs.run('    launch again, from: "graph"\n')
    for depth in range(MOST_DEPTH):
        assert (await runs.ended(last)).outcome == "completed"
        last = await Run.objects.aget(parent=last)
        assert last.depth == depth + 1
    assert (await runs.ended(last)).outcome == "failed"
    assert await Run.objects.acount() == MOST_DEPTH + 1
