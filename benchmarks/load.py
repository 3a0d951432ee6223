"""A closed-loop load client in a process of its own: each connection asks, waits, asks again.

``python -m benchmarks.load '{"kind": "websocket", …}'`` prints one JSON object: messages per second
and latency percentiles in microseconds. Frames and requests are built once, so that the client is
not what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

_LONG = 126


def masked_text(payload: bytes) -> bytes:
    """One client frame (RFC 6455); a mask of zeros is a mask."""
    length = len(payload)
    if length < _LONG:
        header = bytes([0x81, 0x80 | length])
    else:
        header = bytes([0x81, 0x80 | _LONG]) + length.to_bytes(2, "big")
    return header + bytes(4) + payload


@dataclass
class Window:
    """What was counted between warm-up and end."""

    measuring: bool = False
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0


class Asker(asyncio.Protocol):
    """One connection in the loop."""

    def __init__(self, question: bytes, expected: bytes, window: Window) -> None:
        self.question, self.expected, self.window = question, expected, window
        self.buffer = b""
        self.asked = 0.0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.window.measuring:
            self.window.wrong += 1
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed before it was open"))

    def ask(self) -> None:
        self.asked = time.perf_counter()
        self.transport.write(self.question)

    def answered(self, answer: bytes) -> None:
        if self.window.measuring:
            self.window.latencies.append(time.perf_counter() - self.asked)
            if self.expected not in answer:
                self.window.wrong += 1
        self.ask()


class Websocket(Asker):
    """Asks in text frames."""

    path = ""
    is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        if not self.is_open:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self.buffer = data
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.ready.set_exception(ConnectionError(head.decode("latin-1")))
                return
            self.is_open, data = True, rest
            self.ready.set_result(None)
        while len(data) >= 2:
            length, start = data[1] & 0x7F, 2
            if length == _LONG:
                length, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + length:
                break
            answer, opcode = data[start : start + length], data[0] & 0x0F
            data = data[start + length :]
            if opcode == 1:
                self.answered(answer)
        self.buffer = data


class Http(Asker):
    """Asks in HTTP/1.1 requests on a connection that is kept."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if at >= 0 and len(body) >= length:
                self.buffer = body[length:]
                self.answered(body[:length])
                return
            if at < 0 and body.endswith(b"0\r\n\r\n"):
                self.buffer = b""
                self.answered(body)
                return
        self.buffer = data


async def run(order: dict[str, object]) -> dict[str, float]:
    """Play one order: kind, port, path, body, expected, connections, warm_up, seconds."""
    loop = asyncio.get_running_loop()
    window = Window()
    body, path = str(order["body"]).encode(), str(order["path"])
    expected = str(order["expected"]).encode()
    protocol: type[Asker]
    if order["kind"] == "websocket":
        Websocket.path = path
        question, protocol = masked_text(body), Websocket
    else:
        question = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        protocol = Http
    askers = []
    for _ in range(int(str(order["connections"]))):
        _, asker = await loop.create_connection(
            lambda: protocol(question, expected, window), "127.0.0.1", int(str(order["port"]))
        )
        await asyncio.wait_for(asker.ready, 30)
        askers.append(asker)
    gc.disable()
    for asker in askers:
        asker.ask()
    await asyncio.sleep(float(str(order["warm_up"])))
    cpu, started = time.process_time(), time.perf_counter()
    window.measuring = True
    await asyncio.sleep(float(str(order["seconds"])))
    window.measuring = False
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    ordered = sorted(window.latencies)
    if not ordered:
        raise SystemExit("no answer came")
    return {
        "per_second": len(ordered) / elapsed,
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
        "wrong": window.wrong,
        "client_cpu": cpu / elapsed,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(json.loads(sys.argv[1])))))
