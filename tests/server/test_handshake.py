"""How a handshake is answered: accepted with headers, refused with a true status, or not at all."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket

import pytest
from websockets.exceptions import InvalidStatus

from tests.server.conftest import PATIENCE, Carrier, handshake, masked, running
from tests.timers.workers import until


async def test_accept_carries_headers_and_the_chosen_subprotocol(carrier: Carrier) -> None:
    async with carrier.connect("/greet", subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "two"
        assert client.response is not None
        assert client.response.headers["x-request-id"] == "abc"
        assert client.response.headers.get_all("set-cookie") == ["a=1", "b=2"]


async def test_the_denial_extension_is_announced(carrier: Carrier) -> None:
    async with carrier.connect("/greet", subprotocols=["one"]) as client:
        assert "websocket.http.response" in json.loads(await client.recv())


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_a_refusal_is_a_true_http_response(carrier: Carrier, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await carrier.connect(f"/refuse?status={status}")
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "7"
    assert response.headers["connection"] == "close"
    assert response.headers["content-length"] == str(len(response.body))
    assert json.loads(response.body) == {"error": {"code": status}}


def test_a_refusal_in_pieces_ends_with_the_connection(carrier: Carrier) -> None:
    with socket.create_connection(("127.0.0.1", carrier.port), timeout=PATIENCE) as client:
        client.sendall(handshake("/refuse?status=404&pieces=3"))
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 404
        assert response.getheader("content-length") is None
        assert response.read() == b'{"error": {"code": 404}}' * 3


async def test_the_application_hears_of_the_end_after_a_refusal(own_carrier: Carrier) -> None:
    with pytest.raises(InvalidStatus):
        await own_carrier.connect("/refuse?status=401")
    assert (await own_carrier.seen("refused"))["type"] == "websocket.disconnect"


async def test_a_close_before_the_accept_is_403(carrier: Carrier) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await carrier.connect("/reject")
    assert refused.value.response.status_code == 403


async def test_a_failure_before_the_accept_is_500_at_once(carrier: Carrier) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await carrier.connect("/crash?when=early")
    assert refused.value.response.status_code == 500


@pytest.mark.parametrize("path", ["/silent", "/silent?overdue"])
async def test_a_handshake_without_an_answer_is_503(path: str) -> None:
    with running("-v0", "--websocket_connect_timeout", "1") as server:
        with pytest.raises(InvalidStatus) as refused:
            await server.connect(path)
        assert refused.value.response.status_code == 503
        # Not over another handshake, which may take a second, too.
        await asyncio.to_thread(
            until, lambda: "silent websocket.disconnect" in server.log.read_text()
        )


def test_a_request_that_is_no_handshake_is_400(carrier: Carrier) -> None:
    with socket.create_connection(("127.0.0.1", carrier.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 400
        assert b"Connection" in response.read()


async def test_frames_that_come_too_early_wait_for_the_accept(own_carrier: Carrier) -> None:
    with socket.create_connection(("127.0.0.1", own_carrier.port), timeout=PATIENCE) as client:
        client.sendall(handshake("/hesitate"))
        await own_carrier.seen("hesitating")
        for number in range(3):
            client.sendall(masked(0x81, b"%02d\r\n\r\n" % number))
        await own_carrier.tell("hesitate")
        stream = client.makefile("rb")
        while stream.readline() != b"\r\n":
            pass
        assert [stream.read(8)[2:4] for _ in range(3)] == [b"00", b"01", b"02"]


async def test_half_a_handshake_and_garbage_hurt_nobody_else(carrier: Carrier) -> None:
    half = socket.create_connection(("127.0.0.1", carrier.port), timeout=PATIENCE)
    half.sendall(handshake("/echo")[:-10])
    garbage = socket.create_connection(("127.0.0.1", carrier.port), timeout=PATIENCE)
    garbage.sendall(bytes(range(256)) * 10 + b"\r\n\r\n")
    assert garbage.recv(100).startswith(b"HTTP/1.1 400")
    async with carrier.connect("/echo") as client:
        await client.send("still here")
        assert await client.recv() == "still here"
    half.close()
    garbage.close()
