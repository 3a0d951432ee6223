"""A real server process for each module of tests, and how to talk to it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

#: Seconds within which anything at all happens.
PATIENCE = 30
ROOT = Path(__file__).parents[2]
OURS = "from mashin_surfaces.server.cli import main; main()"


def hear_interrupts() -> None:
    """A job in the background of a shell without a terminal inherits an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Carrier:
    """A server with the applications of ``apps.py``, on a socket that is open from the start."""

    def __init__(
        self, folder: Path, *options: str, program: tuple[str, ...] = ("-c", OURS)
    ) -> None:
        self.log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as listener, self.log.open("wb") as log:
            listener.setblocking(False)
            self.port: int = listener.getsockname()[1]
            descriptor = str(listener.fileno())
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *program,
                    "--fd",
                    descriptor,
                    *options,
                    "tests.server.apps:application",
                ],
                cwd=ROOT,
                preexec_fn=hear_interrupts,  # noqa: PLW1509  it sets a handler, no more
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> connect:
        """A client that may take frames of any size, and sends none uncompressed by itself."""
        return connect(
            self.url(path), compression=None, max_size=None, open_timeout=PATIENCE, **options
        )

    async def seen(self, name: str) -> Any:
        """What an application tells, now or within the patience of the client."""
        async with self.connect(f"/seen/{name}") as client:
            return json.loads(await client.recv())

    async def tell(self, name: str) -> None:
        """Lets an application go on that waits for this."""
        with pytest.raises(InvalidStatus):
            await self.connect(f"/tell/{name}")

    def raw(self, path: str) -> socket.socket:
        """A plain socket after the handshake, which has read nothing that came behind it."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        client.sendall(handshake(path))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return client

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Ends the server with a signal; what it has written."""
        self.process.send_signal(number)
        assert self.process.wait(30) == 0, self.log.read_text()
        return self.log.read_text()

    def peak(self) -> int:
        """Most bytes of memory that the process has had since ``forget_peak``."""
        return self._memory("VmHWM")

    def forget_peak(self) -> int:
        """Begins anew with the memory of now, which it returns."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024


def handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked(first: int, payload: bytes, *, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A frame as a client sends it."""
    length = len(payload)
    if length < 126:
        header = bytes([first, 0x80 | length])
    elif length < 65536:
        header = bytes([first, 0xFE]) + length.to_bytes(2, "big")
    else:
        header = bytes([first, 0xFF]) + length.to_bytes(8, "big")
    key = (mask * (length // 4 + 1))[:length]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    return header + mask + body


@contextmanager
def ending(carrier: Carrier) -> Iterator[socket.socket]:
    """A server that has begun to end, and goes on with it behind the block; in the block a
    connection that was there before, over which nothing has been said yet."""
    address = ("127.0.0.1", carrier.port)
    with (
        socket.create_connection(address, timeout=PATIENCE) as late,
        socket.create_connection(address, timeout=PATIENCE) as last,
        carrier.raw("/linger") as lingering,  # accepted behind the others
    ):
        carrier.process.send_signal(signal.SIGTERM)
        assert lingering.recv(1) == b"\x88"
        yield late
        last.sendall(handshake("/tell/linger"))
        assert last.recv(1)
    assert carrier.process.wait(PATIENCE) == 0


@contextmanager
def running(*options: str, program: tuple[str, ...] = ("-c", OURS)) -> Iterator[Carrier]:
    with tempfile.TemporaryDirectory(prefix="carrier-") as folder:
        server = Carrier(Path(folder), *options, program=program)
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()


@pytest.fixture(scope="module")
def carrier() -> Iterator[Carrier]:
    with running("-v0") as server:
        yield server


@pytest.fixture
def own_carrier() -> Iterator[Carrier]:
    """A server that a test may end."""
    with running("-v0") as server:
        yield server
