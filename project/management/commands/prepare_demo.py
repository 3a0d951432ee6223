"""``manage.py prepare_demo``: what ``make run`` does before it serves."""

from __future__ import annotations

import argparse
import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

NAME = "admin"
EPILOG = """\
examples:
  manage.py prepare_demo
  manage.py prepare_demo --new-password
"""


class Command(BaseCommand):
    help = "Migrate, load the demo machines, make the demo's admin; safe to repeat."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-password", action="store_true", help="Give the demo's admin a new password."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0, stdout=self.stdout)
        call_command("load_machines", str(settings.BASE_DIR / "project" / "machines"))
        users = get_user_model()._default_manager
        admin = users.filter(**{get_user_model().USERNAME_FIELD: NAME}).first()
        if admin is None or options["new_password"]:
            password = secrets.token_urlsafe(12)
            if admin is None:
                get_user_model().objects.create_superuser(NAME, password=password)
            else:
                admin.set_password(password)
                admin.save(update_fields=["password"])
            self.stdout.write(
                f"\nAdmin: name {NAME}, password {password}\n"
                "It is shown this once; `make password` makes a new one.\n"
            )
        else:
            self.stdout.write(
                f"Admin: name {NAME}, password as shown at first; `make password` makes a new one."
            )
