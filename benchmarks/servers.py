"""The servers that are measured: ours and the peers, each a process of its own on core 0."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
#: Seconds between pings: the load clients count bytes, and answer none.
PINGS = "600"


@dataclass(frozen=True)
class Peer:
    """How to start one: ``settings`` module, commands before, the server's words; ``program``
    runs them."""

    name: str
    settings: str
    prepare: tuple[tuple[str, ...], ...]
    serve: tuple[str, ...]
    program: str = sys.executable


OURS = Peer(
    "ours",
    "benchmarks.settings",
    (
        ("manage.py", "migrate", "--run-syncdb", "-v", "0"),
        ("manage.py", "load_machines", "benchmarks/machines"),
    ),
    ("manage.py", "serve", "--port", "{port}", "--no-access-log", "--ping-interval", PINGS),
)
UVICORN = Peer(
    "ours under uvicorn",
    OURS.settings,
    (),  # it has the database of OURS
    (
        *("-m", "uvicorn", "--port", "{port}", "--ws-per-message-deflate", "false"),
        *("--ws-ping-interval", PINGS, "--no-access-log", "--log-level", "warning"),
        "project.asgi:application",
    ),
)
PLAIN = Peer(
    "peers",
    "benchmarks.peers.settings",
    (("manage.py", "migrate", "--run-syncdb", "-v", "0"),),
    (
        *("-m", "daphne", "-v", "0", "-p", "{port}", "-b", "127.0.0.1"),
        *("--ping-interval", PINGS, "--access-log", os.devnull),
        "benchmarks.peers.asgi:application",
    ),
)


@dataclass
class Running:
    """A server that answers."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def forget_peak(self) -> int:
        """Let ``peak`` begin anew with the resident bytes of now, which are returned."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.memory()

    def peak(self) -> int:
        """Most resident bytes since ``forget_peak``."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise SystemExit("This system does not tell the peak of a process's memory.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether HTTP is spoken there; some servers listen long before that."""
    with socket.create_connection(("127.0.0.1", port), 1) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return client.recv(1) != b""


def pin(core: int) -> list[str]:
    """Words before a command that keep it on one core; none where there is only one."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


def environment(settings: str, database_url: str, redis_url: str = "") -> dict[str, str]:
    """What a process of the benchmarks finds around it."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": "benchmarks-benchmarks-benchmarks-benchmarks-benchmarks",
        "DEBUG": "0",
        "PYTHONPATH": str(ROOT),
    }


def prepare(peer: Peer, database_url: str) -> None:
    """Make the tables and load what it serves."""
    for words in peer.prepare:
        subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment(peer.settings, database_url),
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def running(peer: Peer, database_url: str, log: Path, redis_url: str = "") -> Iterator[Running]:
    """Prepare and start; stopped at the end."""
    prepare(peer, database_url)
    env = environment(peer.settings, database_url, redis_url)
    port = free_port()
    command = [*pin(0), peer.program, *(word.format(port=port) for word in peer.serve)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if answers(port):
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{peer.name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield Running(peer.name, port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
