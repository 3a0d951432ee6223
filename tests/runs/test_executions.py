"""Attempts that other processes make: each by one of them, whenever they come."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction

from mashin_surfaces.exceptions import Code
from mashin_surfaces.models import Execution, Node
from mashin_surfaces.runs import celery_runner, executions
from mashin_surfaces.runs.celery_runner import CeleryRunner
from mashin_surfaces.runs.execution import Outcome
from mashin_surfaces.runs.executions import Place
from mashin_surfaces.runs.store import load
from mashin_surfaces.steps.spending import Charge
from tests.runs.conftest import DEADLINE, Runs
from tests.timers.workers import until, waiting_for_locks

STEPS = """\
    gate begin
      question: "Begin?"
"""


@pytest.fixture
async def place(runs: Runs) -> Place:
    """An attempt that the run waits for; nobody works on the run."""
    run = await runs.at_rest(await runs.run(STEPS))
    await Node.objects.filter(run=run).aupdate(status="running", attempt=1)
    return Place(run.pk, "begin", 1)


def rows(place: Place) -> Any:
    return Execution.objects.filter(run=place.run, node=place.node, attempt=place.attempt)


def node(place: Place) -> Any:
    return Node.objects.filter(run=place.run, name=place.node)


def begin(place: Place) -> bool:
    """As another process does, on a connection of its own."""
    try:
        return executions.begin(place)
    finally:
        connections.close_all()


def until_it_waits(begun: Future[bool]) -> None:
    """Returns when it waits for this transaction; SQLite does not tell."""
    if connection.vendor != "postgresql":
        return

    def it_waits() -> bool:
        assert not begun.done(), "it did not wait"
        return bool(waiting_for_locks())

    until(it_waits, DEADLINE)


def test_an_attempt_is_begun_once(place: Place) -> None:
    assert begin(place)
    assert not begin(place)


def test_an_attempt_that_nobody_wants_is_not_begun(place: Place) -> None:
    node(place).update(status="cancelled")
    assert not begin(place)
    assert not rows(place).exists()


def test_who_comes_while_the_outcome_is_taken_does_not_begin_again(place: Place) -> None:
    """A task that was sent twice: its second worker begins just when the first one's outcome, with
    the row that says that it was made, goes over into the node."""
    assert begin(place)
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            node(place).update(status="completed")
            rows(place).delete()
            begun = other.submit(begin, place)
            until_it_waits(begun)
        assert begun.result(DEADLINE) is False
    assert not rows(place).exists()


def test_what_is_begun_gets_an_outcome_although_its_own_can_not_be_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = b"no text"
    odd = Outcome(place.node, place.attempt, charges=[Charge(Decimal(1), model)])
    monkeypatch.setattr(celery_runner, "_outcome", lambda *place: odd)
    with ThreadPoolExecutor(1) as worker:
        worker.submit(make, place).result(DEADLINE)
    outcome = rows(place).get().outcome
    assert outcome["error"]["code"] == Code.EXECUTION_FAILED
    assert outcome["charges"] == []


def make(place: Place) -> None:
    """As a worker does, on a connection of its own."""
    try:
        celery_runner.execute_node(*place)
    finally:
        connections.close_all()


async def test_an_outcome_that_can_not_be_read_is_lost_and_holds_up_no_other(runs: Runs) -> None:
    """As a worker of another version leaves it."""
    run = await runs.at_rest(await runs.run(STEPS + STEPS.replace("begin", "also")))
    written = executions._written(Outcome("", 1))
    for node, more in (("begin", {"is_new": True}), ("also", {})):
        await Execution.objects.acreate(
            run=run,
            node=node,
            attempt=1,
            process="w" * 32,
            outcome=written | more,
            started_at=datetime.now(UTC),
        )
    state = await sync_to_async(load)(run.pk)
    assert state is not None
    came: asyncio.Queue[Outcome] = asyncio.Queue()
    runner = CeleryRunner()
    for each in state.nodes.values():
        each.attempt = 1
        assert await runner.resume(state, each, came.put_nowait)
    async with asyncio.timeout(DEADLINE):
        outcomes = [await came.get() for _ in state.nodes]
    assert {outcome.node: outcome.is_lost for outcome in outcomes} == {"begin": True, "also": False}
