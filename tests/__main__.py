"""``python -m tests``: the fast tests on all cores, the slow ones on all cores file by file, those
that stop, flood or measure one by one, those that need a database once more on PostgreSQL, and the
sum.

Arguments go to pytest, each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.servers import postgres

ROOT = Path(__file__).resolve().parent.parent
SLOW = "slow or browser or chaos"
PARTS = {
    "fast": ["-m", f"not ({SLOW})", "-n", "auto", "--dist", "worksteal"],
    # A file's tests share servers that take seconds to start.
    "slow": ["-m", "(slow or browser) and not chaos", "-n", "auto", "--dist", "loadfile"],
    "chaos": ["-m", "chaos"],
}
#: What talks to the database is played once more against a real PostgreSQL.
ON_POSTGRES = [
    "admin", "commit", "identity", "incubators", "ledger", "rooms", "runs", "surfaces", "timers",
    "machines/test_store.py", "panels/test_runner.py", "panels/test_store.py",
]  # fmt: skip
#: The suite is to stay short: what takes long is named.
SLOWEST = ["--durations=10", "--durations-min=5"]
#: pytest's exit code when there was nothing to run.
NO_TESTS = 5


def play(part: list[str], extra: list[str], report: Path, database_url: str = "") -> int:
    command = [sys.executable, "-m", "pytest", *part, *SLOWEST, f"--junit-xml={report}", *extra]
    env = {**os.environ, "DATABASE_URL": database_url} if database_url else None
    return subprocess.run(command, cwd=ROOT, check=False, env=env).returncode


def play_on_postgres(extra: list[str], report: Path) -> int:
    folders = [f"tests/{name}" for name in ON_POSTGRES if (ROOT / "tests" / name).exists()]
    with postgres() as cluster:
        return play([*PARTS["fast"], *folders], extra, report, cluster.url)


def count(report: Path) -> tuple[int, int, int]:
    """How many passed, failed and were skipped."""
    if not report.exists():
        return 0, 0, 0
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  pytest's own file
    if suite is None:
        return 0, 0, 0
    total, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


def main() -> int:
    extra = sys.argv[1:]
    codes, counts = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, part in PARTS.items():
            print(f"--- the {name} tests", flush=True)
            report = Path(folder) / f"{name}.xml"
            codes.append(play(part, extra, report))
            counts.append(count(report))
        print("--- the fast tests that need a database, on PostgreSQL", flush=True)
        report = Path(folder) / "postgres.xml"
        codes.append(play_on_postgres(extra, report))
        counts.append(count(report))
    passed, failed, skipped = (sum(numbers) for numbers in zip(*counts, strict=True))
    print(f"All tests: {passed} passed, {failed} failed, {skipped} skipped")
    wrong = [code for code in codes if code not in (0, NO_TESTS)]
    if not wrong and passed + failed == 0:
        print("No test ran.", file=sys.stderr)
        return NO_TESTS
    return wrong[0] if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
