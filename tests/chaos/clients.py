"""Clients that count what they were told, so that it can be compared with the ledger."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from websockets.asyncio.client import ClientConnection, connect

from tests.live import LiveProject

#: Machines and effects of the wire tests, which are enough to be asked here too.
WIRE = Path(__file__).resolve().parents[1] / "wire"
ENVIRONMENT = {"MASHIN_MODULES": "wire_effects", "PYTHONPATH": str(WIRE)}
#: Seconds within which any question is answered: the writer's patience twice, and some.
DEADLINE = 30.0
UNAVAILABLE = "ledger_unavailable"
ROWS = (
    "select request_id, principal from mashin_surfaces_surfaceaccess"
    " where event = 'message' and outcome = 'allowed'"
)


def tokens(project: LiveProject, names: Sequence[str]) -> dict[str, str]:
    """A JWT for each name, good for everything, in one command."""
    told = project.manage(
        "shell", "-v", "0", "-c",
        "import json\n"
        "from mashin_surfaces.identity.jwt import sign\n"
        "from mashin_surfaces.identity.scopes import Scopes\n"
        f"names = {list(names)!r}\n"
        "print(json.dumps({name: sign(name, Scopes(['*']), 3600)[0] for name in names}))",
    )  # fmt: skip
    made: dict[str, str] = json.loads(told.strip().splitlines()[-1])
    return made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def websocket(
    project: LiveProject, path: str, token: str | None = None, *, envelope: bool = False
) -> connect:
    """A client that may take frames of any size."""
    return connect(
        project.websocket_url(path),
        additional_headers=bearer(token) if token else None,
        subprotocols=["mashin.v1"] if envelope else None,  # type: ignore[list-item]  # plain is fine
        compression=None,
        max_size=None,
        proxy=None,
        open_timeout=DEADLINE,
    )


async def until(look: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """What ``look`` gives once it gives something."""
    end = time.monotonic() + deadline
    while not (found := look()):
        assert time.monotonic() < end, f"within {deadline:g} s this did not come about: {what}"
        await asyncio.sleep(0.02)
    return found


class Asker:
    """Asks, waits for the answer, asks again. ``refusals`` counts codes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = self.results = 0
        self.refusals: Counter[str] = Counter()
        self.slowest = 0.0

    async def ask(self) -> None:
        """One question; its answer must come in time and be its own."""
        self.asked += 1
        begun = time.monotonic()
        code = await asyncio.wait_for(self.answer(self.asked), DEADLINE)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if code is None:
            self.results += 1
        else:
            self.refusals[code] += 1

    async def answer(self, number: int) -> str | None:
        """Send question ``number``; None for the right result, else the refusal's code."""
        raise NotImplementedError

    def known_to(self, rows: Ledger) -> None:
        """Every result has its row; more rows than that only where the outcome was not told."""
        count = rows.by_principal[self.name]
        untold = self.asked - self.results
        assert self.results <= count <= self.results + untold, self.name


class SocketAsker(Asker):
    """Over one websocket, which must stay open."""

    def __init__(self, name: str, socket: ClientConnection) -> None:
        super().__init__(name)
        self.socket = socket

    async def answer(self, number: int) -> str | None:
        question = {"text": f"{self.name}-{number} ", "times": 2}
        await self.socket.send(json.dumps({"id": number, "input": question}))
        frame = json.loads(await self.socket.recv())
        assert frame["id"] == number
        if "error" in frame:
            return str(frame["error"]["code"])
        assert frame["result"]["text"] == f"{self.name}-{number} " * 2
        return None


class ApiAsker(Asker):
    """Over the API, with request ids of its own: each result is looked up by itself."""

    def __init__(self, name: str, client: httpx.AsyncClient) -> None:
        super().__init__(name)
        self.client = client
        self.told: list[str] = []

    async def answer(self, number: int) -> str | None:
        request_id = uuid4().hex
        answer = await self.client.post(
            "/api/wire/echo", json={"text": "hi"}, headers={"X-Request-ID": request_id}
        )
        if answer.status_code == 200:
            assert answer.json() == {"text": "hi", "length": 2}
            self.told.append(request_id)
            return None
        return str(answer.json()["error"]["code"])

    def known_to(self, rows: Ledger) -> None:
        super().known_to(rows)
        assert rows.request_ids.issuperset(self.told)


class Ledger:
    """The rows of messages that were allowed, read past Django."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self.request_ids = {request_id for request_id, _ in rows}
        self.by_principal = Counter(principal for _, principal in rows)

    @classmethod
    def of_postgres(cls, url: str) -> Ledger:
        with psycopg.connect(url) as database:
            return cls(database.execute(ROWS).fetchall())

    @classmethod
    def of_sqlite(cls, file: Path) -> Ledger:
        import sqlite3

        with closing(sqlite3.connect(file, timeout=DEADLINE)) as database:
            return cls(database.execute(ROWS).fetchall())


class Crowd(list[Asker]):
    """Many askers in closed loop."""

    async def got(self, results: int) -> None:
        """Until each has that many results more than now, all of them answered in time."""
        wanted = [(asker, asker.results + results) for asker in self]
        await until(
            lambda: all(asker.results >= count for asker, count in wanted),
            f"{results} more results for each",
        )

    async def refused(self, code: str) -> None:
        """Until each was refused with this code once more than now."""
        wanted = [(asker, asker.refusals[code]) for asker in self]
        await until(
            lambda: all(asker.refusals[code] > count for asker, count in wanted),
            f"{code} for each",
        )


@asynccontextmanager
async def crowd(
    project: LiveProject,
    sockets: Sequence[str],
    apis: Sequence[str] = (),
    askers: Crowd | None = None,
) -> AsyncIterator[Crowd]:
    """Askers by name; while it is open they ask without a pause. What fails in one, fails here.

    ``askers``: an empty crowd to fill, for who wants to look at it after a failure.
    """
    crowd = Crowd() if askers is None else askers
    made = tokens(project, [*sockets, *apis])
    enough = asyncio.Event()

    async def go_on(asker: Asker) -> None:
        while not enough.is_set():
            await asker.ask()

    async def from_socket(name: str) -> None:
        async with websocket(project, "/ws/wire/echo", made[name], envelope=True) as socket:
            asker = SocketAsker(name, socket)
            crowd.append(asker)
            await go_on(asker)

    async def from_api(name: str) -> None:
        async with httpx.AsyncClient(
            base_url=project.url(""), headers=bearer(made[name]), trust_env=False, timeout=DEADLINE
        ) as client:
            asker = ApiAsker(name, client)
            crowd.append(asker)
            await go_on(asker)

    async with asyncio.TaskGroup() as group:
        for name in sockets:
            group.create_task(from_socket(name))
        for name in apis:
            group.create_task(from_api(name))
        await until(lambda: len(crowd) == len(made), "all connected")
        try:
            yield crowd
        finally:
            enough.set()
