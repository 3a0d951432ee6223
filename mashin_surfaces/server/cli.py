"""``mashin-daphne``: Daphne's command line, with all its options, in front of our server."""

from __future__ import annotations

from mashin_surfaces.server.server import Server  # before Daphne chooses a reactor

from daphne.cli import CommandLineInterface  # isort: skip


class HardenedCommandLine(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's command line."""

    server_class = Server


def main() -> None:
    """The console script."""
    HardenedCommandLine.entrypoint()
