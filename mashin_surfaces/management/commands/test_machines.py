"""``manage.py test_machines``: run the tests that machines carry with them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from ...governance.trial import TestResult, run_tests, tests_of
from ...machines.registry import CompiledMachine, registry
from ...machines.schemas import dumps


class Command(BaseCommand):
    help = "Run the `verifies` tests and the examples of the loaded machines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "Example:\n  manage.py test_machines greeter ticket_router --junit report.xml\n\n"
            "Exit code 1 when a test fails, 2 when a machine is not there."
        )
        parser.add_argument("names", nargs="*", metavar="NAME", help="Default: all machines.")
        parser.add_argument("--json", action="store_true", help="Results as one JSON list.")
        parser.add_argument("--junit", type=Path, metavar="FILE", help="Write a JUnit report.")

    def handle(self, *args: Any, **options: Any) -> None:
        results = self._run(self._machines(options["names"]))
        if options["junit"]:
            options["junit"].write_bytes(junit(results))
        if options["json"]:
            self.stdout.write(dumps([_as_dict(result) for result in results]).decode())
        else:
            self._tell(results)
        if not all(result.passed for result in results):
            sys.exit(1)

    def _machines(self, names: list[str]) -> list[CompiledMachine]:
        machines = registry.refresh().machines
        missing = [name for name in names if name not in machines]
        if missing:
            raise CommandError(
                f"There is no machine {', '.join(missing)}; load it with load_machines.",
                returncode=2,
            )
        return [machines[name] for name in names or sorted(machines)]

    def _run(self, machines: list[CompiledMachine]) -> list[TestResult]:
        total = sum(1 for machine in machines for _ in tests_of(machine.definition))
        results: list[TestResult] = []
        with tqdm(total=total, unit="test", disable=None, leave=False) as progress:
            for machine in machines:
                for result in async_to_sync(run_tests)(machine):
                    results.append(result)
                    progress.update()
        return results

    def _tell(self, results: list[TestResult]) -> None:
        for result in results:
            verdict = "ok" if result.passed else "FAILED"
            self.stdout.write(f"{verdict:7}{result.machine}: {result.test}")
            for line in result.message.splitlines():
                self.stdout.write(f"       {line}")
        failed = sum(not result.passed for result in results)
        self.stdout.write(f"{len(results) - failed} passed, {failed} failed")


def _as_dict(result: TestResult) -> dict[str, Any]:
    return {
        "machine": result.machine,
        "test": result.test,
        "passed": result.passed,
        "message": result.message,
        "duration": round(result.duration, 6),
    }


def junit(results: list[TestResult]) -> bytes:
    """The results as JUnit XML, as CI servers read it."""
    failures = sum(not result.passed for result in results)
    suite = Xml.Element(
        "testsuite", name="machines", tests=str(len(results)), failures=str(failures), errors="0"
    )
    for result in results:
        case = Xml.SubElement(
            suite,
            "testcase",
            classname=result.machine,
            name=result.test,
            time=f"{result.duration:.6f}",
        )
        if result.message:
            Xml.SubElement(
                case, "failure", message=result.message.splitlines()[0]
            ).text = result.message
    report: bytes = Xml.tostring(suite, encoding="utf-8", xml_declaration=True)
    return report
