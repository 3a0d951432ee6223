"""``manage.py serve``: the project on our server, in one process or several."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from mashin_surfaces.server.listening import (
    ListenError,
    address_of,
    listening_socket,
    reserved_socket,
)

#: Seconds that an upgrade may take. The ledger has its row first: a database that is busy for some
#: seconds, or a process that was held up, is no reason to refuse it (autobahn's own are 5).
HANDSHAKE = 20

EPILOG = """\
examples:
  manage.py serve
  manage.py serve --bind 0.0.0.0 --port 80 --workers 4

SIGTERM and Ctrl-C end it cleanly. All options of Daphne: see mashin-daphne --help.
"""


class Command(BaseCommand):
    help = "Serve the project's ASGI application (settings.ASGI_APPLICATION)."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1", help="Address (default: 127.0.0.1).")
        parser.add_argument(
            "--port", type=int, default=9000, help="Port (default: 9000; 0: any free one)."
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="Processes on the one port (default: 1)."
        )
        parser.add_argument(
            "--access-log",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="A line on standard output for each request (default: when DEBUG).",
        )
        parser.add_argument(
            "--static",
            action="store_true",
            help="Serve static files also without DEBUG. In production a web server or a CDN "
            "does that.",
        )
        parser.add_argument(
            "--max-message",
            type=int,
            default=1024 * 1024,
            help="Bytes of one websocket message, where its surface says nothing "
            "(default: 1048576).",
        )
        parser.add_argument(
            "--ping-interval",
            type=int,
            default=20,
            help="Seconds of silence on a websocket before a ping (default: 20).",
        )
        parser.add_argument(
            "--ping-timeout",
            type=int,
            default=30,
            help="Seconds that its pong may take before the websocket is dropped (default: 30).",
        )
        parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if not getattr(settings, "ASGI_APPLICATION", None):
            raise CommandError(
                "There is nothing to serve: set ASGI_APPLICATION in the settings, "
                'for example to "project.asgi.application".'
            )
        try:
            if options["workers"] > 1 and not options["worker"]:
                self._supervise(options)
            else:
                self._serve(options)
        except ListenError as error:
            raise CommandError(str(error)) from error

    def _supervise(self, options: dict[str, Any]) -> None:
        if sys.platform == "win32":
            raise CommandError("Windows has no shared ports: serve without --workers.")
        from mashin_surfaces.server.supervisor import supervise

        workers = options["workers"]
        with reserved_socket(options["bind"], options["port"]) as reserved:
            where = f"http://{address_of(reserved)}"
            self._say(f"Serving on {where} (pid {os.getpid()}, {workers} workers)")
            port = reserved.getsockname()[1]
            # The same command line: the last of two options counts.
            command = [sys.executable, *sys.orig_argv[1:], "--worker", f"--port={port}"]
            supervise(command, workers)

    def _serve(self, options: dict[str, Any]) -> None:
        worker = options["worker"]
        if worker:
            from mashin_surfaces.server.supervisor import begin_work

            begin_work()
        listener = listening_socket(options["bind"], options["port"], shared=worker)
        # The server before the application: whoever imports Twisted first chooses the loop.
        from daphne.access import AccessLogGenerator

        from mashin_surfaces.server.server import Server, loop_name

        access_log = options["access_log"]
        if access_log is None:
            access_log = settings.DEBUG
        if access_log and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)

        def ready() -> None:
            pid, loop = os.getpid(), loop_name()
            if worker:
                self._say(f"Worker {pid} is ready ({loop})")
            else:
                self._say(f"Serving on http://{address_of(listener)} (pid {pid}, {loop})")

        server = Server(
            self._application(static=options["static"]),
            sockets=[listener],
            ready_callable=ready,
            action_logger=AccessLogGenerator(self.stdout) if access_log else None,
            root_path=settings.FORCE_SCRIPT_NAME or "",
            ping_interval=options["ping_interval"],
            ping_timeout=options["ping_timeout"],
            websocket_handshake_timeout=HANDSHAKE,
            websocket_max_message_size=options["max_message"],
            websocket_max_frame_size=options["max_message"],
        )
        try:
            server.run()
        finally:
            self._end_threads()

    def _end_threads(self) -> None:
        """What waits is written, and this process is taken out of the database."""
        if apps.is_installed("mashin_surfaces"):
            from mashin_surfaces.composition import end_threads

            end_threads()

    def _application(self, *, static: bool) -> Any:
        try:
            application = import_string(settings.ASGI_APPLICATION)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"ASGI_APPLICATION = {settings.ASGI_APPLICATION!r} can't be imported: {error}"
            ) from error
        return ASGIStaticFilesHandler(application) if static or settings.DEBUG else application

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
