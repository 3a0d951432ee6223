"""Runs that start runs: what comes of the children, and of what can't be started."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F

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


async def test_for_nothing_nothing_is_launched(runs: Runs) -> None:
    await load_child(runs, "run.note")
    run = await runs.run(many("[]"))
    assert (await runs.ended(run)).output == {"results": []}


async def test_a_run_that_is_cancelled_launches_no_more(runs: Runs) -> None:
    await load_child(runs, "run.wait")
    run = await runs.run(many("[1, 2, 3]", "      max_concurrency: 1\n"))
    child = await runs.until(run, lambda found: not found.holder)
    await commands.acontrol(run, "cancel", runs.ada)
    assert (await runs.ended(run)).outcome == "cancelled"
    assert await runs.statuses(run) == {"all": "cancelled"}
    child = await Run.objects.aget(parent=run)
    run_effects.gate("w1").set()
    assert (await runs.ended(child)).outcome == "completed"
    assert await Run.objects.filter(parent=run).acount() == 1


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
