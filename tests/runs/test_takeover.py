"""A process that dies, or is taken for dead: another one goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db.models import F
from django.db.models.signals import post_init

from mashin_surfaces.exceptions import Code
from mashin_surfaces.models import Node, Run, ServerProcess
from mashin_surfaces.runs import commands, engine
from mashin_surfaces.runs.holders import hold
from mashin_surfaces.runs.store import load
from mashin_surfaces.timers import process
from mashin_surfaces.timers.clock import clock
from mashin_surfaces.timers.moments import before
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs, refusal

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = """\
    ask first, from: "run.note"
      name: "first"
    ask {name}, from: "{effect}"
      name: "{name}"
    compute end
      {{n: 1}}
"""


async def lose(run: Run) -> None:
    """As if the process that works on it had died long ago, in the middle of it."""
    old = ServerProcess(id="d" * 32, host="gone", pid=1)
    old.started_at = old.beat_at = before(60.0)
    await ServerProcess.objects.abulk_create([old], ignore_conflicts=True)
    await Run.objects.filter(pk=run.pk).aupdate(
        holder=old.id, fence=F("fence") + 1, version=F("version") + 1
    )


async def another_process() -> ServerProcess:
    """One that lives, for as long as the test may take."""
    other = ServerProcess(id="e" * 32, host="other", pid=2)
    other.started_at = other.beat_at = before(-3600.0)
    await ServerProcess.objects.abulk_create([other])
    return other


async def test_what_may_repeat_runs_again_and_what_has_ended_does_not(runs: Runs) -> None:
    run = await runs.run(STEPS.format(name="wait", effect="run.wait"))
    await runs.node(run, "wait", "running")
    await lose(run)
    await runs.until(run, lambda found: found.holder not in {"", "d" * 32})
    run_effects.gate("wait").set()
    ended = await runs.ended(run)
    assert ended.outcome == "completed"
    assert run_effects.done == {"first": 1, "wait": 2}
    told = [e for e in await runs.log(run, "node_state") if e["node_id"] == "wait"]
    assert [(e["status"], e.get("reason")) for e in told] == [
        ("running", None), ("pending", "process_died"), ("running", None), ("completed", None),
    ]  # fmt: skip


@pytest.mark.parametrize(("decision", "times"), [("approve", 2), ("reject", 1)])
async def test_what_must_not_repeat_asks_a_person(runs: Runs, decision: str, times: int) -> None:
    run_effects.gate("send")
    run = await runs.run(STEPS.format(name="send", effect="run.send"))
    await runs.node(run, "send", "running")
    await lose(run)
    gate = await runs.gate(run, "send")
    assert gate.kind == "crash"
    assert run_effects.done["send"] == 1
    run_effects.gate("send").set()
    await runs.decide(run, "send", decision)
    ended = await runs.ended(run)
    assert ended.outcome == ("completed" if decision == "approve" else "failed")
    assert run_effects.done["send"] == times


async def test_what_must_not_repeat_is_not_made_again_under_another_name(runs: Runs) -> None:
    run_effects.gate("send")
    run = await runs.run(STEPS.format(name="send", effect="run.send"))
    await runs.node(run, "send", "running")
    await lose(run)
    await runs.gate(run, "send")
    for choice in ({"decision": "modify"}, {"decision": "reject", "scope": "phase"}):
        assert (await refusal(runs.decide(run, "send", **choice))).code is Code.INVALID_INPUT
    await runs.decide(run, "send", "reject", scope="abort")
    assert (await runs.ended(run)).outcome == "cancelled"
    assert run_effects.done == {"first": 1, "send": 1}


async def test_who_was_taken_for_dead_writes_nothing_any_more(runs: Runs) -> None:
    run = await runs.run(STEPS.format(name="wait", effect="run.wait"))
    await runs.node(run, "wait", "running")
    other = await another_process()
    await Run.objects.filter(pk=run.pk).aupdate(
        holder=other.pk, fence=F("fence") + 1, version=F("version") + 1
    )
    run_effects.gate("wait").set()
    async with asyncio.timeout(60):
        while runs.engine.working_on:  # noqa: ASYNC110  what is waited for is that it stops
            await asyncio.sleep(0.01)
    found = await Run.objects.aget(pk=run.pk)
    assert (found.holder, found.status) == (other.pk, "running")
    assert (await runs.node(run, "wait")).status == "running"


async def test_who_is_frozen_while_it_takes_a_run_up_leaves_it_to_who_has_it_by_then(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await another_process()
    run = await runs.run(
        '    gate ok\n      question: "?"\n    ask a, from: "run.note"\n      name: "a"\n'
    )
    await runs.gate(run, "ok")
    await runs.at_rest(run)
    was_read = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load_late(id: str) -> Any:
        Run.objects.filter(pk=id).update(
            holder=other.pk, fence=F("fence") + 1, version=F("version") + 1
        )
        Node.objects.filter(run=id, name="a").update(status="running", attempt=1)
        found = load(id)
        loop.call_soon_threadsafe(was_read.set)
        return found

    monkeypatch.setattr(engine, "load", load_late)
    await runs.decide(run, "ok")
    async with asyncio.timeout(DEADLINE):
        await was_read.wait()
        while runs.engine._taking or runs.engine.working_on:  # noqa: ASYNC110  it does nothing
            await asyncio.sleep(0.01)
    found = await Run.objects.aget(pk=run.pk)
    assert (found.holder, found.status, run_effects.done["a"]) == (other.pk, "running", 0)


async def test_who_was_frozen_and_has_not_beaten_yet_cuts_nothing_off_by_a_command(
    runs: Runs,
) -> None:
    run_effects.gate("send")
    run = await runs.run('    ask send, from: "run.send"\n      name: "send"\n')
    await runs.node(run, "send", "running")
    clock.stop()
    own = ServerProcess(id=process.process_id(), host="frozen", pid=1)
    own.started_at = own.beat_at = before(60.0)
    await ServerProcess.objects.filter(pk=own.pk).adelete()
    await ServerProcess.objects.abulk_create([own])
    await commands.acontrol(run, "pause", runs.ada)
    run_effects.gate("send").set()
    await runs.until(run, lambda found: found.status == "paused")
    await commands.acontrol(run, "resume", runs.ada)
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done == {"send": 1}


async def test_a_run_that_is_being_read_is_not_read_once_more(runs: Runs) -> None:
    run = await runs.run("    gate review\n")
    await runs.gate(run, "review")
    await runs.at_rest(run)
    assert await sync_to_async(hold)("default", run.pk)
    read: list[Node] = []

    def was_read(instance: Node, **_: object) -> None:
        read.append(instance)

    post_init.connect(was_read, sender=Node)
    try:
        for _ in range(3):
            runs.engine.take_up(run.pk, is_held=True)
        await runs.at_rest(run)
    finally:
        post_init.disconnect(was_read, sender=Node)
    assert [node.name for node in read] == ["review"]
