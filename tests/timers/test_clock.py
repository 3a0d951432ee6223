"""The clock beats, and does what is due once in the cluster."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from mashin_surfaces.timers import process
from mashin_surfaces.timers.clock import KIND, Clock, clock
from mashin_surfaces.timers.models import ServerProcess, Timer
from mashin_surfaces.timers.moments import after, before
from tests.forks import forked, forks

from .workers import until

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 30.0


def make_due(name: str = "job") -> None:
    assert Timer.objects.filter(kind=KIND, key=name).update(due_at=before(1)) == 1


@pytest.fixture
def done(own_clock: Clock) -> list[str]:
    """What "job" did; it is known to the database, and not due."""
    found: list[str] = []
    own_clock.every("job", 60, lambda: found.append("job"))
    own_clock.tick()
    assert found == []
    return found


def test_a_job_is_done_when_it_is_due_and_then_not_for_a_while(
    own_clock: Clock, done: list[str]
) -> None:
    make_due()
    own_clock.tick()
    own_clock.tick()
    assert done == ["job"]
    assert Timer.objects.filter(holder="", due_at__gt=after(50), due_at__lt=after(61)).exists()


def test_a_job_that_another_process_does_is_left_to_it_until_it_dies(
    own_clock: Clock, done: list[str]
) -> None:
    make_due()
    Timer.objects.update(holder="another", held_until=after(60))
    own_clock.tick()
    assert done == []
    Timer.objects.update(held_until=before(0.1))
    own_clock.tick()
    assert done == ["job"]


def test_a_job_that_fails_is_due_again_and_holds_up_no_other(
    own_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = ["fails", "works"]
    done: list[str] = []

    def job() -> None:
        if outcome.pop(0) == "fails":
            raise ArithmeticError("on purpose")
        done.append("job")

    own_clock.every("job", 60, job)
    own_clock.every("other", 60, lambda: done.append("other"))
    own_clock.tick()
    make_due("job")
    make_due("other")
    own_clock.tick()
    own_clock.tick()
    assert done == ["other"], "it is held a while, so that it is not tried without end"
    assert 'The job "job" failed' in caplog.text
    Timer.objects.filter(key="job").update(held_until=before(0.1))
    own_clock.tick()
    assert done == ["other", "job"]


def test_a_job_whose_lease_was_taken_meanwhile_does_not_move_the_other_s(own_clock: Clock) -> None:
    def job() -> None:
        Timer.objects.filter(key="job").update(holder="another", held_until=after(60), fence=9)

    own_clock.every("job", 60, job)
    own_clock.tick()
    make_due()
    own_clock.tick()
    row = Timer.objects.get(key="job")
    assert (row.holder, row.fence) == ("another", 9)
    assert Timer.objects.filter(due_at__lt=before(0)).exists()


def test_a_long_job_goes_on_beating_and_keeps_its_lease(
    own_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BEAT", 0.01)
    told: list[bool] = []
    over = threading.Event()

    def job() -> None:
        ServerProcess.objects.update(beat_at=before(100))
        Timer.objects.filter(key="job").update(held_until=after(5))
        until(lambda: own_clock.go_on() and not _is_dead(), PATIENCE)
        told.append(Timer.objects.filter(key="job", held_until__gt=after(6)).exists())
        Timer.objects.filter(key="job").update(holder="another")
        until(lambda: not own_clock.go_on(), PATIENCE)
        told.append(True)
        over.set()

    own_clock.every("job", 60, job)
    own_clock.tick()
    make_due()
    own_clock.start()
    assert over.wait(PATIENCE)
    assert told == [True, True]


def _is_dead() -> bool:
    return ServerProcess.objects.filter(beat_at__lt=before(50)).exists()


def test_elsewhere_a_long_job_may_go_on(own_clock: Clock) -> None:
    assert own_clock.go_on()


def test_a_clock_that_is_started_beats_and_takes_its_row_away_in_the_end(
    own_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "BEAT", 0.01)
    own_clock.start()
    own_clock.start()
    until(ServerProcess.objects.exists)
    row = ServerProcess.objects.get()
    assert (row.pk, row.pid) == (process.process_id(), os.getpid())
    until(lambda: ServerProcess.objects.get().beat_at > row.beat_at)
    assert [each.name for each in threading.enumerate()].count("mashin-clock") == 1
    own_clock.stop()
    assert not ServerProcess.objects.exists()
    own_clock.start()
    until(ServerProcess.objects.exists)


@pytest.mark.parametrize("is_back", [False, True], ids=["gone", "written meanwhile"])
def test_a_process_that_was_swept_is_told_at_its_next_beat(
    own_clock: Clock, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(process, "on_beat", [told.append])
    own_clock.tick()
    own_clock.tick()
    ServerProcess.objects.update(beat_at=before(process.FORGOTTEN + 1))
    assert process.sweep() == 1
    if is_back:
        process.ensure(connection)  # for who refers to it
    own_clock.tick()
    own_clock.tick()
    assert told == [True, False, True, False]


def test_a_process_that_was_swept_is_told_though_others_wrote_its_row_before_it_beat(
    own_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(process, "on_beat", [told.append])
    own_clock.tick()
    ServerProcess.objects.all().delete()
    with transaction.atomic():
        assert process.ensure(connection)
    with monkeypatch.context() as patch:
        patch.setattr(process.served, "connections", lambda: None)  # no column takes it
        with pytest.raises(DatabaseError):
            process.beat()
    own_clock.tick()
    own_clock.tick()
    assert told == [True, True, False]


def test_processes_that_do_not_beat_for_long_are_swept_by_whoever_lives() -> None:
    alive = before(process.FORGOTTEN - 5)
    for name, at in (("alive", alive), ("dead", before(process.FORGOTTEN + 1))):
        ServerProcess.objects.create(id=name, host="h", pid=1, started_at=at, beat_at=at)
    clock.tick()
    Timer.objects.filter(key="processes").update(due_at=before(1))
    clock.tick()
    assert set(ServerProcess.objects.values_list("pk", flat=True)) == {
        "alive",
        process.process_id(),
    }


def test_trouble_with_the_database_is_said_once_and_so_is_its_end(
    own_clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "BEAT", 0.01)
    table = connection.ops.quote_name(ServerProcess._meta.db_table)
    beats = threading.Semaphore(0)
    beat = process.beat

    def counted() -> bool:
        beats.release()
        return beat()

    monkeypatch.setattr(process, "beat", counted)
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {table} rename to away")
    try:
        own_clock.start()
        for _ in range(5):
            assert beats.acquire(timeout=PATIENCE)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"alter table away rename to {table}")
    until(lambda: "reaches the database again" in caplog.text)
    assert caplog.text.count("can't reach the database") == 1
    assert ServerProcess.objects.exists()


@forks
def test_a_forked_process_is_another_with_a_clock_of_its_own() -> None:
    clock.start()
    until(ServerProcess.objects.exists)
    parent = process.process_id()

    def work() -> None:
        clock.start()
        until(lambda: ServerProcess.objects.filter(pid=os.getpid()).exists(), PATIENCE)
        assert process.process_id() != parent

    assert forked(work) == 0
    assert ServerProcess.objects.filter(pk=parent, pid=os.getpid()).exists()


def test_the_time_is_the_database_s() -> None:
    Timer.objects.create(kind="k", key="k", due_at=clock.now())
    row: Any = Timer.objects.get()
    assert Timer.objects.filter(due_at__gt=before(5), due_at__lte=clock.now()).exists()
    assert row.due_at.tzinfo is not None
