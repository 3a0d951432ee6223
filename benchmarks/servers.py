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


@dataclass(frozen=True)
class Peer:
    """How to start one: ``settings`` module, commands before, the server's words."""

    name: str
    settings: str
    prepare: tuple[tuple[str, ...], ...]
    serve: tuple[str, ...]


OURS = Peer(
    "ours",
    "project.settings",
    (
        ("manage.py", "migrate", "-v", "0"),
        ("manage.py", "load_machines", "benchmarks/machines"),
    ),
    ("manage.py", "serve", "--port", "{port}", "--no-access-log"),
)
PLAIN = Peer(
    "peers",
    "benchmarks.peers.settings",
    (("manage.py", "migrate", "--run-syncdb", "-v", "0"),),
    (
        *("-m", "daphne", "-v", "0", "-p", "{port}", "-b", "127.0.0.1"),
        *("--access-log", os.devnull, "benchmarks.peers.asgi:application"),
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(core: int) -> list[str]:
    """Words before a command that keep it on one core; none where there is only one."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


@contextlib.contextmanager
def running(peer: Peer, database_url: str, log: Path) -> Iterator[Running]:
    """Prepare and start; stopped at the end."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": peer.settings,
        "DATABASE_URL": database_url,
        "SECRET_KEY": "benchmarks-benchmarks-benchmarks-benchmarks-benchmarks",
        "DEBUG": "0",
        "PYTHONPATH": str(ROOT),
    }
    for words in peer.prepare:
        subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL
        )
    port = free_port()
    command = [*pin(0), sys.executable, *(word.format(port=port) for word in peer.serve)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
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
