"""Clients that don't read and clients that flood: memory stays flat, others are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from mashin_surfaces.server.frames import LastText
from tests.server.conftest import PATIENCE, Carrier, handshake, masked, running

MIB = 1024 * 1024
COUNT = 200
#: Bytes that the server may grow by while 200 MiB are on their way.
GROWTH = 20 * MIB


async def chat(carrier: Carrier, rounds: int = 300) -> None:
    """Another socket, which is answered in the meantime."""
    async with carrier.connect("/echo?name=chat") as client:
        for number in range(rounds):
            await client.send(str(number))
            assert await asyncio.wait_for(client.recv(), PATIENCE) == str(number)


@asynccontextmanager
async def stream(
    carrier: Carrier, path: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", carrier.port)
    writer.write(handshake(path))
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_waited_for(own_carrier: Carrier) -> None:
    await chat(own_carrier)
    before = own_carrier.forget_peak()
    with own_carrier.raw(f"/pour?count={COUNT}&size={MIB}") as client:
        assert await own_carrier.seen("poured") >= 1
        await chat(own_carrier)
        assert await own_carrier.seen("poured") < COUNT / 4
        assert own_carrier.peak() - before < GROWTH

        def read() -> int:
            size = 0
            while size < COUNT * (MIB + 10):
                size += len(client.recv(MIB))
            return size

        assert await asyncio.to_thread(read) == COUNT * (MIB + 10)
    assert await own_carrier.seen("poured") == COUNT
    assert (await own_carrier.seen("pour-ended"))["code"] == 1006
    assert own_carrier.peak() - before < GROWTH


async def test_a_sender_is_let_go_when_the_client_that_does_not_read_is_gone(
    own_carrier: Carrier,
) -> None:
    with own_carrier.raw(f"/pour?count=50&size={MIB}"):
        assert 1 <= await own_carrier.seen("poured") < 25
    assert (await own_carrier.seen("pour-ended"))["code"] == 1006


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "count"),
    [pytest.param(MIB, COUNT, id="large"), pytest.param(100, 200_000, id="small")],
)
async def test_a_client_that_floods_is_not_read(
    own_carrier: Carrier, size: int, count: int
) -> None:
    await chat(own_carrier)
    before = own_carrier.forget_peak()
    frame = masked(0x82, bytes(size))
    async with stream(own_carrier, "/drink") as (reader, writer):

        async def flood() -> None:
            for _ in range(count):
                writer.write(frame)
                await writer.drain()
            writer.write(masked(0x88, (1000).to_bytes(2, "big")))

        flooding = asyncio.create_task(flood())
        await chat(own_carrier)
        assert not flooding.done()
        assert own_carrier.peak() - before < GROWTH
        await own_carrier.tell("drink")
        drunk = await asyncio.wait_for(own_carrier.seen("drunk"), 60)
        assert drunk == {"messages": count, "size": count * size, "code": 1000}
        await flooding
        assert await reader.read(10) == b"\x88\x02\x03\xe8"
    assert own_carrier.peak() - before < GROWTH


@pytest.mark.slow
async def test_a_flood_before_the_accept_is_not_read_either(own_carrier: Carrier) -> None:
    await chat(own_carrier)
    before = own_carrier.forget_peak()
    _, writer = await asyncio.open_connection("127.0.0.1", own_carrier.port)
    writer.write(handshake("/hesitate"))
    await own_carrier.seen("hesitating")

    async def flood() -> None:
        for _ in range(COUNT):
            writer.write(masked(0x82, bytes(MIB)))
            await writer.drain()

    flooding = asyncio.create_task(flood())
    await chat(own_carrier)
    assert not flooding.done()
    assert own_carrier.peak() - before < GROWTH
    flooding.cancel()
    writer.transport.abort()


@pytest.mark.slow
async def test_a_client_that_floods_an_echo_and_reads_late_gets_everything(
    own_carrier: Carrier,
) -> None:
    """Both directions stand still, and go on as soon as the client reads."""
    await chat(own_carrier)
    before = own_carrier.forget_peak()
    count, size = 600, 100_000
    async with stream(own_carrier, "/echo") as (reader, writer):

        async def flood() -> None:
            for number in range(count):
                writer.write(masked(0x82, number.to_bytes(2, "big") + bytes(size - 2)))
                await writer.drain()

        flooding = asyncio.create_task(flood())
        await chat(own_carrier)
        assert not flooding.done()
        for number in range(count):
            frame = await asyncio.wait_for(reader.readexactly(size + 10), PATIENCE)
            assert frame[10:12] == number.to_bytes(2, "big")
        await flooding
    assert own_carrier.peak() - before < GROWTH


async def test_a_ping_behind_a_slow_application_does_not_end_the_connection() -> None:
    """While we do not read, no pong can reach us: that is not the client's fault."""
    with running("-v0", "--ping-interval", "1", "--ping-timeout", "1") as server:
        async with stream(server, "/drink") as (reader, writer):
            for _ in range(100):
                writer.write(masked(0x82, b"x"))
            # Read once it may: from then on nobody here answers a ping.
            writer.write(masked(0x88, (1000).to_bytes(2, "big")))
            await writer.drain()
            # Other sockets' pings show that the time in which it would have been dropped is over.
            with server.raw("/echo") as silent, suppress(ConnectionResetError):
                while silent.recv(4096):
                    pass
            await server.tell("drink")
            assert (await server.seen("drunk"))["messages"] == 100
            assert await asyncio.wait_for(reader.readuntil(b"\x88\x02\x03\xe8"), PATIENCE)


def test_a_message_to_many_sockets_is_framed_once() -> None:
    last = LastText()
    text = "x" * 50
    again = last.framed(text)
    assert last.framed(text) is again
    assert last.framed("".join(["x"] * 50)) == again
    assert last.framed("other") == b"\x81\x05other"
