"""``python -m benchmarks``: ours beside named peers, alternating in one run; medians and ratios.

What is measured against whom is said in ``messages.py``, ``memory.py``, ``rooms.py``, ``runs.py``
and ``curves.py``, one for each part that ``--only`` chooses.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from pathlib import Path

from benchmarks import curves, memory, messages, report, rooms, runs
from benchmarks.servers import ROOT
from benchmarks.session import DATABASES, Session

MESSAGES = {"websocket", "api"}
ROOMS = {"broadcast", "publish", "replay"}
PARTS = (*sorted(MESSAGES), "memory", *sorted(ROOMS), "runs", "curves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="short windows, to see that it works")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of it")
    parser.add_argument("--database", action="append", choices=DATABASES, help="one of them")
    parser.add_argument("--json", type=Path, help="write every number measured")
    parser.add_argument("--images", type=Path, help="draw the curves into this folder")
    parser.add_argument(
        "--readme", action="store_true", help="put the table into README.md, curves into docs"
    )
    options = parser.parse_args()
    parts = set(options.only or PARTS)
    _allow_many_files()
    with tempfile.TemporaryDirectory(prefix="mashin-bench-") as folder:
        rounds, seconds = (1, 1.0) if options.quick else (options.rounds, 4.0)
        session = Session(rounds, seconds, Path(folder), options.quick)
        for database in options.database or DATABASES:
            if parts & MESSAGES:
                messages.measure(session, database, parts)
            if parts & ROOMS:
                rooms.measure(session, database, parts)
            if "runs" in parts:
                runs.measure(session, database)
        if "memory" in parts:
            memory.measure(session)
        if "curves" in parts:
            curves.measure(session)
    table = report.table(session)
    print(table)
    if options.json:
        options.json.write_text(json.dumps({"numbers": session.numbers}, indent=2))
    images = options.images or (ROOT / "docs/images" if options.readme else None)
    if images and "curves" in parts:
        curves.draw(session, images)
    if options.readme:
        report.write_readme(table)


def _allow_many_files() -> None:
    """For thousands of connections, here and in the servers and clients that are started."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


if __name__ == "__main__":
    main()
