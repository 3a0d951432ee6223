"""The database is away, somebody else was quicker, a run is deleted: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.models import CostEntry, Room, Run
from mashin_surfaces.runs import driver, endings, engine, launches
from mashin_surfaces.runs.driver import Driver
from mashin_surfaces.runs.execution import Outcome
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = """\
    ask first, from: "run.wait"
      name: "first"
    ask paid, from: "run.spend"
      name: "paid"
      amount: 0.25
    ask second, from: "run.wait"
      name: "second"
    compute end
      {n: 1}
"""


@asynccontextmanager
async def unwritable_database() -> AsyncIterator[None]:
    """Meanwhile somebody else's transaction keeps everybody from writing."""
    other = connection.copy()
    other.inc_thread_sharing()
    lock = (
        "BEGIN IMMEDIATE"
        if other.vendor == "sqlite"
        else f"BEGIN; LOCK TABLE {Room._meta.db_table} IN EXCLUSIVE MODE"
    )

    def run(statement: str) -> None:
        with other.cursor() as cursor:
            cursor.execute(statement)

    await asyncio.to_thread(run, lock)
    try:
        yield
    finally:
        await asyncio.to_thread(run, "ROLLBACK")
        await asyncio.to_thread(other.close)


async def until_said(caplog: pytest.LogCaptureFixture, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while what not in caplog.text:
        assert time.monotonic() < end, f"nobody said {what!r}"
        await asyncio.sleep(0.01)


async def once_and_in_full(runs: Runs, run: Run) -> None:
    """Everything was done and paid for once; ``ended`` compares log, rows and account."""
    ended = await runs.ended(run)
    assert (ended.outcome, ended.spent) == ("completed", Decimal("0.25"))
    assert run_effects.done == {"first": 1, "paid": 1, "second": 1}
    assert await CostEntry.objects.filter(run=run).acount() == 1
    told = [(e["node_id"], e["status"]) for e in await runs.log(run, "node_state")]
    assert told == [
        (name, status)
        for name in ("first", "paid", "second", "end")
        for status in ("running", "completed")
    ]


@pytest.mark.parametrize("when", ["first", "second"])
async def test_what_ended_while_the_database_was_away_counts_once_it_is_back(
    runs: Runs, settings: Any, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """A commit of which nobody knows whether it counts may count after all, or not."""
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 1}}
    run = await runs.run(STEPS)
    if when == "second":
        run_effects.gate("first").set()
    await runs.node(run, when, "running")
    async with unwritable_database():
        run_effects.gate(when).set()
        await until_said(caplog, "can't be written now")
        assert run_effects.done["second"] == (when == "second")
    run_effects.gate("first").set()
    run_effects.gate("second").set()
    await once_and_in_full(runs, run)


@pytest.mark.parametrize("name", ["first", "second"])
async def test_what_ended_while_somebody_else_changed_the_run_counts_once(
    runs: Runs, name: str
) -> None:
    run = await runs.run(STEPS)
    if name == "second":
        run_effects.gate("first").set()
    await runs.node(run, name, "running")
    await Run.objects.filter(pk=run.pk).aupdate(version=F("version") + 1)
    run_effects.gate("first").set()
    run_effects.gate("second").set()
    await once_and_in_full(runs, run)


@pytest.mark.parametrize("reading", ["load", "_unbooked"])
@pytest.mark.parametrize("before", [(), ("first",)], ids=["nothing before", "something before"])
async def test_what_ends_while_the_run_is_read_again_counts(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, reading: str, before: tuple[str, ...]
) -> None:
    """``before``: what had ended by then, in vain: somebody else had changed the run."""
    read, report = getattr(driver, reading), Driver.report
    loop, is_reported = asyncio.get_running_loop(), threading.Event()

    def slowly_read(*given: Any) -> Any:
        found = read(*given)
        loop.call_soon_threadsafe(run_effects.gate("last").set)
        assert is_reported.wait(DEADLINE)
        return found

    def observed(self: Driver, outcome: Outcome) -> None:
        report(self, outcome)
        if outcome.node == "last":
            is_reported.set()

    monkeypatch.setattr(Driver, "report", observed)
    run = await runs.run(
        "".join(
            f'    ask {name}, from: "run.wait", after: none\n      name: "{name}"\n'
            for name in (*before, "last")
        )
    )
    for name in (*before, "last"):
        await run_effects.has_begun(name)
    monkeypatch.setattr(driver, reading, slowly_read)
    await Run.objects.filter(pk=run.pk).aupdate(version=F("version") + 1)
    if before:
        run_effects.gate("first").set()
    else:
        runs.engine.take_up(run.pk)
    assert (await runs.ended(run)).outcome == "completed"
    assert run_effects.done == dict.fromkeys((*before, "last"), 1)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize(("module", "reading"), [(engine, "load"), (launches, "children")])
async def test_a_run_that_can_not_be_read_for_a_moment_goes_on_afterwards(
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    reading: str,
    error: type[Exception],
) -> None:
    await runs.load("    compute end\n      {n: 1}\n", "child", accepts="    item as number\n")
    run = await runs.run(
        '    gate ok\n      question: "?"\n'
        '    launch_many all\n      machine: "child"\n      items: [1]\n      collect: true\n'
    )
    await runs.gate(run, "ok")
    await runs.at_rest(run)
    read, failing = getattr(module, reading), [error("it is away")]

    def away_at_first(*given: Any) -> Any:
        if failing:
            raise failing.pop()
        return read(*given)

    monkeypatch.setattr(module, reading, away_at_first)
    await runs.decide(run, "ok")
    ended = await runs.ended(run)
    assert (ended.outcome, ended.error, failing) == ("completed", None, [])


@pytest.mark.parametrize(("has_ended", "outcome"), [(True, "completed"), (False, "")])
async def test_a_run_is_not_given_up_by_who_has_it_no_more(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, has_ended: bool, outcome: str
) -> None:
    run = await runs.run('    gate ok\n      question: "?"\n')
    await runs.gate(run, "ok")
    await runs.at_rest(run)
    if has_ended:
        await runs.decide(run, "ok")
        await runs.ended(run)
    before = await runs.log(run)
    monkeypatch.setattr(endings, "_room_of", lambda id: run.room_id)  # it has looked before that
    await endings.give_up(run.pk, Refusal(Code.EXECUTION_FAILED, "The run can't be worked on."))
    found = await Run.objects.aget(pk=run.pk)
    assert found.outcome == outcome
    assert await runs.log(run) == before


async def test_what_is_done_for_a_run_that_was_deleted_ends(runs: Runs) -> None:
    run = await runs.run(STEPS)
    await runs.node(run, "first", "running")
    await sync_to_async(Room.objects.filter(pk=run.room_id).delete)()
    runs.engine.take_up(run.pk)
    end = time.monotonic() + DEADLINE
    while runs.engine.working_on or run_effects.running:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert run_effects.done == {"first": 1}
