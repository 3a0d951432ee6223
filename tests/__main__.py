"""``python -m tests``: the fast tests on all cores, then the slow ones one by one, and the sum.

Arguments go to pytest, both times.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
SLOW = "slow or browser or chaos"
PARTS = {
    "fast": ["-m", f"not ({SLOW})", "-n", "auto", "--dist", "worksteal"],
    "slow": ["-m", SLOW],
}
#: pytest's exit code when there was nothing to run.
NO_TESTS = 5


def play(part: list[str], extra: list[str], report: Path) -> int:
    command = [sys.executable, "-m", "pytest", *part, f"--junit-xml={report}", *extra]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


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
    passed, failed, skipped = (sum(numbers) for numbers in zip(*counts, strict=True))
    print(f"All tests: {passed} passed, {failed} failed, {skipped} skipped")
    wrong = [code for code in codes if code not in (0, NO_TESTS)]
    if not wrong and passed + failed == 0:
        print("No test ran.", file=sys.stderr)
        return NO_TESTS
    return wrong[0] if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
