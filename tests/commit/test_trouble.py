"""What may go wrong in a writer, and that nobody waits for ever or is told what is not so."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mashin_surfaces.commit import CommitFailed, GroupCommit
from mashin_surfaces.commit.batch import Committer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="it locks and copies SQLite files"),
]

PATIENCE = 30.0


class Numbers:
    """A sink for the numbers of a table; -1 is one that it does not take."""

    turn = 0

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[int]) -> None:
        if -1 in items:
            raise ArithmeticError("a poisoned item")
        with connection.cursor() as cursor:
            cursor.executemany("insert into numbers values (%s)", [(item,) for item in items])

    def settle(self, committed: bool) -> None:
        """It keeps nothing."""


@pytest.fixture
def numbers() -> Iterator[Numbers]:
    with connection.cursor() as cursor:
        cursor.execute("create table numbers (n integer)")
    yield Numbers()
    with connection.cursor() as cursor:
        cursor.execute("drop table numbers")


def stored() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("select n from numbers order by rowid")
        return [row[0] for row in cursor.fetchall()]


def insert(number: int) -> Callable[[BaseDatabaseWrapper], int]:
    def unit(connection: BaseDatabaseWrapper) -> int:
        with connection.cursor() as cursor:
            cursor.execute("insert into numbers values (%s)", [number])
        return number

    return unit


@contextmanager
def busy(group: GroupCommit) -> Iterator[None]:
    """Meanwhile the writer is held up by a unit; what comes is its next batch."""
    held, go_on = threading.Event(), threading.Event()

    def hold(connection: BaseDatabaseWrapper) -> None:
        held.set()
        assert go_on.wait(PATIENCE)

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(group.run_now, hold)
        assert held.wait(PATIENCE)
        yield
        go_on.set()
        holding.result(PATIENCE)


def in_one_batch(group: GroupCommit, *calls: Callable[[], Any]) -> list[Any]:
    """What the calls return or raise, all made while the writer is busy with something else."""
    with ThreadPoolExecutor(len(calls)) as threads:
        waiting: list[Future[Any]] = []
        with busy(group):
            for number, call in enumerate(calls, 1):
                waiting.append(threads.submit(call))
                end = time.monotonic() + PATIENCE
                while len(group._queue) < number:
                    assert time.monotonic() < end
        return [each.exception(PATIENCE) or each.result() for each in waiting]


async def test_nobody_waits_longer_than_the_setting_says_whatever_the_writer_is_stuck_in(
    group: GroupCommit, numbers: Numbers, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 0.2}}
    stuck, go_on = threading.Event(), threading.Event()

    def unit(connection: BaseDatabaseWrapper) -> bool:
        stuck.set()
        return go_on.wait(PATIENCE)

    first = asyncio.ensure_future(group.run(unit))
    assert await asyncio.to_thread(stuck.wait, PATIENCE)
    with pytest.raises(CommitFailed, match="longer than"):
        await asyncio.wait_for(group.put(numbers, 1), PATIENCE)
    with pytest.raises(CommitFailed, match="longer than"):
        await asyncio.to_thread(group.put_now, numbers, 2)
    assert group.health() is not None
    go_on.set()
    with pytest.raises(CommitFailed):
        await first
    settings.MASHIN_SURFACES = {}  # the disk may take its time
    await group.put(numbers, 3)
    assert await asyncio.to_thread(stored) == [3], "what was refused before its turn is not done"


def test_a_unit_that_wants_to_end_the_process_ends_only_itself(group: GroupCommit) -> None:
    def leave(connection: BaseDatabaseWrapper) -> None:
        raise SystemExit(3)

    def stop(connection: BaseDatabaseWrapper) -> None:
        raise StopIteration

    for unit in (leave, stop):
        with pytest.raises(RuntimeError, match="unit of work raised"):
            group.run_now(unit)
    assert group.run_now(lambda connection: 1) == 1


def test_a_unit_with_an_error_of_the_database_takes_only_itself_down(
    group: GroupCommit, numbers: Numbers
) -> None:
    def bad(connection: BaseDatabaseWrapper) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select * from nowhere")

    first, error, last = in_one_batch(
        group,
        lambda: group.run_now(insert(1)),
        lambda: group.run_now(bad),
        lambda: group.put_now(numbers, 2),
    )
    assert (first, last) == (1, None)
    assert "nowhere" in str(error)
    assert stored() == [1, 2]


def test_a_failing_hook_does_not_undo_or_repeat_what_is_committed(
    group: GroupCommit, numbers: Numbers
) -> None:
    def hook() -> None:
        raise ValueError("a hook")

    def unit(connection: BaseDatabaseWrapper) -> int:
        transaction.on_commit(hook)
        return insert(1)(connection)

    results = in_one_batch(group, lambda: group.run_now(unit), lambda: group.put_now(numbers, 2))
    assert results == [1, None]
    assert stored() == [1, 2]


def test_units_run_once_although_an_item_beside_them_is_bad(
    group: GroupCommit, numbers: Numbers
) -> None:
    first, second, error, last = in_one_batch(
        group,
        lambda: group.run_now(insert(1)),
        lambda: group.put_now(numbers, 2),
        lambda: group.put_now(numbers, -1),
        lambda: group.put_now(numbers, 3),
    )
    assert (first, second, last) == (1, None, None)
    assert isinstance(error, CommitFailed)
    assert isinstance(error.__cause__, ArithmeticError)
    assert stored() == [1, 2, 3]


def test_a_unit_that_waits_for_another_is_told_so(group: GroupCommit) -> None:
    with pytest.raises(RuntimeError, match="can't wait for another"):
        group.run_now(lambda connection: group.run_now(lambda connection: None))


def test_a_writer_that_was_closed_starts_anew(group: GroupCommit, numbers: Numbers) -> None:
    group.put_now(numbers, 1)
    group.close()
    group.put_now(numbers, 2)
    assert stored() == [1, 2]


def test_what_comes_while_the_writer_ends_is_written(
    group: GroupCommit, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, late = Committer.close, [2]

    def close_while_something_comes(self: Committer) -> None:
        close(self)
        while late:
            group.put_soon(numbers, late.pop())

    group.put_now(numbers, 1)
    monkeypatch.setattr(Committer, "close", close_while_something_comes)
    group.close(PATIENCE)
    assert stored() == [1, 2]


def test_what_nobody_waits_for_is_bounded(
    group: GroupCommit, numbers: Numbers, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"QUEUE": 5}}

    with busy(group):
        for number in range(20):
            group.put_soon(numbers, number)
    group.close()
    assert stored() == [0, 1, 2, 3, 4]
    assert "15 works that nobody waited for were lost" in caplog.text


async def test_a_locked_database_is_refused_after_the_deadline_and_used_when_it_is_free(
    group: GroupCommit, numbers: Numbers, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 0.3}}
    name = connection.settings_dict["NAME"]
    blocker = sqlite3.connect(name, isolation_level=None)
    blocker.execute("begin exclusive")
    try:
        started = time.monotonic()
        results = await asyncio.gather(
            *(group.put(numbers, n) for n in range(10)), return_exceptions=True
        )
        assert {type(result) for result in results} == {CommitFailed}
        assert time.monotonic() - started < PATIENCE
    finally:
        blocker.execute("rollback")
        blocker.close()
    settings.MASHIN_SURFACES = {}
    await group.put(numbers, 11)
    assert group.health() is None


def test_a_unit_may_read_before_it_writes_whatever_the_settings_say(
    group: GroupCommit, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**connection.settings_dict["OPTIONS"], "transaction_mode": None}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    name = connection.settings_dict["NAME"]

    def unit(connection: BaseDatabaseWrapper) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from numbers")
            other = sqlite3.connect(name, timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("insert into numbers values (7)")
            other.close()
            cursor.execute("insert into numbers values (1)")

    group.run_now(unit)
    assert stored() == [1]
