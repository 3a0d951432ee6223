"""Group commit: who waits together is committed together; who fails, fails alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from mashin_surfaces.commit import CommitFailed, GroupCommit, writer
from tests.forks import forked, forks

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE = 30.0


class Numbers:
    """A sink that keeps numbers in a table, and counts its transactions."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.turn = 0
        self.settled: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[int]) -> None:
        self.entered.set()
        assert self.gate.wait(60)
        if -1 in items:
            raise ValueError("a poisoned item")
        self.batches.append(len(items))
        with connection.cursor() as cursor:
            cursor.executemany("insert into numbers (n) values (%s)", [(item,) for item in items])

    def settle(self, committed: bool) -> None:
        self.settled.append(committed)


class After:
    """A sink for what is written after the numbers, into the same table."""

    turn = 1

    def __init__(self, numbers: Numbers) -> None:
        self.write = numbers.write

    def settle(self, committed: bool) -> None:
        """It keeps nothing."""


@pytest.fixture
def numbers() -> Iterator[Numbers]:
    with connection.cursor() as cursor:
        cursor.execute(
            "create table numbers (n integer, place integer primary key "
            + ("generated always as identity)" if connection.vendor == "postgresql" else ")")
        )
    yield Numbers()
    with connection.cursor() as cursor:
        cursor.execute("drop table numbers")


def stored() -> list[int]:
    """What another connection sees."""
    with connection.cursor() as cursor:
        cursor.execute("select n from numbers order by place")
        return [row[0] for row in cursor.fetchall()]


async def seen() -> list[int]:
    """``stored``, off the event loop, on a connection that is closed again."""

    def look() -> list[int]:
        try:
            return stored()
        finally:
            connection.close()

    return await asyncio.to_thread(look)


async def test_an_item_is_committed_when_put_returns(group: GroupCommit, numbers: Numbers) -> None:
    await group.put(numbers, 7)
    assert await seen() == [7]


async def test_who_waits_at_the_same_moment_shares_a_transaction(
    group: GroupCommit, numbers: Numbers
) -> None:
    numbers.gate.clear()
    first = asyncio.ensure_future(group.put(numbers, 0))
    await asyncio.to_thread(numbers.entered.wait, 60)
    others = [asyncio.ensure_future(group.put(numbers, n)) for n in range(1, 200)]
    await asyncio.sleep(0)
    assert not first.done()
    numbers.gate.set()
    await asyncio.gather(first, *others)
    assert numbers.batches == [1, 199]
    assert await seen() == list(range(200))


async def test_a_poisoned_item_fails_alone(group: GroupCommit, numbers: Numbers) -> None:
    numbers.gate.clear()
    first = asyncio.ensure_future(group.put(numbers, 0))
    await asyncio.to_thread(numbers.entered.wait, 60)
    tasks = [asyncio.ensure_future(group.put(numbers, n)) for n in (1, 2, -1, 3, 4)]
    await asyncio.sleep(0)
    numbers.gate.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [type(result) for result in results].count(CommitFailed) == 1
    assert isinstance(results[3], CommitFailed)
    assert sorted(await seen()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", [(2,), (1, 4), (1, 2, 3, 4)])
async def test_with_a_poisoned_item_goes_what_was_to_be_written_with_it_and_nothing_else(
    group: GroupCommit, numbers: Numbers, bad: tuple[int, ...]
) -> None:
    after = After(numbers)
    numbers.gate.clear()
    first = asyncio.ensure_future(group.put(numbers, 0))
    assert await asyncio.to_thread(numbers.entered.wait, DEADLINE)
    tasks = [
        asyncio.ensure_future(group.put_together(numbers, -1 if n in bad else n, (after, 10 + n)))
        for n in (1, 2, 3, 4)
    ]
    numbers.gate.set()
    await first
    results = await asyncio.gather(*tasks, return_exceptions=True)
    good = [n for n in (1, 2, 3, 4) if n not in bad]
    assert [n for n, result in enumerate(results, 1) if result is None] == good
    assert {type(result) for result in results if result is not None} == {CommitFailed}
    assert sorted(await seen()) == [0, *good, *(10 + n for n in good)]


async def test_what_is_given_up_while_its_batch_is_held_up_is_not_written_any_more(
    group: GroupCommit, numbers: Numbers, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 1}}
    is_given_up = threading.Event()
    numbers.gate.clear()
    first = asyncio.ensure_future(group.put(numbers, 0))
    assert await asyncio.to_thread(numbers.entered.wait, DEADLINE)
    holding = asyncio.ensure_future(group.run(lambda connection: is_given_up.wait(DEADLINE)))
    late = asyncio.ensure_future(group.put_together(numbers, 1, (After(numbers), 11)))
    late.add_done_callback(lambda _: is_given_up.set())
    numbers.gate.set()
    with pytest.raises(CommitFailed):
        await late
    await asyncio.gather(first, holding, return_exceptions=True)
    await asyncio.to_thread(group.close, DEADLINE)
    assert await seen() == [0]


async def test_a_failing_unit_takes_only_itself_down(group: GroupCommit, numbers: Numbers) -> None:
    def good(connection: BaseDatabaseWrapper) -> str:
        numbers.write(connection, [1])
        return "done"

    def bad(connection: BaseDatabaseWrapper) -> None:
        numbers.write(connection, [2])
        raise KeyError("mine")

    results = await asyncio.gather(
        group.run(good), group.run(bad), group.put(numbers, 3), return_exceptions=True
    )
    assert results[0] == "done"
    assert isinstance(results[1], KeyError)
    assert results[2] is None
    assert sorted(await seen()) == [1, 3]


def test_synchronous_callers_wait_too(group: GroupCommit, numbers: Numbers) -> None:
    group.put_now(numbers, 5)
    assert stored() == [5]
    assert group.run_now(lambda connection: 42) == 42


def test_what_nobody_waits_for_is_written_before_the_end(
    group: GroupCommit, numbers: Numbers
) -> None:
    for number in range(500):
        group.put_soon(numbers, number)
    group.close()
    assert stored() == list(range(500))


async def test_a_waiter_that_is_cancelled_disturbs_nobody(
    group: GroupCommit, numbers: Numbers
) -> None:
    numbers.gate.clear()
    gone = asyncio.ensure_future(group.put(numbers, 1))
    await asyncio.to_thread(numbers.entered.wait, 60)
    stays = asyncio.ensure_future(group.put(numbers, 2))
    await asyncio.sleep(0)
    gone.cancel()
    numbers.gate.set()
    await stays
    assert await seen() == [1, 2]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it locks a SQLite file")
async def test_a_locked_database_fails_its_waiters_and_is_used_again_later(
    group: GroupCommit, numbers: Numbers, settings: Any
) -> None:
    await group.put(numbers, 1)
    group.run_now(lambda connection: connection.connection.execute("pragma busy_timeout = 100"))
    name = connection.settings_dict["NAME"]
    blocker = await asyncio.to_thread(
        sqlite3.connect, name, isolation_level=None, check_same_thread=False
    )
    blocker.execute("begin exclusive")
    try:
        with pytest.raises(CommitFailed, match="locked"):
            await group.put(numbers, 2)
        assert numbers.settled[-1] is False
    finally:
        blocker.execute("rollback")
        blocker.close()
    await group.put(numbers, 3)
    assert await seen() == [1, 3]


async def test_several_loops_share_one_writer(group: GroupCommit, numbers: Numbers) -> None:
    def elsewhere(start: int) -> None:
        async def put() -> None:
            await asyncio.gather(*(group.put(numbers, start + n) for n in range(50)))

        asyncio.run(put())

    await asyncio.gather(*(asyncio.to_thread(elsewhere, base) for base in (0, 50, 100)))
    assert sorted(await seen()) == list(range(150))


async def test_a_database_that_hangs_keeps_nobody_waiting(numbers: Numbers, settings: Any) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"WAIT": 0.1}}
    group = GroupCommit("default")
    numbers.gate.clear()
    try:
        with pytest.raises(CommitFailed, match="waited longer"):
            await asyncio.wait_for(group.put(numbers, 1), 60)
        in_queue = asyncio.to_thread(group.put_now, numbers, 2)
        with pytest.raises(CommitFailed, match="waited longer"):
            await asyncio.wait_for(in_queue, 60)
        numbers.gate.set()
        settings.MASHIN_SURFACES = {}  # the disk may take its time
        await group.put(numbers, 3)
    finally:
        numbers.gate.set()
        group.close()
    # The first was on its way when its caller was told; the second was late and is not written.
    assert await seen() == [1, 3]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no such files")
async def test_statements_of_many_rows_make_no_temporary_files(
    group: GroupCommit, numbers: Numbers
) -> None:
    await group.put(numbers, 1)
    place = group.run_now(lambda connection: connection.connection.execute("pragma temp_store"))
    assert place.fetchone() == (2,)  # memory


@forks
def test_a_forked_process_has_a_writer_of_its_own(numbers: Numbers) -> None:
    writer().put_now(numbers, 1)
    assert forked(lambda: writer().put_now(numbers, 2)) == 0
    writer().put_now(numbers, 3)
    assert stored() == [1, 2, 3]
