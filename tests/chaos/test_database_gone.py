"""The database goes away in the middle of the work, and comes back.

What must hold: every question is answered, no result without its row, no socket closed, and the
work goes on as soon as the database does.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.chaos.clients import (
    DEADLINE,
    ENVIRONMENT,
    UNAVAILABLE,
    WIRE,
    Crowd,
    Ledger,
    bearer,
    crowd,
    tokens,
    until,
    websocket,
)
from tests.live import LiveProject
from tests.servers import Postgres, postgres

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

#: Seconds within which the work goes on once the database is back.
SOON = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres({"fsync": "off"}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(cluster: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    with LiveProject(
        tmp_path_factory.mktemp("gone"),
        env=ENVIRONMENT,
        machines=[WIRE / "machines"],
        database_url=cluster.url,
    ) as project:
        yield project


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProject]:
    folder = tmp_path_factory.mktemp("locked")
    with LiveProject(folder, env=ENVIRONMENT, machines=[WIRE / "machines"]) as project:
        yield project


class Health:
    """What load balancers see."""

    def __init__(self, project: LiveProject) -> None:
        self.project = project

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.project.url(path), trust_env=False, timeout=DEADLINE)

    async def is_ready(self, wanted: bool) -> dict[str, str]:
        """Once ``/readyz`` says so (soon); what it names. The process is alive all the time."""
        async with asyncio.timeout(SOON):
            while True:
                assert (await asyncio.to_thread(self.get, "/healthz")).status_code == 200
                answer = await asyncio.to_thread(self.get, "/readyz")
                if answer.status_code == (200 if wanted else 503):
                    checks: dict[str, str] = answer.json()["checks"]
                    return checks


@pytest.mark.parametrize("crash", [False, True], ids=["fast", "immediate"])
async def test_postgresql_stops_under_load_and_comes_back(
    cluster: Postgres, project: LiveProject, crash: bool
) -> None:
    health = Health(project)
    mode = "immediate" if crash else "fast"
    sockets = [f"socket-{mode}-{number}" for number in range(20)]
    apis = [f"api-{mode}-{number}" for number in range(4)]
    async with crowd(project, sockets, apis) as askers:
        await askers.got(10)
        await asyncio.to_thread(cluster.stop, crash=crash)
        try:
            await askers.refused(UNAVAILABLE)
            checks = await health.is_ready(False)
            assert checks == {"database": "OperationalError", "ledger": "CommitFailed"}
            # Not only once, and no slower the longer it lasts.
            await askers.refused(UNAVAILABLE)
        finally:
            await asyncio.to_thread(cluster.start)
        async with asyncio.timeout(SOON):
            await askers.got(10)
        assert await health.is_ready(True) == {"database": "ok", "ledger": "ok"}
    rows = Ledger.of_postgres(cluster.url)
    for asker in askers:
        assert set(asker.refusals) == {UNAVAILABLE}, asker.name
        asker.known_to(rows)
    assert project.command("verify_ledger").returncode == 0


async def test_newcomers_are_told_while_it_is_gone_and_let_in_when_it_is_back(
    cluster: Postgres, project: LiveProject
) -> None:
    """Their credentials must be looked up: on threads whose connections died with it."""
    names = [f"newcomer-{number}" for number in range(16)]
    made = tokens(project, names)
    statuses: dict[str, int] = {}

    async def knock(name: str) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
            answer = await client.post(
                project.url("/api/wire/echo"), headers=bearer(made[name]), json={"text": name}
            )
        return answer.status_code

    async def knock_together(some: list[str]) -> list[int]:
        return await asyncio.gather(*[knock(name) for name in some])

    assert set(await knock_together(names[:8])) == {200}
    await asyncio.to_thread(cluster.stop)
    try:
        assert set(await knock_together(names[8:])) == {503}
    finally:
        await asyncio.to_thread(cluster.start)
    async with asyncio.timeout(SOON):
        while set(statuses.values()) != {200}:
            statuses = dict(zip(names, await knock_together(names), strict=True))
    async with websocket(project, "/ws/wire/echo", made[names[-1]]) as socket:
        await socket.send('{"text": "in"}')
        assert json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))["text"] == "in"


async def test_a_server_that_nobody_asks_is_ready_again_by_itself(
    cluster: Postgres, project: LiveProject
) -> None:
    """A load balancer sends nothing to who is not ready: readiness must not wait for work."""
    health = Health(project)
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        await asyncio.to_thread(cluster.stop)
        try:
            answer = await client.post(project.url("/api/wire/open"), json={"anything": 1})
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == UNAVAILABLE
            assert answer.headers["Retry-After"] == "1"
            await health.is_ready(False)
        finally:
            await asyncio.to_thread(cluster.start)
    assert set((await health.is_ready(True)).values()) == {"ok"}


@contextmanager
def frozen(cluster: Postgres) -> Iterator[None]:
    """The cluster's processes stand still: connections stay open and nothing comes of them."""
    postmaster = psutil.Process(int((cluster.folder / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


async def test_a_database_that_hangs_keeps_nobody_waiting(
    cluster: Postgres, project: LiveProject
) -> None:
    health = Health(project)
    async with crowd(project, ["patient-1", "patient-2"], ["patient-3"]) as askers:
        await askers.got(5)
        with frozen(cluster):
            await askers.refused(UNAVAILABLE)
            assert await health.is_ready(False) == {"database": "late", "ledger": "late"}
        async with asyncio.timeout(SOON):
            await askers.got(5)
        await health.is_ready(True)
    rows = Ledger.of_postgres(cluster.url)
    for asker in askers:
        asker.known_to(rows)
    assert project.command("verify_ledger").returncode == 0


HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute("begin exclusive")
print("locked", flush=True)
sys.stdin.read()
database.execute("rollback")
"""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process holds SQLite's only write lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            holder.stdin.close()
            assert holder.wait(DEADLINE) == 0


async def test_a_locked_sqlite_is_waited_for_and_then_refused(on_sqlite: LiveProject) -> None:
    project = on_sqlite
    names = ["one", "two", "three"]
    async with crowd(project, names[:2], names[2:]) as askers:
        await askers.got(5)
        with locked(project.database_file):
            held = sum(asker.results for asker in askers)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await askers.got(2)
            assert sum(asker.results for asker in askers) <= held + len(askers)
        await askers.got(5)
        assert not any(asker.refusals for asker in askers)  # a while is no reason to refuse
        with locked(project.database_file):
            await askers.refused(UNAVAILABLE)
            assert Health(project).get("/healthz").status_code == 200
        async with asyncio.timeout(SOON):
            await askers.got(5)
        await Health(project).is_ready(True)
    rows = Ledger.of_sqlite(project.database_file)
    for asker in askers:
        assert set(asker.refusals) == {UNAVAILABLE}, asker.name
        asker.known_to(rows)
    assert project.command("verify_ledger").returncode == 0


async def test_a_killed_server_leaves_no_result_without_its_row(on_sqlite: LiveProject) -> None:
    project = on_sqlite
    sockets = [f"socket-{number}" for number in range(20)]
    askers = Crowd()

    async def ask_until_it_dies() -> None:
        async with crowd(project, sockets, ["api-1", "api-2"], askers):
            await askers.got(10)
            project.kill()
            await until(lambda: False, "the clients notice")

    with pytest.raises(ExceptionGroup) as ended:
        await ask_until_it_dies()
    noticed, others = ended.value.split((ConnectionClosed, httpx.TransportError))
    assert noticed is not None
    assert others is None
    project.start()
    rows = Ledger.of_sqlite(project.database_file)
    assert len(askers) == 22
    for asker in askers:
        assert not asker.refusals
        asker.known_to(rows)
    async with crowd(project, sockets[:2]) as again:
        await again.got(5)
    assert project.command("verify_ledger").returncode == 0
