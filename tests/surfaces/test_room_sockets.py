"""Sockets of panels and buses while something else happens: without a server, frame by frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import OperationalError

from mashin_surfaces.commit import writer
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.identity.scopes import EVERYTHING
from mashin_surfaces.incubators import store as bus_store
from mashin_surfaces.incubators.doors import bus_door
from mashin_surfaces.models import SurfaceAccess
from mashin_surfaces.panels import runner as panel_runner
from mashin_surfaces.panels import store as panel_store
from mashin_surfaces.panels.store import NewPanel
from mashin_surfaces.rooms import doorbell, presence
from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms.hub import Hub, hub
from mashin_surfaces.rooms.models import RoomMember
from mashin_surfaces.surfaces.bus_socket import BusConnection, Query
from mashin_surfaces.surfaces.connection import Connection
from mashin_surfaces.surfaces.panel_socket import PanelConnection, PanelRoute
from mashin_surfaces.surfaces.routes import Route
from mashin_surfaces.timers.clock import clock
from tests.timers.workers import apart

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds within which anything happens.
DEADLINE = 30.0
ADA = Caller(Principal("ada", Credential("none"), EVERYTHING))
SCOPE = {"type": "websocket"}

Frame = dict[str, Any]
Receive = Callable[[], Awaitable[Frame]]
Send = Callable[[Frame], Awaitable[None]]


class Socket:
    """A connection as a server has it, and the client at its other end."""

    def __init__(self, connect: Callable[[Receive, Send], Connection]) -> None:
        self._said: asyncio.Queue[Frame] = asyncio.Queue()
        self._heard: asyncio.Queue[Frame] = asyncio.Queue()
        connection = connect(self._said.get, self._heard.put)
        self.life = asyncio.create_task(connection.live())

    def say(self, type: str, **fields: Any) -> None:
        text = json.dumps({"type": type, **fields})
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    async def until(self, type: str) -> Frame:
        """The next frame of that type."""
        async with asyncio.timeout(DEADLINE):
            while True:
                frame: Frame = json.loads((await self._heard.get()).get("text", '{"type":""}'))
                if frame["type"] == type:
                    return frame

    async def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait([self.life])


@pytest.fixture(autouse=True)
async def listening(transactional_db: None) -> AsyncIterator[Hub]:
    hub().start()
    yield hub()
    await hub().close()
    clock.stop()
    presence.sink.forget()


async def a_panel() -> Socket:
    panel = await apart(panel_store.create, NewPanel("test"))
    route = PanelRoute(panel.room.key, "")
    assert route.door is not None
    door = route.door
    return Socket(
        lambda receive, send: PanelConnection(SCOPE, receive, send, route, ADA, door, panel)
    )


async def a_bus(**query: str) -> Socket:
    bus = await apart(bus_store.find, "bus")
    door = bus_door("observe", "bus")
    route = Route("websocket", "/ws", door)
    asked = Query.of(urlencode({"namespace": "bus", **query}))
    return Socket(
        lambda receive, send: BusConnection(SCOPE, receive, send, route, ADA, door, asked, bus)
    )


@pytest.mark.parametrize("connect", [a_panel, a_bus])
async def test_who_is_cancelled_while_they_join_are_no_members(
    monkeypatch: pytest.MonkeyPatch, connect: Any
) -> None:
    """A server may lose patience with an application whose client has left."""
    joins = asyncio.Event()

    async def join(*_: Any, **__: Any) -> None:
        joins.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Hub, "join", join)
    socket = await connect()
    await asyncio.wait_for(joins.wait(), DEADLINE)
    assert await RoomMember.objects.acount() == 1
    socket.life.cancel()
    await asyncio.wait([socket.life])
    await apart(writer().run_now, lambda connection: None)
    assert not presence.sink.entries
    assert await RoomMember.objects.acount() == 0


async def test_what_is_called_behind_a_reset_is_called_in_the_new_epoch(
    monkeypatch: pytest.MonkeyPatch, listening: Hub
) -> None:
    """Also where nobody rings."""
    monkeypatch.setattr(hub_module, "POLL", 3600.0)
    socket = await a_bus()
    await socket.until("replay_done")
    doorbell.listeners.discard(listening)
    socket.say("reset")
    await socket.until("reset_ack")
    socket.say("dance_call", tool="none", args={}, callId="c1")
    result = (await socket.until("dance_result"))["result"]
    await socket.leave()
    assert result["code"] == "tool"  # of which there is none by this name


async def test_a_trigger_that_is_not_even_begun_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(room: int) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(panel_runner, "_load", load)
    socket = await a_panel()
    await socket.until("CONNECTED")
    socket.say("TRIGGER", tool="any", requestId="r1")
    assert (await socket.until("ERROR"))["requestId"] == "r1"
    await socket.leave()
    rows = SurfaceAccess.objects.filter(event="trigger")
    assert [row.code async for row in rows] == ["ledger_unavailable"]
