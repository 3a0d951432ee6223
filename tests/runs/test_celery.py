"""Runs whose nodes are executed by Celery's workers: real ones, over Valkey, also when they die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import ROOT, LiveProject
from tests.servers import postgres, valkey

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
DEADLINE = 45.0
Body = dict[str, Any]


class Workers:
    """A project whose nodes are executed by workers, and those."""

    def __init__(self, project: LiveProject, env: dict[str, str], folder: Path) -> None:
        self.project = project
        self.folder = folder
        self._env = env
        self._token = project.token("ada", "*")
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "celery", "-A", "project", "worker", "--pool", "solo",
            "--without-gossip", "--without-mingle", "--loglevel", "WARNING",
        ]  # fmt: skip
        env = {**os.environ, **self._env}
        with (self.folder / f"worker{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def http(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = httpx.request(
            method, self.project.url(path), json=body, headers=headers, timeout=DEADLINE
        )
        assert answer.status_code < 300, answer.text
        return answer.json()

    def start(self, machine: str, **input: Any) -> tuple[str, Path]:
        """A run with a book of its own."""
        book = self.folder / f"book-{time.monotonic_ns()}"
        book.touch()
        given = {"machine": machine, "input": {"book": str(book), **input}}
        return self.http("POST", "/api/dags", given)["id"], book

    def until(self, run: str, wanted: Callable[[Body], Any]) -> Body:
        """The run's snapshot, as soon as it is so."""
        end = time.monotonic() + DEADLINE
        while True:
            found: Body = self.http("GET", f"/api/dags/{run}")
            if wanted(found):
                return found
            assert time.monotonic() < end, json.dumps(found, indent=1)
            time.sleep(0.05)

    def at_gate(self, run: str) -> Body:
        gate: Body = self.until(run, lambda found: found["open_gates"])["open_gates"][0]
        return gate

    def decide(self, run: str, node: str, decision: str = "approve") -> None:
        given = {"node_id": node, "decision": decision}
        self.http("POST", f"/api/dags/{run}/decisions", given)

    def ended(self, run: str) -> Body:
        return self.until(run, lambda found: "outcome" in found["run"])


def words(book: Path) -> list[str]:
    return sorted(line.split()[0] for line in book.read_text().splitlines())


def writers(book: Path) -> set[int]:
    """The processes that have written."""
    return {int(line.split()[1]) for line in book.read_text().splitlines()}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def works(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp(f"celery-{request.param}")
    if request.param == "sqlite":
        yield from _works(folder, f"sqlite:///{folder / 'db.sqlite3'}")
        return
    with postgres() as cluster:
        yield from _works(folder, cluster.create_database("runs"))


def _works(folder: Path, url: str) -> Iterator[Workers]:
    with valkey() as broker:
        env = {
            "CELERY_BROKER_URL": broker.url,
            "MASHIN_MODULES": "work_effects",
            "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
            "DATABASE_URL": url,
            "SECRET_KEY": "live-project-live-project-live-project-live-project",
            "DJANGO_SETTINGS_MODULE": "project.settings",
        }
        machines = [HERE / "machines"]
        with LiveProject(folder, env=env, machines=machines, database_url=url) as project:
            made = Workers(project, env, folder)
            try:
                made.start_worker()
                made.start_worker()
                yield made
            finally:
                made.stop()


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
