"""Getting in, staying in, being told why not; and reading too slowly."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mashin_surfaces.client import (
    BusEvent,
    ClientError,
    Closed,
    ConnectionState,
    IncubatorClient,
    MachineClient,
    PanelClient,
    Refused,
)
from tests.client.conftest import Server, soon, take

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_it_needs_no_django() -> None:
    said = "import sys, mashin_surfaces.client; print({'django', 'channels'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", said],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


# -- refused --------------------------------------------------------------------------------------


async def refused(client: PanelClient | MachineClient | IncubatorClient) -> Refused:
    """How it is refused; one that gets in fails the test."""
    with pytest.raises(Refused) as caught:
        await soon(client.__aenter__())
    assert client.connection_state == "closed"
    return caught.value


async def test_who_is_not_let_in_is_told_why(server: Server) -> None:
    nowhere = await refused(PanelClient(server.url("/panels/nowhere/ws"), **server.options()))
    assert (nowhere.status, nowhere.code) == (404, "not_found")
    wrong = server.options(token="msk_wrong_wrong")
    nobody = await refused(PanelClient(server.url("/panels/nowhere/ws"), **wrong))
    assert (nobody.status, nobody.code) == (401, "unauthenticated")
    odd = await refused(IncubatorClient(server.url("/ws"), namespace="No!", **server.options()))
    assert odd.code == "invalid_input"
    assert "namespace" in odd.message


@asynccontextmanager
async def mute_proxy(server: Server) -> AsyncIterator[str]:
    """A proxy that passes on why an upgrade is refused only to who asks with a GET."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" in head.lower():
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        else:
            host, _, port = server.project.host.partition(":")
            answers, behind = await asyncio.open_connection(host, int(port))
            behind.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            writer.write(await answers.read())
            behind.close()
            await behind.wait_closed()
        writer.close()
        await writer.wait_closed()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxy:
        host, port = proxy.sockets[0].getsockname()
        yield f"ws://{host}:{port}"


async def test_where_the_upgrade_says_nothing_a_get_does(server: Server) -> None:
    async with mute_proxy(server) as address:
        wrong = server.options(token="msk_wrong_wrong")
        why = await refused(MachineClient(f"{address}/ws/wire/echo", **wrong))
    assert (why.status, why.code) == (401, "unauthenticated")
    assert "key" in why.message


async def test_a_panel_that_is_deleted_ends_its_clients(server: Server) -> None:
    url = await server.panel(add="panel.add")
    async with PanelClient(url, **server.options()) as client:
        events = client.events()
        headers = {"Authorization": f"Bearer {server.token}"}
        await server.wire.request("DELETE", f"/panels/{client.panel_id}", headers=headers)
        with pytest.raises(Closed):
            await soon(anext(events))
        with pytest.raises(Closed):
            await soon(client.trigger("add"))


# -- credentials ----------------------------------------------------------------------------------


async def test_fresh_credentials_are_asked_for_when_the_old_ones_expire(server: Server) -> None:
    url = server.bus()
    tokens = [server.project.token("ada", ttl="10s"), server.token]
    asked: list[str] = []
    states: list[ConnectionState] = []

    async def token() -> str:
        asked.append(tokens[min(len(asked), 1)])
        return asked[-1]

    options = server.options(token=token, on_state=states.append)
    async with (
        IncubatorClient(url, **options) as bus,
        IncubatorClient(url, **server.options()) as other,
    ):
        events = bus.events(BusEvent)
        number = 0
        while len(asked) < 2:
            number += 1
            await soon(other.publish("n", number))
            await take(events, 1)
        await soon(bus.publish("last"))
        assert [event.id for event in await take(events, 1)] == [number + 1]
    assert asked == tokens
    assert (states[0], states[-2:]) == ("connecting", ["open", "closed"])


async def test_without_fresh_credentials_it_ends(server: Server) -> None:
    options = server.options(token=server.project.token("ada", ttl="10s"))
    async with IncubatorClient(server.bus(), **options) as bus:
        with pytest.raises(ClientError) as caught:
            await soon(anext(bus.events()))
        assert caught.value.code == "unauthenticated"


# -- reading --------------------------------------------------------------------------------------


async def test_who_reads_slowly_holds_up_the_socket_and_gets_everything(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, most_events=5, **server.options()) as slow,
        IncubatorClient(url, **server.options()) as writer,
    ):
        events = slow.events(BusEvent)
        ids = await soon(asyncio.gather(*(writer.publish("n") for _ in range(50))))
        assert len(events) <= 10
        told = await take(events, 50)
        assert [event.id for event in told] == sorted(ids)


async def test_who_asks_and_does_not_read_is_told_so(server: Server) -> None:
    url = server.bus()
    async with (
        IncubatorClient(url, most_events=2, **server.options()) as slow,
        IncubatorClient(url, **server.options()) as writer,
    ):
        events = slow.events(BusEvent)
        await soon(asyncio.gather(*(writer.publish("n") for _ in range(10))))
        with pytest.raises(ClientError) as caught:
            await soon(slow.publish("mine"))
        assert caught.value.code == "slow_reader"
        assert len(await take(events, 10)) == 10


async def test_what_waits_when_it_is_closed_fails(server: Server) -> None:
    async with IncubatorClient(server.bus(), **server.options()) as bus:
        events = bus.events()
        waiting = asyncio.create_task(bus.wait("never"))
        assert await soon(bus.wait(timeout=0)) is None
    with pytest.raises(Closed):
        await soon(waiting)
    assert [event async for event in events] == []
    with pytest.raises(Closed):
        await soon(bus.publish("late"))
