"""``manage.py trim_rooms``: take away what rooms do not keep, now."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from ...rooms.models import Room
from ...rooms.retention import Trimmed, trim, would_trim


class Command(BaseCommand):
    help = 'Take away the events and rooms that MASHIN_SURFACES["ROOMS"] does not keep.'

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "Example:\n  manage.py trim_rooms --kind topic\n\n"
            "A server does the same every 5 minutes. Exit code 2 when the database can't be used."
        )
        parser.add_argument("--kind", choices=Room.Kind.values, help="Only rooms of this kind.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would go.")

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["kind"]
        try:
            if options["dry_run"]:
                self.stdout.write(f"{_said(would_trim(kind))} would go.")
            else:
                self.stdout.write(f"{_said(self._trim(kind))} are gone.")
        except DatabaseError as error:
            raise CommandError(
                f"The rooms can't be trimmed: {error}. What went before is gone; run it again.",
                returncode=2,
            ) from error

    def _trim(self, kind: str | None) -> Trimmed:
        # Shown once it takes longer than a second.
        with tqdm(unit="event", unit_scale=True, disable=None, delay=1) as bar:

            def show(events: int, rooms: int) -> None:
                bar.update(events)

            return trim(kind, progress=show)


def _said(trimmed: Trimmed) -> str:
    return f"{trimmed.events} events and {trimmed.rooms} rooms"
