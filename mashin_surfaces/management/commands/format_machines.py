"""``manage.py format_machines``: ``.mashin`` files in the canonical form."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...exceptions import DefinitionError
from ...machines.files import Examined, collect, lines_of, read_file
from ...machines.formatting import reformat

EPILOG = """\
Examples:
  manage.py format_machines project/machines
  manage.py format_machines --check project/machines   for CI: exit code 1 when a file would change

Of every two spellings the first in the reference is written. Comments are kept; a file whose
comments have no place in the canonical form is left as it is and told.
"""


class Command(BaseCommand):
    help = "Rewrite .mashin files in the canonical form."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EPILOG
        parser.add_argument("paths", nargs="+", metavar="PATH", help="A file or a folder.")
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; say what would change."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            files = collect(options["paths"])
        except FileNotFoundError as error:
            raise CommandError(str(error)) from None
        wrong = changed = 0
        for path in files:
            try:
                source = read_file(path)
                formatted = reformat(source)
            except DefinitionError as error:
                wrong += 1
                for line in lines_of(Examined(path, "", None, tuple(error.problems))):
                    self.stderr.write(line)
                continue
            if formatted != source:
                changed += 1
                self.stdout.write(f"{path} {'would change' if options['check'] else 'changed'}")
                if not options["check"]:
                    _replace(path, formatted)
        if wrong or (changed and options["check"]):
            sys.exit(1)


def _replace(path: Path, text: str) -> None:
    """The whole new file or the whole old one, whatever happens in between."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.chmod(path.stat().st_mode)
    os.replace(beside, path)
