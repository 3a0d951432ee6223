"""A real server with the wire tests' machines, and what the tests ask of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.live import LiveProject

HERE = Path(__file__).resolve().parent
DEADLINE = 30.0
COLUMNS = (
    "id, event, surface, principal, credential, request_id, outcome, code, input, output, steps"
)


def patiently(url: str, **options: Any) -> connect:
    """A client's socket that waits for a server that stands still, and takes whatever comes."""
    return connect(
        url, proxy=None, max_size=None, open_timeout=DEADLINE, ping_interval=None, **options
    )


class Wire:
    """The project as its clients meet it."""

    def __init__(self, project: LiveProject) -> None:
        self.project = project

    def token(self, name: str, *scopes: str, ttl: str = "1h") -> str:
        return self.project.token(name, *scopes, ttl=ttl)

    def api_key(self, name: str) -> str:
        return self.project.api_key(name)

    def revoke(self, key: str) -> None:
        self.project.manage(
            "shell", "-c",
            "from mashin_surfaces.identity.api_keys import revoke\n"
            "from mashin_surfaces.models import ApiKey\n"
            f"revoke(ApiKey.objects.get(pk={key.split('_')[1]!r}))",
        )  # fmt: skip

    def load(self, source: str) -> None:
        file = self.project.folder / "loaded.mashin"
        file.write_text(source)
        self.project.manage("load_machines", str(file))

    def connect(
        self,
        path: str,
        credential: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        subprotocols: list[str] | None = None,
    ) -> connect:
        if credential is not None:
            headers = {"Authorization": f"Bearer {credential}", **(headers or {})}
        return patiently(
            f"ws://{self.project.host}{path}",
            additional_headers=headers,
            subprotocols=subprotocols,
        )

    async def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return await self.request("GET", path, **kwargs)

    async def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
            return await client.request(method, f"http://{self.project.host}{path}", **kwargs)

    def accesses(self, **wanted: str) -> list[dict[str, Any]]:
        """Rows of the ledger, in the order in which they were written."""
        where = " and ".join(f"{name} = ?" for name in wanted)
        with sqlite3.connect(self.project.database_file, timeout=DEADLINE) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute(
                f"select {COLUMNS} from mashin_surfaces_surfaceaccess "
                f"where {where} order by lane, seq",
                tuple(wanted.values()),
            ).fetchall()
        database.close()
        return [dict(row) for row in rows]

    async def eventually(self, look: Callable[[], Any]) -> Any:
        """What ``look`` gives once it gives something."""
        deadline = time.monotonic() + DEADLINE
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not come about"
            await asyncio.sleep(0.02)
        return found

    async def eventually_connect(self, path: str) -> ClientConnection:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                return await self.connect(path)
            except InvalidStatus:
                assert time.monotonic() < deadline, f"{path} did not come up"
                await asyncio.sleep(0.02)

    async def eventually_answers(
        self, socket: ClientConnection, question: Any, wanted: Any
    ) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            await socket.send(json.dumps(question))
            if json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)) == wanted:
                return
            assert time.monotonic() < deadline, "the answer did not change"


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder = tmp_path_factory.mktemp("wire")
    project = LiveProject(
        folder,
        env={"MASHIN_MODULES": "wire_effects", "PYTHONPATH": str(HERE)},
        machines=[HERE / "machines"],
    )
    with project:
        yield Wire(project)
