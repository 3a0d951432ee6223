"""A lease is held by one process of the cluster, and passes on when its holder stops renewing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection

from mashin_surfaces.commit import CommitFailed
from mashin_surfaces.timers import lease
from mashin_surfaces.timers.models import Timer
from mashin_surfaces.timers.moments import after, before, now
from mashin_surfaces.timers.process import process_id

from .workers import Worker, apart, until

pytestmark = pytest.mark.django_db(transaction=True)

KIND, KEY, TTL = "feed", "weather", 60.0


def row() -> Timer:
    return Timer.objects.get(kind=KIND, key=KEY)


def held_by_another(seconds: float, fence: int = 7) -> None:
    """As another process would have written it; it is over when ``seconds`` are negative."""
    until = after(seconds) if seconds > 0 else before(-seconds)
    Timer.objects.update_or_create(
        kind=KIND, key=KEY, defaults={"holder": "another", "held_until": until, "fence": fence}
    )


async def test_the_first_claim_gets_the_lease_and_so_do_the_next_of_the_same_process() -> None:
    assert await lease.claim(KIND, KEY, TTL) == 1
    assert await lease.claim(KIND, KEY, TTL) == 1
    assert await apart(lease.claim_now, KIND, KEY, TTL) == 1
    assert (await apart(row)).holder == process_id()


def test_what_another_process_holds_is_neither_claimed_nor_renewed_nor_released() -> None:
    held_by_another(60)
    assert lease.claim_now(KIND, KEY, TTL) is None
    assert not lease.renew_now(KIND, KEY, TTL)
    lease.release_now(KIND, KEY)
    assert (row().holder, row().fence) == ("another", 7)


def test_a_lease_that_is_over_passes_on_with_a_higher_fence() -> None:
    held_by_another(-0.1)
    assert lease.claim_now(KIND, KEY, TTL) == 8


def test_a_lease_that_was_released_passes_on_with_a_higher_fence() -> None:
    assert lease.claim_now(KIND, KEY, TTL) == 1
    lease.release_now(KIND, KEY)
    assert row().holder == ""
    held_by_another(-0.1, fence=row().fence + 1)
    assert lease.claim_now(KIND, KEY, TTL) == 3


async def test_renewing_keeps_it_and_fails_once_it_is_over() -> None:
    assert await lease.claim(KIND, KEY, TTL) == 1
    first = (await apart(row)).held_until
    assert await lease.renew(KIND, KEY, 2 * TTL)
    second = (await apart(row)).held_until
    assert first is not None
    assert second is not None
    assert second > first
    await apart(Timer.objects.update, held_until=before(0.1))
    assert not await lease.renew(KIND, KEY, TTL)
    assert await lease.claim(KIND, KEY, TTL) == 1, "nobody else held it meanwhile"
    await lease.release(KIND, KEY)
    assert not await lease.renew(KIND, KEY, TTL)


async def test_leases_are_told_apart_by_kind_and_key() -> None:
    await apart(held_by_another, 60)
    assert await lease.claim(KIND, "other", TTL) == 1
    assert await lease.claim("other", KEY, TTL) == 1
    assert await lease.claim(KIND, KEY, TTL) is None


@pytest.fixture
def no_table(transactional_db: None) -> Iterator[None]:
    table = connection.ops.quote_name(Timer._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {table} rename to away")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"alter table away rename to {table}")


@pytest.mark.usefixtures("no_table")
async def test_a_claim_that_can_not_be_written_is_told_so() -> None:
    with pytest.raises(CommitFailed):
        await lease.claim(KIND, KEY, TTL)
    with pytest.raises(CommitFailed):
        await lease.renew(KIND, KEY, TTL)
    with pytest.raises(CommitFailed):
        await lease.release(KIND, KEY)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for all")
def test_a_claim_does_not_wait_for_somebody_else_s() -> None:
    from django.db import connections, transaction

    held_by_another(-0.1)
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"select id from {Timer._meta.db_table} for update")
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("set local lock_timeout = 1000")
            assert lease.claim_now(KIND, KEY, TTL) is None
        other.rollback()
        assert lease.claim_now(KIND, KEY, TTL) == 8
    finally:
        other.close()


@pytest.mark.slow
def test_of_many_processes_one_gets_the_lease() -> None:
    workers = [Worker(lease=KEY, ttl=TTL) for _ in range(4)]
    try:
        fences = sorted(worker.begin() for worker in workers)
        assert fences == ["fence 1", "fence None", "fence None", "fence None"]
    finally:
        for worker in workers:
            worker.__exit__()


@pytest.mark.slow
def test_the_lease_of_a_killed_process_is_taken_over_when_it_is_over_and_not_before() -> None:
    with Worker(lease=KEY, ttl=4) as worker:
        assert worker.begin() == "fence 1"
        assert lease.claim_now(KIND, KEY, 4) is None
        worker.kill()
        over = row().held_until

        def is_taken_over() -> bool:
            was_over = Timer.objects.filter(held_until__lte=now()).exists()
            fence = lease.claim_now(KIND, KEY, 4)
            assert fence == 2 or not was_over, "it was over, and nobody else got it"
            return fence == 2

        until(is_taken_over)
    taken = row().held_until
    assert over is not None
    assert taken is not None
    assert taken - timedelta(seconds=4) >= over, "it was not over yet, by the database's clock"


@pytest.mark.slow
def test_a_frozen_process_loses_its_lease_and_finds_out_when_it_wakes_up() -> None:
    with Worker(lease=KEY, ttl=1) as worker:
        assert worker.begin() == "fence 1"
        worker.freeze()
        until(lambda: lease.claim_now(KIND, KEY, 60) == 2)
        worker.thaw()
        said = [worker.says()]
        while said[-1] != "fence None":  # held up, it may have lost it and got it again before
            said.append(worker.says())
        assert said[-2] == "lost"
        assert row().fence == 2


@pytest.mark.slow
def test_a_process_that_ends_gives_its_leases_back() -> None:
    with Worker(lease=KEY, ttl=TTL) as worker:
        assert worker.begin() == "fence 1"
        assert worker.end() == 0
        assert lease.claim_now(KIND, KEY, TTL) == 2
