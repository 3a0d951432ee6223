"""Runs whose nodes are executed by Celery's workers: real ones, over Valkey, also when they die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.runs.workers import Workers, words, worked, writers
from tests.servers import postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def works(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp(f"celery-{request.param}")
    if request.param == "sqlite":
        with worked(folder, f"sqlite:///{folder / 'db.sqlite3'}") as made:
            yield _with_two(made)
        return
    with postgres() as cluster, worked(folder, cluster.create_database("runs")) as made:
        yield _with_two(made)


def _with_two(made: Workers) -> Workers:
    made.start_worker()
    made.start_worker()
    return made


def test_workers_execute_what_the_server_works_on(works: Workers) -> None:
    run, book = works.start("works")
    works.at_gate(run)
    assert words(book) == ["first", "slip", "slip"]
    assert writers(book) <= {worker.pid for worker in works.workers}
    works.decide(run, "review")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert ended["nodes"]["end"]["output"] == {"words": ["first", "slip", "long"], "by": "ada"}
    assert ended["cost"]["spent"] == 0.5
    assert ended["nodes"]["second"]["metrics"]["retries"] == 1


def test_a_cancelled_run_ends_what_a_worker_executes(works: Workers) -> None:
    run, book = works.start("sends", seconds=600)
    works.until(run, lambda found: words(book))
    works.http("POST", f"/api/dags/{run}/cancel", {})
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "cancelled"
    assert words(book) == ["send"]


def test_what_needs_approval_is_not_done_before(works: Workers) -> None:
    run, book = works.start("letters")
    works.at_gate(run)
    assert words(book) == []
    works.decide(run, "letter")
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert words(book) == ["send"]


@pytest.mark.parametrize(("machine", "node"), [("works", "long"), ("sends", "send")])
def test_a_worker_that_is_killed_loses_what_it_executed(
    works: Workers, machine: str, node: str
) -> None:
    run, book = works.start(machine, seconds=600)
    if machine == "works":
        works.at_gate(run)
        works.decide(run, "review")
    works.until(run, lambda found: node in words(book))
    pid = int(book.read_text().splitlines()[-1].split()[1])
    os.kill(pid, signal.SIGKILL)
    works.start_worker()
    if machine == "works":  # it may be done again, and is
        works.until(run, lambda found: words(book).count("long") == 2)
        works.http("POST", f"/api/dags/{run}/cancel", {})
    else:  # somebody has to say
        gate = works.at_gate(run)
        assert "run again" in gate["presentation"]["question"]
        assert words(book) == ["send"]
        works.decide(run, "send", "reject")
    works.ended(run)
    assert words(book).count("send") == (machine == "sends")


def test_what_a_worker_does_while_the_server_is_gone_is_not_lost(works: Workers) -> None:
    run, book = works.start("sends", seconds=3)
    works.until(run, lambda found: words(book))
    works.project.kill()
    works.project.start()
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert words(book) == ["send"]
