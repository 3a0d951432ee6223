"""The reference project as a process of its own: what its users meet, over real sockets.

    with LiveProject(tmp_path, machines=[folder]) as project:
        project.url("/api/greet")                    # http://127.0.0.1:40123/api/greet
        project.token("ada", "machines:run")         # a JWT
        project.manage("verify_ledger")              # what it printed
        project.log_text                             # what the server wrote

Every project has its own database (a SQLite file in its folder, or ``database_url``) and a port
that nobody else has. What is said to it over the sockets is left to the tests.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HOST = "127.0.0.1"
#: Seconds that a server gets to come up; a command, to be done.
PATIENCE = 60.0
#: Seconds that a server gets to end after SIGTERM, as it promises.
FAREWELL = 30.0
#: Seconds between two looks at a process that has no way to call us.
LOOK = 0.05

ServerKind = Literal["serve", "daphne", "uvicorn"]


class LiveProject:
    """A running reference project; as a context manager it is prepared, started and ended.

    ``env``: variables besides the usual ones. ``machines``: files or folders to load at first.
    ``server``: ours (``serve``), or a plain ``daphne`` or ``uvicorn``. ``options``: words for it.
    ``root`` and ``python``: another project's folder, another environment's interpreter.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        machines: Sequence[Path] = (),
        database_url: str | None = None,
        server: ServerKind = "serve",
        options: Sequence[str] = (),
        root: Path = ROOT,
        python: str = sys.executable,
    ) -> None:
        self.folder = folder
        self.database_file = folder / "db.sqlite3"
        self.log = folder / "server.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._machines = machines
        self._server = server
        self._options = options
        self._root = root
        self._python = python
        self._env = self._environment(database_url, env or {})

    def _environment(self, database_url: str | None, env: Mapping[str, str]) -> dict[str, str]:
        # A test run's own settings must not leak into the project that it looks at.
        private = {"PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DEBUG", "REDIS_URL"}
        private |= {"MASHIN_ASK", "MASHIN_MODULES", "BEHIND_TLS", "DATABASE_URL"}
        made = {name: value for name, value in os.environ.items() if name not in private}
        made |= {
            "SECRET_KEY": "live-project-live-project-live-project-live-project",
            "DATABASE_URL": database_url or f"sqlite:///{self.database_file}",
            "ALLOWED_HOSTS": f"{HOST},localhost",
            "PYTHONUNBUFFERED": "1",
        }
        made.update(env)
        return made

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """Make the tables, load the machines."""
        if self._is_ours and self._env["DATABASE_URL"] == f"sqlite:///{self.database_file}":
            names = ("DJANGO_SETTINGS_MODULE", "MASHIN_MODULES", "PYTHONPATH")
            env = tuple((name, self._env[name]) for name in names if name in self._env)
            machines = tuple(self._machines)
            shutil.copyfile(_prepared(env, machines, _changed(machines)), self.database_file)
            return
        self.manage("migrate", "--no-input", "-v", "0")
        self.load()

    def load(self) -> None:
        """Load the machines."""
        if self._machines:
            self.manage("load_machines", *map(str, self._machines))

    @property
    def _is_ours(self) -> bool:
        """Whether it is this tree, run by this interpreter."""
        return (self._root, self._python) == (ROOT, sys.executable)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if self.process is not None:
            raise RuntimeError("The server runs already.")
        with self.log.open("ab") as log:
            if self._server == "serve":
                begin = log.tell()
                self._spawn(["manage.py", "serve", "--port", str(self.port)], log.fileno())
                self.port = self._announced_port(begin)
            else:
                # The socket is open before the server is: no other process can take the port.
                with socket.create_server((HOST, self.port)) as listener:
                    self.port = listener.getsockname()[1]
                    module = ["-m", self._server, "--fd", str(listener.fileno())]
                    self._spawn([*module, "project.asgi:application"], log.fileno(), listener)
        self._wait_until_healthy()

    def _spawn(self, words: list[str], log: int, listener: socket.socket | None = None) -> None:
        self.process = subprocess.Popen(
            [self._python, *words[:-1], *self._options, words[-1]]
            if listener
            else [self._python, *words, *self._options],
            cwd=self._root,
            env=self._env,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()] if listener else [],
            start_new_session=True,
        )

    def _announced_port(self, begin: int) -> int:
        deadline = time.monotonic() + PATIENCE
        while True:
            written = self.log.read_bytes()[begin:].decode(errors="replace")
            if found := re.search(r"^Serving on http://[^\s]+:(\d+)", written, re.MULTILINE):
                return int(found[1])
            self._must_be_alive(deadline)
            time.sleep(LOOK)

    def _wait_until_healthy(self) -> None:
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with opener.open(self.url("/healthz"), timeout=PATIENCE) as answer:
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                self._must_be_alive(deadline)
                time.sleep(LOOK)

    def _must_be_alive(self, deadline: float) -> None:
        assert self.process is not None
        if self.process.poll() is not None or time.monotonic() > deadline:
            self.kill()
            raise AssertionError(f"The server did not come up:\n{self.log_text[-4000:]}")

    def stop(self) -> int:
        """End the server with SIGTERM; returns its exit code. It must not take too long."""
        process = self.process
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"The server did not end within {FAREWELL:g} s of SIGTERM:\n{self.log_text[-4000:]}"
            ) from None
        self.process = None
        return code

    def kill(self) -> None:
        """End the server and all its workers at once, as a power cut would."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    # -- what can be asked of it ------------------------------------------------------------------

    @property
    def host(self) -> str:
        """``127.0.0.1:port``."""
        return f"{HOST}:{self.port}"

    @property
    def log_text(self) -> str:
        """Everything that the server wrote, on both streams, since the first start."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def websocket_url(self, path: str) -> str:
        return f"ws://{self.host}{path}"

    def manage(self, *words: str, must: bool = True) -> str:
        """What ``manage.py words…`` printed; with ``must``, it has to exit with 0."""
        done = self.command(*words)
        if must and done.returncode != 0:
            raise AssertionError(
                f"manage.py {' '.join(words)} exited with {done.returncode}:\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``manage.py words…`` with its exit code and both streams."""
        return subprocess.run(
            [self._python, "manage.py", *words],
            cwd=self._root,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def token(self, name: str, *scopes: str, ttl: str = "1h") -> str:
        """A JWT for the service ``name``; without scopes it holds all.

        Signed here where that is possible: the command takes two seconds, and tests ask often.
        """
        if not self._is_ours:
            return self._credential("jwt", name, scopes, "--ttl", ttl)
        from django.test.utils import override_settings

        from mashin_surfaces.identity import jwt
        from mashin_surfaces.identity.scopes import Scopes
        from mashin_surfaces.machines.quantities import parse_duration

        with override_settings(SECRET_KEY=self._env["SECRET_KEY"], MASHIN_SURFACES={}):
            return jwt.sign(name, Scopes(scopes or ("*",)), parse_duration(ttl))[0]

    def api_key(self, name: str, *scopes: str) -> str:
        """An API key for ``name``; without scopes it holds all."""
        return self._credential("api_key", name, scopes)

    def _credential(self, kind: str, name: str, scopes: Sequence[str], *words: str) -> str:
        wanted = [word for scope in scopes or ("*",) for word in ("--scope", scope)]
        told = self.manage("issue_credential", "--kind", kind, "--name", name, *wanted, *words)
        return told.strip().splitlines()[-1]


def _changed(machines: Sequence[Path]) -> tuple[int, ...]:
    """When files and folders were changed last, in nanoseconds."""
    files = [file for path in machines for file in (path, *sorted(path.glob("*.mashin")))]
    return tuple(file.stat().st_mtime_ns for file in files)


@cache
def _prepared(
    env: tuple[tuple[str, str], ...], machines: tuple[Path, ...], changed: tuple[int, ...]
) -> Path:
    """A database with tables and machines, made once: each project gets a copy."""
    folder = Path(tempfile.mkdtemp(prefix="mashin-prepared-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    project = LiveProject(folder, env=dict(env), machines=machines)
    if machines:
        shutil.copyfile(_prepared(env, (), ()), project.database_file)
        project.load()
    else:
        project.manage("migrate", "--no-input", "-v", "0")
    with closing(sqlite3.connect(project.database_file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it is in the one file
    return project.database_file
