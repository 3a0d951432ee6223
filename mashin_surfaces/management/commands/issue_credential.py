"""``manage.py issue_credential``: a token or an API key for a service or a user."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mashin_surfaces.dialects.incubator import MOST_NAME
from mashin_surfaces.identity import api_keys, jwt
from mashin_surfaces.identity.scopes import Scopes
from mashin_surfaces.identity.subjects import user_named
from mashin_surfaces.machines.quantities import parse_duration

EPILOG = """\
examples:
  manage.py issue_credential --kind jwt --name ci --scope machines:run --ttl 1h
  manage.py issue_credential --kind jwt --name swarm --scope bus --agent 'worker-*' --agent judge
  manage.py issue_credential --kind api_key --name billing --scope machines:run:invoice --ttl 90d
  manage.py issue_credential --kind api_key --name laptop --owner alice --scope '*'

The credential stands alone on the last line of standard output:
  TOKEN=$(manage.py issue_credential --kind jwt --name ci --scope machines:run)
"""

#: What a token has when nothing is said; an API key has no end then.
JWT_TTL = "1h"


class Command(BaseCommand):
    help = "Issue a JWT or an API key; it is shown once, on the last line of standard output."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--kind", required=True, choices=("jwt", "api_key"))
        parser.add_argument(
            "--name",
            required=True,
            help="Who it is for. A JWT with a user's name is that user's; any other is a service.",
        )
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            help="What it may be used for, e.g. machines:run; * stands for anything. Repeatable.",
        )
        parser.add_argument(
            "--ttl",
            help=f"How long it is good: 90s, 30m, 1h, 7d (JWT: {JWT_TTL}; API key: no end).",
        )
        parser.add_argument(
            "--owner", help="API key only: the user whose key it is; it can do what they may."
        )
        parser.add_argument(
            "--agent",
            action="append",
            type=_agent,
            help="JWT only: an agent that it may act as in incubators, or a glob. Repeatable.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            scopes = Scopes(options["scope"])
            issue = self._jwt if options["kind"] == "jwt" else self._api_key
            text, facts = issue(scopes, options)
        except (ValueError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from None
        for line in facts:
            self.stderr.write(line)
        if not scopes.names:
            self.stderr.write("It holds no scope: add --scope machines:run to let it run machines.")
        self.stderr.write("Shown once: keep it now.")
        self.stdout.write(text)

    def _jwt(self, scopes: Scopes, options: dict[str, Any]) -> tuple[str, list[str]]:
        name, ttl, agents = options["name"], options["ttl"], options["agent"]
        if options["owner"] is not None:
            raise CommandError("--owner is for API keys: a JWT is the user's whom --name names.")
        user = user_named(name)
        if user is not None and not user.is_active:
            raise CommandError(f'The user "{name}" is not active: the token would be refused.')
        token, claims = jwt.sign(
            name, scopes, parse_duration(ttl or JWT_TTL), is_user=user is not None, agents=agents
        )
        whose = f'the service "{name}"' if user is None else f'the user "{name}"'
        end = datetime.fromtimestamp(claims["exp"], UTC)
        facts = [f"JWT {claims['jti']} of {whose}, good until {end:%Y-%m-%d %H:%M:%S} UTC."]
        if agents is not None:
            facts.append(f"In incubators it may act as {', '.join(agents)}.")
        return token, facts

    def _api_key(self, scopes: Scopes, options: dict[str, Any]) -> tuple[str, list[str]]:
        name, ttl, owner = options["name"], options["ttl"], options["owner"]
        if options["agent"] is not None:
            raise CommandError(
                "--agent is for JWTs: an API key has no place for it, and acts as agents of its "
                "own alone. Issue a token: --kind jwt."
            )
        user = None if owner is None else user_named(owner)
        if owner is not None and user is None:
            raise CommandError(f'There is no user "{owner}".')
        if user is not None and not user.is_active:
            raise CommandError(f'The user "{owner}" is not active: the key would be refused.')
        key, text = api_keys.issue(
            name, scopes.names, owner=user, ttl=None if ttl is None else parse_duration(ttl)
        )
        whose = f'the service "{name}"' if user is None else f'the user "{owner}"'
        end = "revoked" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        return text, [f"API key {key.id} of {whose}, good until {end}."]


def _agent(text: str) -> str:
    """A name that an agent can have, or a glob of them."""
    if not 0 < len(text) <= MOST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text!r} names no agent: it is 1 to {MOST_NAME} characters, all printable."
        )
    return text
