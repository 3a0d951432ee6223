"""Attempts that other processes make: each by one of them, whenever they come."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction

from mashin_surfaces.models import Execution, Node
from mashin_surfaces.runs import executions
from mashin_surfaces.runs.executions import Place
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
