"""A project whose nodes are executed by Celery's workers: real processes, over Valkey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.live import ROOT, LiveProject
from tests.servers import valkey

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

    def start_worker(self, **env: str) -> subprocess.Popen[bytes]:
        """``env``: variables that it alone has."""
        command = [
            sys.executable, "-m", "celery", "-A", "project", "worker", "--pool", "solo",
            "--without-gossip", "--without-mingle", "--loglevel", "WARNING",
        ]  # fmt: skip
        env = {**os.environ, **self._env, **env}
        with self._log(len(self.workers)).open("wb") as log:
            worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End the workers at once."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def _log(self, number: int) -> Path:
        return self.folder / f"worker{number}.log"

    def log_text(self) -> str:
        """What the newest worker wrote."""
        return self._log(len(self.workers) - 1).read_text(errors="replace")

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

    def awaited(self, wanted: Callable[[], object]) -> None:
        """Returns as soon as it is so."""
        end = time.monotonic() + DEADLINE
        while not wanted():
            assert time.monotonic() < end, self.project.log_text[-4000:]
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


@contextmanager
def worked(folder: Path, url: str, settings: str = "project.settings") -> Iterator[Workers]:
    """The project over that database, without a worker yet; all end with it."""
    with valkey() as broker:
        env = {
            "CELERY_BROKER_URL": broker.url,
            "MASHIN_MODULES": "work_effects",
            "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
            "DATABASE_URL": url,
            "SECRET_KEY": "live-project-live-project-live-project-live-project",
            "DJANGO_SETTINGS_MODULE": settings,
        }
        machines = [HERE / "machines"]
        with LiveProject(folder, env=env, machines=machines, database_url=url) as project:
            made = Workers(project, env, folder)
            try:
                yield made
            finally:
                made.stop()
