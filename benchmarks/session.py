"""One run of the benchmarks: what was measured, on which databases, and what it is held against."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.servers import ROOT, pin

DATABASES = ("SQLite", "PostgreSQL")


@dataclass
class Session:
    """How often and how long is measured, where files go, and the numbers (name → values)."""

    rounds: int
    seconds: float
    folder: Path
    quick: bool = False
    numbers: dict[str, list[float]] = field(default_factory=dict)
    #: Versions of what is no Python package.
    versions: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        self.numbers.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        return median(self.numbers[name]) if name in self.numbers else None

    def client(
        self,
        module: str,
        order: dict[str, Any],
        environment: dict[str, str] | None = None,
        core: int | None = 1,
    ) -> dict[str, float]:
        """Run a load client, in our own environment and on the second core if nothing else is said
        (None: on any); what it measured."""
        where = [] if core is None else pin(core)
        done = subprocess.run(
            [*where, sys.executable, "-m", f"benchmarks.{module}", json.dumps(order)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"benchmarks.{module} failed with {order}:\n{done.stderr[-2000:]}")
        measured: dict[str, float] = json.loads(done.stdout)
        if measured.get("wrong"):
            raise SystemExit(f"{measured['wrong']:.0f} wrong or missing answers with {order}.")
        return measured


@dataclass(frozen=True)
class Target:
    """One row: who is compared, what the ratio must at least (or at most) be."""

    title: str
    ours: str
    peer: str
    wanted: float
    at_most: bool = False

    def row(self, session: Session) -> str | None:
        ours, peer = session.median(self.ours), session.median(self.peer)
        if ours is None or peer is None:
            return None
        ratio = ours / peer
        met = ratio <= self.wanted if self.at_most else ratio >= self.wanted
        sign = "≤" if self.at_most else "≥"
        return (
            f"| {self.title} | {ours:,.0f} | {peer:,.0f} | {ratio:.2f}× "
            f"| {'met' if met else '**missed**'} ({sign} {self.wanted:g}×) |"
        )


@dataclass(frozen=True)
class Limit:
    """One row without a ratio: what our number must at most be, if anything; another number, to
    see it beside: the peer's, or what the title says."""

    title: str
    ours: str
    peer: str
    at_most: float | None = None

    def row(self, session: Session) -> str | None:
        ours, peer = session.median(self.ours), session.median(self.peer)
        if ours is None or peer is None:
            return None
        held = ""
        if self.at_most is not None:
            met = "met" if ours <= self.at_most else "**missed**"
            held = f"{met} (≤ {self.at_most:g}) "
        return f"| {self.title} | {ours:,.1f} | {peer:,.1f} | | {held}|"


@contextlib.contextmanager
def databases(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """A URL for ours and one for the peers, on the same kind of database, both empty."""
    if name == "SQLite":
        names = ("ours", "peers")
        for each in names:
            for path in folder.glob(f"{each}.sqlite3*"):
                path.unlink()
        ours, peers = (f"sqlite:///{folder / each}.sqlite3" for each in names)
        yield ours, peers
        return
    from tests.servers import postgres

    with postgres() as cluster:
        yield cluster.create_database("ours"), cluster.create_database("peers")
