"""``manage.py load_machines``: machines from ``.mashin`` files into the database."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from ...machines.files import FilesError, collect, examine_files, lines_of, store_files

EPILOG = """\
Example:
  manage.py load_machines project/machines shop/orders.mashin

Prints "name revision created|updated|unchanged" for each machine. When something is wrong in one
file nothing is loaded: every problem is told as file:line:column, and the exit code is 1.
"""


class Command(BaseCommand):
    help = "Load machines from .mashin files, or from all of them in a folder."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EPILOG
        parser.add_argument("paths", nargs="+", metavar="PATH", help="A file or a folder.")

    def handle(self, *args: Any, **options: Any) -> None:
        from ...machines.models import Machine
        from ...steps import tools
        from ...steps.effects import registry

        registry.discover()
        try:
            files = collect(options["paths"])
        except FileNotFoundError as error:
            raise CommandError(str(error)) from None
        progress = tqdm(files, unit="file", disable=None, leave=False)
        sources = {*tools.names(), *Machine.objects.values_list("name", flat=True)}
        examined = examine_files(progress, registry.names(), registry.generators(), sources)
        for item in examined:
            for line in lines_of(item, "warning"):
                self.stderr.write(line)
        try:
            stored = store_files(examined)
        except FilesError as error:
            for item in error.examined:
                for line in lines_of(item, "error"):
                    self.stderr.write(line, self.style.ERROR)
            self.stderr.write("Nothing was loaded.")
            sys.exit(1)
        for one in stored:
            self.stdout.write(f"{one.machine.name} {one.machine.revision} {one.status}")
