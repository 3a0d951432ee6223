"""Resident bytes per idle connection: ours, and a bare consumer on plain Daphne; fresh servers."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator

from benchmarks.servers import OURS, PLAIN, running
from benchmarks.session import Session, Target

TARGETS = [
    Target(
        "Idle memory per connection, against a bare consumer (bytes)",
        "memory ours", "memory bare", 1.1, at_most=True,
    )
]  # fmt: skip


def measure(session: Session) -> None:
    connections = 200 if session.quick else 2000
    for _ in range(min(session.rounds, 3)):
        for name, peer, path in (("ours", OURS, "/ws/bench"), ("bare", PLAIN, "/ws/bare")):
            with tempfile.TemporaryDirectory(dir=session.folder) as folder:
                url = f"sqlite:///{folder}/idle.sqlite3"
                with running(peer, url, session.folder / f"{name}.log") as server:
                    hold(server.port, path, 100)  # what the first connections cost is not theirs
                    before = server.memory()
                    with held(server.port, path, connections):
                        session.note(f"memory {name}", (server.memory() - before) / connections)


@contextlib.contextmanager
def held(port: int, path: str, connections: int) -> Iterator[None]:
    """So many accepted websockets that say nothing."""
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    sockets = []
    try:
        for _ in range(connections):
            each = socket.create_connection(("127.0.0.1", port), 30)
            each.sendall(handshake)
            answer = each.recv(4096)
            if b" 101 " not in answer:
                raise SystemExit(f"{path} refused an idle connection: {answer[:200]!r}")
            sockets.append(each)
        yield
    finally:
        for each in sockets:
            each.close()


def hold(port: int, path: str, connections: int) -> None:
    with held(port, path, connections):
        pass
