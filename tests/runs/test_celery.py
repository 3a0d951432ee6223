"""What is special to Celery's workers: there are none, too few or the wrong ones, the server, the
broker or the database is gone.

What a run does on them, as it does everywhere, is in ``test_runners.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runs.site import Site, site
from tests.servers import Postgres, postgres

pytestmark = pytest.mark.slow

NOBODY = "No worker of Celery has taken a node"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture(scope="module")
def project(cluster: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    url, folder = cluster.create_database("runs"), tmp_path_factory.mktemp("trouble")
    with site(folder, "celery", url, "tests.runs.impatient_settings") as made:
        made.add_server()
        yield made


@pytest.fixture
def works(project: Site) -> Iterator[Site]:
    """Without a worker, before and after."""
    yield project
    project.cancel_all()
    project.stop_workers()


def a_worker_comes(works: Site) -> None:
    """Returns when it works."""
    works.add_worker()
    run, _ = works.start("sending")
    works.ended(run)


def said(works: Site) -> int:
    """How often it was said that there is no worker."""
    return works.server.log_text.count(NOBODY)


def test_without_workers_it_is_said_once_and_what_is_cancelled_is_never_done(
    works: Site,
) -> None:
    run, book = works.start("sending")
    works.awaited(lambda: "runs" in works.http("GET", "/readyz").get("warnings", {}))
    assert said(works) == 1
    works.control(run, "cancel")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "cancelled"
    works.add_worker()  # it gets the task, and the one of the next run after it
    later, _ = works.start("sending")
    assert works.ended(later)["run"]["outcome"] == "completed"
    assert book.begun() == []
    assert "warnings" not in works.http("GET", "/readyz")


def test_what_waits_for_a_busy_worker_is_done_once_and_nobody_is_alarmed(works: Site) -> None:
    a_worker_comes(works)
    before = said(works)
    first, busy = works.start("sending", seconds=12)
    works.awaited(busy.begun)
    second, book = works.start("sending")
    assert works.ended(first)["run"]["outcome"] == "completed"
    assert works.ended(second)["run"]["outcome"] == "completed"
    assert book.begun() == ["sent"]
    assert said(works) == before


def test_what_a_worker_does_without_the_database_is_not_lost(
    works: Site, cluster: Postgres
) -> None:
    works.add_worker()
    run, book = works.start("sending", seconds=10)  # so long that nobody's beat counts any more
    works.awaited(book.begun)
    cluster.stop()
    works.awaited(lambda: "The database is waited for" in works.worker_log_text())
    cluster.start()
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert book.begun() == ["sent"]


def test_what_takes_too_long_is_ended_by_the_worker(works: Site) -> None:
    works.add_worker()
    run, book = works.start("sending", seconds=600)
    ended = works.ended(run)
    assert ended["nodes"]["sent"]["error"]["code"] == "timeout"
    assert book.begun() == ["sent"]


def test_a_worker_that_does_not_know_an_effect_fails_the_node(works: Site) -> None:
    works.add_worker(MASHIN_MODULES="")
    run, book = works.start("sending")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "failed"
    assert "work.send" in ended["nodes"]["sent"]["error"]["message"]
    assert book.begun() == []


def test_what_a_worker_does_while_the_server_is_gone_is_not_lost(works: Site) -> None:
    works.add_worker()
    run, book = works.start("sending", seconds=60)
    works.awaited(book.begun)
    works.server.kill()
    book.let("sent")
    works.awaited(book.ended)
    works.server.start()
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert book.begun() == ["sent"]


def test_what_is_to_be_done_while_the_broker_is_gone_is_done_when_it_is_back(works: Site) -> None:
    a_worker_comes(works)
    works.broker.stop()
    run, book = works.start("sending")
    works.awaited(lambda: "The broker does not take a node" in works.server.log_text)
    works.broker.start()
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert book.begun() == ["sent"]
