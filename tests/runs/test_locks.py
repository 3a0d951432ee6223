"""Who writes a run has its room locked, so nobody waits for somebody who waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from threading import Barrier
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F, QuerySet

from mashin_surfaces.commit.batch import Committer
from mashin_surfaces.commit.work import Work
from mashin_surfaces.models import Room, Run
from mashin_surfaces.rooms.appending import Append, AppendSink, RoomIsLocked
from mashin_surfaces.runs.engine import _claim
from mashin_surfaces.runs.holders import hold, lock
from mashin_surfaces.runs.launches import tell_parent
from mashin_surfaces.timers import process
from tests.timers.workers import PATIENCE

T = TypeVar("T")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks all at once"),
]


def new_run(parent: Run | None = None) -> Run:
    """A run that nobody works on."""
    id = uuid4().hex
    return Run.objects.create(
        id=id,
        room=Room.objects.create(kind="run", key=id),
        machine="graph",
        revision=1,
        input={},
        principal="ada",
        parent=parent,
        parent_node="all" if parent else "",
        seed=1,
        max_parallel=1,
        started_at=datetime.now(UTC),
    )


def of(run: Run) -> QuerySet[Run]:
    return Run.objects.filter(pk=run.pk)


def writing(run: Run, *also: Callable[[str], object]) -> Append:
    """What writes the run's row, and then other things, with its room."""

    def write() -> None:
        assert of(run).update(version=F("version") + 1)
        for each in also:
            each("default")

    return Append(run.room_id, (), also=write)


def in_a_transaction(work: Callable[[], T]) -> T:
    try:
        with transaction.atomic():
            return work()
    finally:
        connection.close()


def side_by_side(batches: Sequence[Sequence[Any]]) -> list[Committer]:
    """Commit batches of units and of appends, each by a writer of its own, as processes do."""

    def commit(batch: Sequence[Any]) -> Committer:
        committer, sink = Committer("default"), AppendSink(lambda _: None)
        committer.commit(
            [Work(sink if isinstance(item, Append) else None, item, None) for item in batch]
        )
        committer.close()
        return committer

    with ThreadPoolExecutor(len(batches)) as threads:
        return list(threads.map(commit, batches))


def test_two_processes_take_up_each_others_runs_and_neither_waits_for_the_other() -> None:
    """As they do after a pause in which each was taken for dead."""
    process.beat()  # both threads are this process
    runs = [new_run(), new_run()]
    both = Barrier(2, timeout=PATIENCE)

    def claim(run: Run, connection: Any) -> None:
        assert _claim(connection, run.pk)
        both.wait()

    items = [writing(run) for run in reversed(runs)]
    batches = [(partial(claim, run), item) for run, item in zip(runs, items, strict=True)]
    for committer in side_by_side(batches):
        assert committer.last_error is None
    for run, item in zip(reversed(runs), items, strict=True):
        run.refresh_from_db()
        was_written = item.problem is None
        assert was_written or isinstance(item.problem, RoomIsLocked)
        assert run.holder
        assert run.version == 1 + was_written


def test_two_processes_that_end_each_others_children_do_not_wait_for_each_other() -> None:
    parents = [new_run(), new_run()]
    both = Barrier(2, timeout=PATIENCE)

    def end(parent: Run) -> Append:
        child = new_run(parent)
        tell = tell_parent(child, datetime.now(UTC))

        def tell_together(alias: str) -> None:
            both.wait()  # each has the rooms that it writes
            try:
                tell(alias)
            finally:
                both.wait()

        return writing(child, tell_together)

    ends = [end(parent) for parent in parents]
    changes = [writing(parent) for parent in reversed(parents)]
    for committer in side_by_side(list(zip(ends, changes, strict=True))):
        assert committer.last_error is None
    assert [item.problem for item in changes] == [None, None]
    # Each parent's room was the other's: the end of the child is to be written a moment later.
    assert [type(item.problem) for item in ends] == [RoomIsLocked, RoomIsLocked]


def test_what_somebody_works_on_is_not_locked_by_who_would_take_it_up() -> None:
    run = new_run()
    process.beat()
    with transaction.atomic():
        assert hold("default", run.pk)
    with transaction.atomic():
        assert not _claim(connection, run.pk)
        with ThreadPoolExecutor() as threads:
            assert threads.submit(in_a_transaction, lambda: lock("default", of(run))).result()


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_parent_that_is_gone_or_has_ended_is_not_told(has_ended: bool) -> None:
    parent = new_run()
    child = new_run(parent)
    if has_ended:
        of(parent).update(ended_at=datetime.now(UTC))
    else:
        parent.room.delete()
    with transaction.atomic():
        tell_parent(child, datetime.now(UTC))("default")
    assert not of(parent).exclude(version=0).exists()
