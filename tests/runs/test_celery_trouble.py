"""Runs on Celery's workers when there are none, too few or the wrong ones, or no database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runs.workers import Workers, words, worked
from tests.servers import Postgres, postgres

pytestmark = pytest.mark.slow

NOBODY = "No worker of Celery has taken a node"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture(scope="module")
def project(cluster: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    url, folder = cluster.create_database("runs"), tmp_path_factory.mktemp("trouble")
    with worked(folder, url, "impatient_settings") as made:
        yield made


@pytest.fixture
def works(project: Workers) -> Iterator[Workers]:
    """Without a worker, before and after."""
    yield project
    project.stop()


def said(works: Workers) -> int:
    """How often it was said that there is no worker."""
    return works.project.log_text.count(NOBODY)


def test_without_workers_it_is_said_once_and_what_is_cancelled_is_never_done(
    works: Workers,
) -> None:
    run, book = works.start("sends")
    works.awaited(lambda: "runs" in works.http("GET", "/readyz").get("warnings", {}))
    assert said(works) == 1
    works.http("POST", f"/api/dags/{run}/cancel", {})
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "cancelled"
    works.start_worker()  # it gets the task, and the one of the next run after it
    later, _ = works.start("sends")
    assert works.ended(later)["run"]["outcome"] == "completed"
    assert words(book) == []
    assert "warnings" not in works.http("GET", "/readyz")


def test_what_waits_for_a_busy_worker_is_done_once_and_nobody_is_alarmed(works: Workers) -> None:
    before = said(works)
    works.start_worker()
    first, busy = works.start("sends", seconds=12)
    works.awaited(lambda: words(busy))
    second, book = works.start("sends")
    assert works.ended(first)["run"]["outcome"] == "completed"
    assert works.ended(second)["run"]["outcome"] == "completed"
    assert words(book) == ["send"]
    assert said(works) == before


def test_what_a_worker_does_without_the_database_is_not_lost(
    works: Workers, cluster: Postgres
) -> None:
    works.start_worker()
    run, book = works.start("sends", seconds=10)  # so long that nobody's beat counts any more
    works.awaited(lambda: words(book))
    cluster.stop()
    works.awaited(lambda: "The database is waited for" in works.log_text())
    cluster.start()
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert words(book) == ["send"]


def test_what_takes_too_long_is_ended_by_the_worker(works: Workers) -> None:
    works.start_worker()
    run, book = works.start("sends", seconds=600)
    ended = works.ended(run)
    assert ended["nodes"]["send"]["error"]["code"] == "timeout"
    assert words(book) == ["send"]


def test_a_worker_that_does_not_know_an_effect_fails_the_node(works: Workers) -> None:
    works.start_worker(MASHIN_MODULES="")
    run, book = works.start("sends")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "failed"
    assert "work.send" in ended["nodes"]["send"]["error"]["message"]
    assert words(book) == []
