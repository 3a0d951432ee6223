"""``manage.py verify_ledger``: walk the hash chains, name the first bad row."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from ...ledger.models import SurfaceAccess
from ...ledger.verify import BadRow, database, keep, lanes, verify


class Command(BaseCommand):
    help = "Check that no row of the ledger was changed or removed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "Example:\n  manage.py verify_ledger --json\n\n"
            "Exit code 1 when a row is bad, 2 when the ledger or the lane can't be read."
        )
        parser.add_argument("--lane", help="Only this lane.")
        parser.add_argument("--json", action="store_true", help="The result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            names = [options["lane"]] if options["lane"] else lanes()
            bad, rows = self._walk(names)
        except DatabaseError as error:
            raise CommandError(f"The ledger can't be read: {error}", returncode=2) from error
        if options["lane"] and not (rows or bad):
            raise CommandError(
                f"There is no lane {options['lane']}: its name is wrong, or all its rows are gone.",
                returncode=2,
            )
        if not options["lane"]:
            self._keep(len(names), rows, bad)
        if options["json"]:
            told = {"lanes": len(names), "rows": rows, "bad": asdict(bad) if bad else None}
            self.stdout.write(orjson.dumps(told).decode())
        elif bad:
            self.stdout.write(f"BAD {bad}")
        else:
            self.stdout.write(f"{rows} rows in {len(names)} lanes hold.")
        if bad:
            sys.exit(1)

    def _keep(self, lanes: int, rows: int, bad: BadRow | None) -> None:
        """For the dashboard; whoever may only read the ledger gets the result all the same."""
        try:
            keep(lanes, rows, bad)
        except DatabaseError as error:
            self.stderr.write(f"The dashboard won't know of this check: {error}")

    def _walk(self, names: list[str]) -> tuple[BadRow | None, int]:
        done = 0
        rows = SurfaceAccess.objects.using(database())
        total = rows.count() if sys.stderr.isatty() else None
        with tqdm(total=total, unit="row", unit_scale=True, disable=None) as progress:

            def count(rows: int) -> None:
                nonlocal done
                done += rows
                progress.update(rows)

            for name in names:
                bad = verify(name, count)
                if bad is not None:
                    return bad, done
        return None, done
