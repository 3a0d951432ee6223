"""SQLite's log is written back to its file beside the commits."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from mashin_surfaces.commit import GroupCommit, checkpoints
from mashin_surfaces.commit.checkpoints import LONGEST, Checkpoints

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL does it by itself"),
]
DEADLINE = 30.0
THREAD = "mashin-checkpoint"


class Done:
    """Waits for the end of checkpoints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ended = threading.Semaphore(0)
        write_back = Checkpoints._write_back

        def written_back(checkpoints: Checkpoints) -> None:
            write_back(checkpoints)
            self._ended.release()

        monkeypatch.setattr(Checkpoints, "_write_back", written_back)

    def wait(self) -> None:
        assert self._ended.acquire(timeout=DEADLINE), "There was no checkpoint."

    def was_none(self) -> bool:
        return not self._ended.acquire(blocking=False)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    monkeypatch.setattr(checkpoints, "CHANGES", 50)
    return Done(monkeypatch)


@pytest.fixture
def table() -> Iterator[None]:
    """An empty table, and nothing in the log."""
    with connection.cursor() as cursor:
        cursor.execute("create table numbers (n integer)")
        cursor.execute("pragma wal_checkpoint(truncate)")
    yield
    with connection.cursor() as cursor:
        cursor.execute("drop table numbers")


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has connections that open from now on begin with other statements."""

    def begin(statements: str) -> None:
        now = connection.settings_dict["OPTIONS"]
        monkeypatch.setitem(now, "init_command", f"{now['init_command']} {statements}")

    return begin


def insert(count: int) -> Callable[[BaseDatabaseWrapper], None]:
    def unit(connection: BaseDatabaseWrapper) -> None:
        with connection.cursor() as cursor:
            cursor.executemany("insert into numbers values (%s)", [(n,) for n in range(count)])

    return unit


def longest_log(group: GroupCommit) -> Any:
    """Pages from which on the writer's commits write the log back themselves."""

    def ask(connection: BaseDatabaseWrapper) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("pragma wal_autocheckpoint")
            return cursor.fetchone()[0]

    return group.run_now(ask)


def in_the_file() -> int:
    """How many numbers stand in the database's file, whatever its log has."""
    name = connection.settings_dict["NAME"]
    file = sqlite3.connect(f"file:{name}?immutable=1", uri=True)
    try:
        (count,) = file.execute("select count(*) from numbers").fetchone()
    finally:
        file.close()
    return int(count)


def running() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(THREAD)}


@pytest.mark.usefixtures("table")
def test_it_is_written_back_after_so_many_changes(group: GroupCommit, done: Done) -> None:
    assert longest_log(group) == LONGEST  # far more than this test writes
    group.run_now(insert(30))
    assert in_the_file() == 0
    group.run_now(insert(30))
    done.wait()
    assert in_the_file() == 60
    group.run_now(insert(30))
    assert done.was_none()
    group.run_now(insert(30))
    done.wait()
    assert in_the_file() == 120


@pytest.mark.usefixtures("table")
def test_a_reader_in_between_holds_nobody_up(group: GroupCommit, done: Done) -> None:
    reader = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    try:
        reader.execute("begin")
        assert reader.execute("select count(*) from numbers").fetchone() == (0,)
        group.run_now(insert(60))
        done.wait()
        assert in_the_file() == 0  # the reader still needs the file as it was
        assert reader.execute("select count(*) from numbers").fetchone() == (0,)
        reader.execute("rollback")
        group.run_now(insert(60))
        done.wait()
    finally:
        reader.close()
    assert in_the_file() == 120


@pytest.mark.usefixtures("table")
def test_a_project_that_has_its_own_way_is_left_alone(
    group: GroupCommit, done: Done, options: Callable[[str], None]
) -> None:
    """As with Litestream, which needs to see all of the log."""
    options("PRAGMA wal_autocheckpoint=0;")
    group.run_now(insert(100))
    assert longest_log(group) == 0
    assert done.was_none()
    assert in_the_file() == 0


@pytest.mark.usefixtures("table")
def test_trouble_is_told_and_stops_no_commit(
    group: GroupCommit,
    done: Done,
    options: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert longest_log(group) == LONGEST
    with caplog.at_level(logging.WARNING):
        options("SELECT no_such_column;")
        group.run_now(insert(60))
        done.wait()
    assert "SQLite's log is not written back now: no such column" in caplog.text
    group.run_now(insert(1))
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from numbers")
        assert cursor.fetchone() == (61,)


@pytest.mark.usefixtures("table")
def test_the_thread_ends_with_the_writer(group: GroupCommit, done: Done) -> None:
    others = running()  # of the writer that all tests share
    group.run_now(insert(60))
    done.wait()
    assert running() > others
    group.close()
    assert running() == others
    group.run_now(insert(60))  # and both begin anew
    done.wait()
