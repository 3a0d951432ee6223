"""Messages over an open socket: sizes, kinds, order, and what breaks the protocol."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.exceptions import ConnectionClosedError

from tests.server.conftest import PATIENCE, Carrier, masked

SIZES = [0, 1, 125, 126, 127, 1499, 1500, 1501, 65535, 65536, 70_000, 1024 * 1024]


def exactly(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = client.recv(size - len(received))
        assert piece, f"the end after {received!r}"
        received += piece
    return received


@pytest.mark.parametrize("size", SIZES)
async def test_text_and_bytes_of_every_length_come_back_as_they_were(
    carrier: Carrier, size: int
) -> None:
    async with carrier.connect("/echo") as client:
        for message in (
            "ä" * (size // 2) + "x" * (size % 2),
            bytes(range(256)) * (size // 256 + 1),
        ):
            await client.send(message[:size])
            assert await asyncio.wait_for(client.recv(), PATIENCE) == message[:size]


async def test_empty_frames_are_sent(carrier: Carrier) -> None:
    async with carrier.connect("/greet", subprotocols=["one"]) as client:
        await client.recv()
        assert await client.recv() == ""
        assert await client.recv() == b""


async def test_fragments_make_one_message_also_with_a_ping_between_them(carrier: Carrier) -> None:
    with carrier.raw("/echo") as client:
        client.sendall(masked(0x01, b"one "))
        client.sendall(masked(0x89, b"alive?"))
        assert exactly(client, 8) == b"\x8a\x06alive?"
        client.sendall(masked(0x00, b"mess"))
        client.sendall(masked(0x80, b"age"))
        assert exactly(client, 13) == b"\x81\x0bone message"


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 11])
async def test_frames_may_come_in_pieces_of_any_length(carrier: Carrier, piece: int) -> None:
    messages = [b"a", b"", b"bc" * 40, b"d" * 126, b"e" * 300]
    stream = b"".join(masked(0x82, message) + masked(0x89, b"!") for message in messages)
    with carrier.raw("/echo") as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stream), piece):
            client.sendall(stream[start : start + piece])
        echoes: list[bytes] = []
        pongs = 0
        while len(echoes) < len(messages) or pongs < len(messages):  # pongs may overtake echoes
            first, length = exactly(client, 2)
            if length == 126:
                length = int.from_bytes(exactly(client, 2), "big")
            payload = exactly(client, length)
            if first == 0x8A:
                pongs += 1
            else:
                echoes.append(payload)
        assert echoes == messages


async def test_many_messages_at_once_come_back_in_order(carrier: Carrier) -> None:
    async with carrier.connect("/echo") as client:
        sent = [f"{number} " + "x" * (number * 37 % 3000) for number in range(2000)]

        async def send() -> None:
            for message in sent:
                await client.send(message)

        sending = asyncio.create_task(send())
        assert [await asyncio.wait_for(client.recv(), PATIENCE) for _ in sent] == sent
        await sending


async def test_pings_are_answered_among_messages(carrier: Carrier) -> None:
    async with carrier.connect("/echo") as client:
        for number in range(20):
            pong = await client.ping()
            await client.send(str(number))
            await asyncio.wait_for(pong, PATIENCE)
            assert await client.recv() == str(number)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(masked(0x81, b"\xff\xfe"), 1007, id="a text that is not UTF-8"),
        pytest.param(masked(0x81, b"\xed\xa0\x80"), 1007, id="a surrogate"),
        pytest.param(b"\x81\x02hi", 1002, id="a frame without a mask"),
        pytest.param(masked(0x83, b""), 1002, id="an unknown opcode"),
        pytest.param(masked(0xC1, b"hi"), 1002, id="a reserved bit"),
        pytest.param(masked(0x80, b"hi"), 1002, id="a continuation of nothing"),
        pytest.param(masked(0x09, b""), 1002, id="a ping in pieces"),
        pytest.param(b"\x81\xfe\x00\x05\0\0\0\0hello", 1002, id="a length written too long"),
    ],
)
async def test_what_breaks_the_protocol_is_told_by_its_close_code(
    carrier: Carrier, frame: bytes, code: int
) -> None:
    with carrier.raw("/echo?name=broken") as client:
        client.sendall(masked(0x81, b"fine") + frame + masked(0x81, b"never heard"))
        received = exactly(client, 6 + 4)
        if received[:2] == b"\x81\x04":  # what came before is answered, or overtaken by the close
            received = received[6:]
        assert received[0] == 0x88
        assert int.from_bytes(received[2:4], "big") == code
        while client.recv(4096):
            pass
    assert (await carrier.seen("broken"))["type"] == "websocket.disconnect"


async def test_a_message_over_the_servers_limit_is_1009(carrier: Carrier) -> None:
    """The client gets to read it, although it is still sending."""
    with carrier.raw("/echo?name=oversize") as client:
        client.sendall(masked(0x82, bytes(1024 * 1024)))
        assert exactly(client, 10 + 1024 * 1024)[10:] == bytes(1024 * 1024)
        client.sendall(masked(0x82, bytes(8 * 1024 * 1024)))
        first, length = exactly(client, 2)
        assert first == 0x88
        assert exactly(client, length)[:2] == (1009).to_bytes(2, "big")
        assert client.recv(1) == b""
    assert (await carrier.seen("oversize"))["code"] == 1009


async def test_the_application_sets_the_limit_of_its_socket(carrier: Carrier) -> None:
    async with carrier.connect("/echo?limit=10") as client:
        await client.send("x" * 10)
        assert await client.recv() == "x" * 10
        await client.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_limit_holds_for_the_sum_of_fragments(carrier: Carrier) -> None:
    with carrier.raw("/echo?limit=10") as client:
        client.sendall(masked(0x01, b"x" * 6) + masked(0x80, b"x" * 6))
        assert exactly(client, 4)[2:] == (1009).to_bytes(2, "big")


async def test_the_application_may_raise_the_limit(carrier: Carrier) -> None:
    async with carrier.connect("/echo?limit=8000000") as client:
        await client.send(b"x" * 8_000_000)
        assert len(await client.recv()) == 8_000_000
