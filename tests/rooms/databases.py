"""Databases of which a test has several processes write at once, and the processes.

Each is a database of its own, with the project's tables: what was written is asked for by SQL.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg

from tests.live import ROOT

#: Seconds within which anything happens.
PATIENCE = 250.0
SQLITE = "sqlite:///"
ROOMS = "mashin_surfaces_room"
EVENTS = "mashin_surfaces_roomevent"


def environment(database_url: str, redis_url: str = "") -> dict[str, str]:
    """The variables of a process on a database and, with a URL, a channel layer."""
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }


class SharedDatabase:
    """The database at a URL; it gets its tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.env = environment(url)
        migrate = [sys.executable, "manage.py", "migrate", "--no-input", "-v", "0"]
        subprocess.run(migrate, cwd=ROOT, env=self.env, check=True, timeout=PATIENCE)

    def connect(self) -> Any:
        """A connection that commits each statement, unless a transaction is begun."""
        if self.url.startswith(SQLITE):
            return sqlite3.connect(self.url.removeprefix(SQLITE), isolation_level=None)
        return psycopg.connect(self.url, autocommit=True)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement tells."""
        with closing(self.connect()) as connection:
            return list(connection.execute(statement).fetchall())

    def new_room(self) -> int:
        """A room that nobody else has."""
        values = f"'topic', '{uuid4().hex}', '', '{{}}', 0, 0, '{uuid4().hex}', 'open'"
        ((room,),) = self.rows(
            f"INSERT INTO {ROOMS} (kind, key, machine, state, head, floor, epoch, status, "
            f"created_at) VALUES ({values}, CURRENT_TIMESTAMP) RETURNING id"
        )
        return int(room)


class Appender:
    """A ``tests.rooms.appender`` with these variables; as a context manager it is ready, and gone
    afterwards."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._done: dict[str, asyncio.Future[str]] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.rooms.appender",
            cwd=ROOT,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._complaints = asyncio.create_task(self._process.stderr.read())
        assert await self._process.stdout.readline() == b"ready\n", await self._complaints
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            async with asyncio.timeout(PATIENCE):
                code = await self._process.wait()
            assert (code, (await self._complaints).decode()) == (0, "")
        else:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := (await lines.readline()).decode():
            name, outcome = line.split()
            self._done[name].set_result(outcome)
        for name, done in self._done.items():
            if not done.done():
                complaints = (await self._complaints).decode()
                done.set_exception(AssertionError(f"It ended without {name}:\n{complaints}"))

    def begin(self, what: str, name: str, *words: object) -> asyncio.Future[str]:
        """Have something done; the future tells its outcome."""
        done = self._done[name] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, (what, name, *words, "\n"))).encode())
        return done


async def outcome(of: asyncio.Future[str]) -> str:
    async with asyncio.timeout(PATIENCE):
        return await of
