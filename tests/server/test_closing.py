"""How a socket ends: codes and reasons both ways, failures, and what the application is told."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.server.conftest import PATIENCE, Carrier

SENDABLE = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4000, 4408, 4999]
NEVER_SENT = [999, 1004, 1005, 1006, 1015, 2000, 5000]


async def ended(carrier: Carrier, path: str, message: str | None = None) -> Close | None:
    """The close frame that a client receives."""
    async with carrier.connect(path) as client:
        if message is not None:
            await client.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), PATIENCE)
        return closed.value.rcvd


@pytest.mark.parametrize("code", SENDABLE)
async def test_a_code_and_its_reason_are_sent(carrier: Carrier, code: int) -> None:
    assert await ended(carrier, f"/close?code={code}&reason=that+is+why") == Close(
        code, "that is why"
    )
    assert await carrier.seen(f"close-{code}") == {
        "type": "websocket.disconnect",
        "code": code,
        "reason": "that is why",
    }


@pytest.mark.parametrize("code", NEVER_SENT)
async def test_a_code_that_must_not_be_sent_is_the_applications_mistake(
    carrier: Carrier, code: int
) -> None:
    assert await ended(carrier, f"/close?code={code}") == Close(1011, "")
    assert "can't be sent as a close code" in await carrier.seen(f"close-{code}")


async def test_a_reason_is_cut_at_a_character_within_123_bytes(carrier: Carrier) -> None:
    close = await ended(carrier, f"/close?code=4000&reason={'%C3%A4' * 100}")
    assert close == Close(4000, "ä" * 61)


async def test_a_failure_after_the_accept_closes_with_1011_at_once(carrier: Carrier) -> None:
    assert await ended(carrier, "/crash?when=late", "go") == Close(1011, "")


@pytest.mark.parametrize("path", ["/leave", "/leave?looked"])
async def test_an_application_that_returns_closes_its_socket(carrier: Carrier, path: str) -> None:
    assert await ended(carrier, path) == Close(1000, "")


@pytest.mark.parametrize(
    ("code", "reason", "told"), [(1000, "bye", 1000), (4001, "ünd tschüß", 4001), (1001, "", 1001)]
)
async def test_a_clients_close_is_told_and_echoed(
    own_carrier: Carrier, code: int, reason: str, told: int
) -> None:
    async with own_carrier.connect("/echo") as client:
        await client.close(code, reason)
        assert client.close_code == told
    assert await own_carrier.seen("echo") == {
        "type": "websocket.disconnect",
        "code": told,
        "reason": reason,
    }


async def test_a_close_without_a_code_is_1005(own_carrier: Carrier) -> None:
    with own_carrier.raw("/echo") as client:
        client.sendall(b"\x88\x80\0\0\0\0")
        assert client.recv(10) == b"\x88\x00"
    assert (await own_carrier.seen("echo"))["code"] == 1005


async def test_a_connection_that_breaks_is_1006(own_carrier: Carrier) -> None:
    own_carrier.raw("/echo").close()
    assert (await own_carrier.seen("echo"))["code"] == 1006
