"""Servers that work on runs over one database, and, with Celery, workers that execute their nodes:
real processes that are asked over HTTP and killed.

    with site(folder, "celery", url) as made:
        made.add_server(), made.add_worker()
        run, book = made.start("crowd")
        book.let("a")                       # an effect goes on, wherever it is executed
        made.replace(book.executor("b"))    # who executes it is killed, and another one comes
        made.ended(run)["run"]["outcome"]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.live import ROOT, LiveProject
from tests.runs.book import Book
from tests.servers import Valkey, valkey

HERE = Path(__file__).resolve().parent
DEADLINE = 45.0
#: Seconds between two looks at what other processes do.
LOOK = 0.03
Body = dict[str, Any]
Runner = Literal["process", "celery"]


class Site:
    """All processes over one database. ``broker``: also the servers' channel layer."""

    def __init__(
        self, folder: Path, runner: Runner, url: str, broker: Valkey, settings: str
    ) -> None:
        self.folder = folder
        self.runner = runner
        self.broker = broker
        self.servers: list[LiveProject] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._url = url
        self._env = {
            "REDIS_URL": broker.url,
            "MASHIN_MODULES": "tests.runs.work_effects",
            "DATABASE_URL": url,
            "SECRET_KEY": "live-project-live-project-live-project-live-project",
            "DJANGO_SETTINGS_MODULE": settings,
            **({"CELERY_BROKER_URL": f"{broker.url}/1"} if runner == "celery" else {}),
        }
        self._http = httpx.Client(trust_env=False, timeout=DEADLINE)
        first = self._project()
        first.prepare()
        self.token = first.token("ada", "*")

    def _project(self) -> LiveProject:
        folder = self.folder / f"server{len(self.servers)}-{time.monotonic_ns()}"
        folder.mkdir()
        machines = [HERE / "machines"]
        return LiveProject(folder, env=self._env, machines=machines, database_url=self._url)

    # -- processes ------------------------------------------------------------------------------

    @property
    def server(self) -> LiveProject:
        """The one that is asked, and so works on what is started here."""
        return self.servers[0]

    def add_server(self) -> LiveProject:
        project = self._project()
        project.start()
        self.servers.append(project)
        return project

    def add_worker(self, **env: str) -> None:
        """``env``: variables that it alone has."""
        command = [
            sys.executable, "-m", "celery", "-A", "project", "worker", "--pool", "solo",
            "--without-gossip", "--without-mingle", "--loglevel", "WARNING",
        ]  # fmt: skip
        env = {**os.environ, **self._env, **env}
        with self._worker_log(len(self.workers)).open("wb") as log:
            worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.workers.append(worker)

    def replace(self, *processes: int) -> None:
        """Kill processes, servers or workers, and then start as many others."""
        workers = [worker for worker in self.workers if worker.pid in processes]
        servers = [each for each in self.servers if self.pid(each) in processes]
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
        for server in servers:
            server.kill()
            self.servers.remove(server)
        for worker in workers:
            worker.wait()
            self.add_worker()
        for _ in servers:
            self.add_server()

    @staticmethod
    def pid(server: LiveProject) -> int:
        assert server.process is not None
        return server.process.pid

    def executors(self) -> set[int]:
        """The processes that may execute nodes."""
        if self.runner == "celery":
            return {worker.pid for worker in self.workers}
        return {self.pid(server) for server in self.servers}

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def stop(self) -> None:
        self.stop_workers()
        for server in self.servers:
            server.kill()
        self._http.close()

    def _worker_log(self, number: int) -> Path:
        return self.folder / f"worker{number}.log"

    def worker_log_text(self) -> str:
        """What the newest worker wrote."""
        return self._worker_log(len(self.workers) - 1).read_text(errors="replace")

    # -- runs -----------------------------------------------------------------------------------

    def http(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered; it must not be a refusal."""
        answer = self.request(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._http.request(method, self.server.url(path), json=body, headers=headers)

    def start(self, machine: str, **input: Any) -> tuple[str, Book]:
        """A run with a book of its own."""
        book = Book(self.folder / f"book-{time.monotonic_ns()}")
        book.path.touch()
        given = {"machine": machine, "input": {"book": str(book.path), **input}}
        return self.http("POST", "/api/dags", given)["id"], book

    def seen(self, run: str) -> Body:
        """The run's snapshot."""
        found: Body = self.http("GET", f"/api/dags/{run}")
        return found

    def until(self, run: str, wanted: Callable[[Body], Any]) -> Body:
        """The run's snapshot, as soon as it is so."""
        end = time.monotonic() + DEADLINE
        while not wanted(found := self.seen(run)):
            assert time.monotonic() < end, json.dumps(found, indent=1)
            time.sleep(LOOK)
        return found

    def awaited(self, wanted: Callable[[], object]) -> None:
        """Returns as soon as it is so."""
        end = time.monotonic() + DEADLINE
        while not wanted():
            assert time.monotonic() < end, self.server.log_text[-4000:]
            time.sleep(LOOK)

    def ended(self, run: str) -> Body:
        return self.until(run, lambda found: "outcome" in found["run"])

    def until_it_is(self, run: str, status: str) -> Body:
        return self.until(run, lambda found: found["run"]["status"] == status)

    def gate(self, run: str, node: str, revision: int = 1) -> Body:
        """The presentation of an open gate."""

        def shown(found: Body) -> list[Body]:
            return [
                gate["presentation"]
                for gate in found["open_gates"]
                if (gate["node_id"], gate["presentation"]["revision"]) == (node, revision)
            ]

        return shown(self.until(run, shown))[0]

    def decide(self, run: str, node: str, decision: str = "approve", **more: Any) -> None:
        given = {"node_id": node, "decision": decision, **more}
        self.http("POST", f"/api/dags/{run}/decisions", given)

    def control(self, run: str, verb: Literal["pause", "resume", "cancel"]) -> None:
        self.http("POST", f"/api/dags/{run}/{verb}", {})

    def cancel_all(self) -> None:
        """Whatever has not ended."""
        for status in ("running", "pausing", "paused"):
            for run in self.http("GET", f"/api/dags?status={status}&limit=100")["runs"]:
                self.request("POST", f"/api/dags/{run['id']}/cancel", {})

    def log(self, run: str) -> list[Body]:
        """The entries of its log."""
        entries: list[Body] = self.http("GET", f"/api/dags/{run}/events?since=0&limit=1000")[
            "events"
        ]
        return entries


def statuses(found: Body) -> dict[str, str]:
    """Those of the nodes in a snapshot."""
    return {name: node["status"] for name, node in found["nodes"].items()}


@contextmanager
def site(
    folder: Path, runner: Runner, url: str, settings: str = "project.settings"
) -> Iterator[Site]:
    """Nothing over that database yet; what is added ends with it."""
    with valkey() as broker:
        made = Site(folder, runner, url, broker, settings)
        try:
            yield made
        finally:
            made.stop()
