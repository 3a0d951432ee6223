"""HTTP responses in pieces: a client that does not read is waited for, and not for ever."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.server.conftest import PATIENCE, Carrier, ending, handshake, masked, running
from tests.server.test_http import response_to
from tests.server.test_memory import GROWTH, MIB, chat
from tests.server.test_messages import exactly


@contextmanager
def begun(carrier: Carrier, path: str) -> Iterator[socket.socket]:
    """A request whose response nobody has read any of."""
    with socket.create_connection(("127.0.0.1", carrier.port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, MIB])
async def test_an_endless_response_that_nobody_reads_costs_no_memory(
    own_carrier: Carrier, size: int
) -> None:
    await chat(own_carrier)
    before = own_carrier.forget_peak()
    with begun(own_carrier, f"/flow?size={size}") as client:
        flowed, standing = await own_carrier.seen("flowed"), 0
        while flowed != standing:  # the operating system takes some first
            await chat(own_carrier)
            assert own_carrier.peak() - before < GROWTH
            flowed, standing = await own_carrier.seen("flowed"), flowed
        for _ in range(50):
            await asyncio.to_thread(exactly, client, MIB)
        assert await own_carrier.seen("flowed") > standing
    assert await own_carrier.seen("flow-ended") == {"type": "http.disconnect"}
    assert own_carrier.peak() - before < GROWTH


def impatient(timeout: int = 1) -> AbstractContextManager[Carrier]:
    """A server that drops after so many seconds, and one more."""
    return running("-v0", "--ping-interval", "1", "--ping-timeout", str(timeout))


def test_a_response_in_pieces_arrives_whole_and_its_connection_is_used_again(
    carrier: Carrier,
) -> None:
    with response_to(carrier, f"/whole?count=20&size={MIB}") as response:
        assert len(response.read()) == 20 * MIB
    whole = b"\r\n3\r\n\0\0\0\r\n0\r\n\r\n"
    with begun(carrier, "/whole?count=1&size=3") as client:
        for _ in range(3):
            received = b""
            while not received.endswith(whole):
                received += exactly(client, 1)
            client.sendall(b"GET /whole?count=1&size=3 HTTP/1.1\r\nHost: localhost\r\n\r\n")


async def test_an_application_that_never_asks_for_the_client_starves_nobody(
    own_carrier: Carrier,
) -> None:
    with begun(own_carrier, "/deaf"):
        await own_carrier.seen("deaf")
        await chat(own_carrier)
    await chat(own_carrier)


@pytest.mark.slow
async def test_a_client_that_takes_nothing_is_dropped() -> None:
    with impatient() as server, begun(server, f"/flow?size={MIB}") as client:
        await asyncio.to_thread(is_gone, client)  # no socket of ours has pings to answer meanwhile
        assert await server.seen("flow-ended") == {"type": "http.disconnect"}
        with pytest.raises(ConnectionResetError):
            exactly(client, 1024 * MIB)


def is_gone(client: socket.socket) -> None:
    """Returns when the other side has dropped it, without reading anything."""
    looks = select.poll()
    looks.register(client, 0)
    assert looks.poll(1000 * PATIENCE), "it was not dropped"


@pytest.mark.slow
async def test_a_client_that_takes_little_is_not_dropped() -> None:
    """It reads at every ping of another socket, for longer than one that takes nothing may stay."""
    with (
        impatient(8) as server,  # so that a busy machine is in time with its pongs
        begun(server, f"/flow?size={64 * MIB}") as client,
        server.raw("/echo") as clock,
    ):

        def read_slowly() -> None:
            for _ in range(7):
                ping, length = exactly(clock, 2)
                assert ping == 0x89
                clock.sendall(masked(0x8A, exactly(clock, length)))
                exactly(client, 2 * MIB)

        await asyncio.to_thread(read_slowly)


@pytest.mark.slow
async def test_a_client_that_goes_when_its_time_is_over_ends_nobodys_pings() -> None:
    with running("-v0", "--http-timeout", "1", "--ping-interval", "1") as server:
        with begun(server, "/deaf"):
            await server.seen("deaf")
        with server.raw("/echo") as client:  # looked at behind the other one, and due behind it
            assert await asyncio.to_thread(exactly, client, 1) == b"\x89"


async def test_an_event_stream_is_ended_when_the_server_stops(own_carrier: Carrier) -> None:
    with begun(own_carrier, "/flow?size=10&type=text/event-stream"):
        await own_carrier.seen("flowed")
        log = await asyncio.to_thread(own_carrier.stop)
    assert "flow ended: http.disconnect" in log
    assert "Traceback" not in log


async def test_an_event_stream_that_begins_while_the_server_stops_is_ended_too(
    own_carrier: Carrier,
) -> None:
    with begun(own_carrier, "/flow?size=10&type=text/event-stream&late=yes"):
        await own_carrier.seen("flow-waits")
        with ending(own_carrier) as client:
            client.sendall(handshake("/tell/begin"))
    assert "flow ended: http.disconnect" in own_carrier.log.read_text()
