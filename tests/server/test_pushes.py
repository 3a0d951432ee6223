"""The extension ``mashin_surfaces.push``: texts that reach an idle socket without a coroutine."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.conftest import PATIENCE, Carrier, masked


async def test_pushed_texts_arrive_in_order_and_before_what_is_sent_later(
    carrier: Carrier,
) -> None:
    async with carrier.connect("/push?count=3&size=4") as client:
        await client.send("go")
        received = [await asyncio.wait_for(client.recv(), PATIENCE) for _ in range(4)]
    assert received == ["   0", "   1", "   2", "end"]


async def test_a_push_on_a_socket_that_is_not_open_is_refused(carrier: Carrier) -> None:
    async with carrier.connect("/push?count=1&size=1") as client:
        await client.send("go")
        await client.recv()
    assert await carrier.seen("pushed") == {"early": False, "said": [True]}
    assert await carrier.seen("push-ended") is False


@pytest.mark.parametrize("size", [1000, 200_000])
async def test_a_socket_that_is_not_idle_takes_no_push_and_what_was_taken_arrives_whole(
    own_carrier: Carrier, size: int
) -> None:
    """The client reads nothing until all pushes are done, so the operating system is full."""
    count = 40_000_000 // size
    with own_carrier.raw(f"/push?count={count}&size={size}") as slow:
        slow.sendall(masked(0x81, b"go"))
        said = (await own_carrier.seen("pushed"))["said"]
        taken = sum(said)
        assert 0 < taken < count
        assert said == [True] * taken + [False] * (count - taken)

        def read() -> bytes:
            received = b""
            pieces = []
            while not received.endswith(b"\x81\x03end"):
                pieces.append(slow.recv(1024 * 1024))
                received = (received + pieces[-1])[-5:]
            return b"".join(pieces)

        header = b"\x81\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x81\x7f"
        header += b"" if size < 65536 else size.to_bytes(8, "big")
        expected = b"".join(header + f"{number:{size}}".encode() for number in range(taken))
        assert await asyncio.to_thread(read) == expected + b"\x81\x03end"
