"""``manage.py check_machines``: what is wrong with machines, without loading anything."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from ...machines.files import Examined, collect, examine_files, examine_stored, lines_of

EPILOG = """\
Examples:
  manage.py check_machines                        the machines in the database
  manage.py check_machines project/machines       the files in a folder
  manage.py check_machines --json orders.mashin   for editors and CI

Problems are told as file:line:column: message. Exit code 1 when there is an error.
"""


class Command(BaseCommand):
    help = "Check machines: their sources, the names in their expressions, their paths."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EPILOG
        parser.add_argument(
            "paths", nargs="*", metavar="PATH", help="Files or folders; default: what is loaded."
        )
        parser.add_argument("--json", action="store_true", help="Problems as one JSON list.")

    def handle(self, *args: Any, **options: Any) -> None:
        from ...steps import tools
        from ...steps.effects import registry

        registry.discover()
        known = registry.names(), registry.generators(), tools.names()
        if options["paths"]:
            try:
                files = collect(options["paths"])
            except FileNotFoundError as error:
                raise CommandError(str(error)) from None
            examined = examine_files(tqdm(files, unit="file", disable=None, leave=False), *known)
        else:
            examined = examine_stored(*known)
        if options["json"]:
            self.stdout.write(
                json.dumps([entry for item in examined for entry in _as_dicts(item)], indent=2)
            )
        else:
            self._tell(examined)
        if any(item.errors for item in examined):
            sys.exit(1)

    def _tell(self, examined: list[Examined]) -> None:
        for item in examined:
            for line in lines_of(item):
                self.stderr.write(line)
        wrong = sum(bool(item.errors) for item in examined)
        machines = "machine" if len(examined) == 1 else "machines"
        self.stdout.write(f"{len(examined)} {machines} checked, {wrong} with errors.")


def _as_dicts(item: Examined) -> list[dict[str, Any]]:
    return [
        {
            "file": str(item.path),
            "line": problem.line,
            "column": problem.column,
            "severity": problem.severity,
            "message": problem.message,
        }
        for problem in item.problems
    ]
