"""Real servers with the tests' tools, and clients that speak the panel dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.live import LiveProject
from tests.wire.conftest import DEADLINE, Wire, patiently

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {
    "MASHIN_MODULES": "panel_tools",
    "PYTHONPATH": str(HERE),
    "DJANGO_SETTINGS_MODULE": "panel_settings",
}

Frame = dict[str, Any]
_numbers = count(1)


class Client:
    """One socket; ``fold`` is the state as its PATCHes tell it."""

    def __init__(self, socket: ClientConnection, hello: Frame) -> None:
        self.socket = socket
        self.hello = hello
        self.fold: dict[str, Any] = dict(hello["state"])

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def trigger(self, tool: str, args: Any = None, id: str | None = None, **more: Any) -> str:
        """Send a TRIGGER; its requestId."""
        id = id or f"r{next(_numbers)}"
        await self.say(type="TRIGGER", tool=tool, args=args, requestId=id, **more)
        return id

    async def hear(self, seconds: float = DEADLINE) -> Frame:
        frame: Frame = json.loads(await asyncio.wait_for(self.socket.recv(), seconds))
        if frame["type"] == "PATCH":
            for mutation in frame["mutations"]:
                key = _key(mutation["key"])
                if mutation["op"] == "set":
                    self.fold[key] = mutation["value"]
                else:
                    self.fold.pop(key, None)
        return frame

    async def until(self, type: str, **wanted: Any) -> list[Frame]:
        """The frames up to and with the first of that type with these fields."""
        heard: list[Frame] = []
        while True:
            heard.append(await self.hear())
            last = heard[-1]
            if last["type"] == type and all(last.get(key) == wanted[key] for key in wanted):
                return heard

    async def run(self, tool: str, args: Any = None, **more: Any) -> Frame:
        """Trigger a tool; its ExecutionResult."""
        id = await self.trigger(tool, args, **more)
        found: Frame = (await self.until("RESULT", requestId=id))[-1]["result"]
        return found

    async def refused(self, tool: str, args: Any = None, **more: Any) -> Frame:
        """Trigger a tool that is not run; the ERROR."""
        id = await self.trigger(tool, args, **more)
        return (await self.until("ERROR", requestId=id))[-1]

    async def quiet(self) -> list[Frame]:
        """What came until now: everything before a PONG."""
        await self.say(type="PING")
        return (await self.until("PONG"))[:-1]


class Panels(Wire):
    """A project whose panels are talked to."""

    def __init__(self, project: LiveProject) -> None:
        super().__init__(project)
        self.all = lru_cache(maxsize=None)(lambda *scopes: self.token(_name(scopes), *scopes))

    async def http(
        self, method: str, path: str, body: Any = None, token: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.all()}", **more.pop("headers", {})}
        content = None if body is None else json.dumps(body)
        return await self.request(method, path, content=content, headers=headers, **more)

    async def create(
        self,
        tools: Sequence[str | dict[str, Any]] = (),
        state: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """A new panel; a tool that is only named is that handler, triggered by hand."""
        made = [_tool(each) for each in tools]
        body = {"kind": "test", "tools": made, "initialState": state or {}, **more}
        answer = await self.http("POST", "/panels", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def state(self, panel: str) -> Any:
        answer = await self.http("GET", f"/panels/{panel}/state")
        assert answer.status_code == 200
        return answer.json()

    async def events(self, panel: str, since: int = 0) -> list[Frame]:
        answer = await self.http("GET", f"/panels/{panel}/events?since={since}")
        found: list[Frame] = answer.json()["events"]
        return found

    @asynccontextmanager
    async def client(
        self, panel: str, token: str | None = None, **query: Any
    ) -> AsyncIterator[Client]:
        words = urlencode({"token": token or self.all(), **query})
        url = self.project.websocket_url(f"/panels/{panel}/ws?{words}")
        # With a bounded queue, frames that nobody reads would hold up the closing handshake.
        async with patiently(url, max_queue=None) as socket:
            hello = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
            assert hello["type"] == "CONNECTED", hello
            yield Client(socket, hello)

    def triggers(self, panel: str) -> list[dict[str, Any]]:
        """The ledger's rows of triggers of a panel."""
        return self.accesses(surface=f"panel:{panel}", event="trigger")


def _name(scopes: tuple[str, ...]) -> str:
    return "ada" if not scopes else "-".join(scopes).replace(":", "-").replace("*", "x")


def _key(spelled: str) -> str:
    """The top-level key; a tool changes no other, so a JSON Pointer has one part."""
    if not spelled.startswith("/"):
        return spelled
    (part,) = spelled[1:].split("/")
    return part.replace("~1", "/").replace("~0", "~")


def _tool(each: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(each, str):
        return {"name": each, "handler": f"panel.{each}", "trigger": {"type": "manual"}}
    return each


@pytest.fixture(scope="session")
def panels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panels]:
    """One server for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("panels")
    with LiveProject(folder, env=ENVIRONMENT) as project:
        yield Panels(project)
