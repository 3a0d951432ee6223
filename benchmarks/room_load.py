"""The load of a room, in a process of its own: members that only count, and one publisher.

``python -m benchmarks.room_load '{"kind": "flood", …}'`` prints one JSON object.

``flood``   publishes as fast as everybody gets it: at most ``window`` messages are on their way.
            deliveries per second.
``paced``   publishes ``rate`` messages a second, whatever happens. p50 and p99 in µs, from the
            moment a message is published to the one its frame is read.
``replay``  asks one question, and takes ``events`` frames. first_ms, total_ms.

All messages of a room are equally long, so that bytes tell how many have come: reading a frame is
a system call and an addition. What is missing in the end is ``wrong``.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from typing import Any

from benchmarks.load import masked_text

#: Sequences begin here: all have as many digits.
FIRST = 10_000_000
PATIENCE = 30.0
QUIET = 0.3
_MARK = b'"sequence":'
_SPACED = b'"sequence": '


def connect(port: int, path: str, subprotocol: str = "") -> socket.socket:
    """An accepted websocket."""
    offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nSec-WebSocket-Version: 13\r\n"
        f"{offer}\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"{path} refused a connection: {head[:200]!r}")
    return client


class Room:
    """Members and publisher of one server."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.template: str = order["message"]
        self.poll = select.epoll()
        self.members: dict[int, socket.socket] = {}
        for _ in range(order["members"]):
            member = connect(order["port"], order["path"])
            if order["subscribe"]:
                member.sendall(masked_text(order["subscribe"].encode()))
            member.setblocking(False)
            self.members[member.fileno()] = member
            self.poll.register(member, select.EPOLLIN)
        self.publisher = connect(order["port"], order["publish"], order["subprotocol"])
        self.poll.register(self.publisher, select.EPOLLIN)
        self.heard: set[int] = set()
        self.published = 0
        self.bytes = 0
        self.frame = b""

    def publish(self) -> int:
        """Have the next message sent to all; its sequence."""
        sequence = FIRST + self.published
        self.published += 1
        self.publisher.sendall(masked_text(self.template.replace("SEQ", str(sequence)).encode()))
        return sequence

    def take(self, timeout: float) -> list[tuple[int, bytes]]:
        """What has come within ``timeout`` seconds, by member."""
        taken = []
        for number, _ in self.poll.poll(timeout):
            member = self.members.get(number)
            if member is None:
                answer = self.publisher.recv(1 << 16)
                if not answer or b'"error"' in answer:
                    raise SystemExit(f"The publisher was refused: {answer[-300:]!r}")
                continue
            data = member.recv(1 << 18)
            if not data:
                raise SystemExit("A member was disconnected.")
            self.bytes += len(data)
            taken.append((number, data))
        return taken

    def settle(self, wanted: int | None = None) -> None:
        """Take until ``wanted`` bytes have come, or nothing comes any more."""
        deadline = time.monotonic() + PATIENCE
        while wanted is None or self.bytes < wanted:
            if not self.take(QUIET if wanted is None else 1.0) and wanted is None:
                return
            if time.monotonic() > deadline:
                return

    def begin(self) -> None:
        """Publish until every member has got something, and then what each waits for: behind it
        nothing older can come. Then start counting."""
        deadline = time.monotonic() + PATIENCE
        while len(self.heard) < len(self.members):
            if time.monotonic() > deadline:
                missing = len(self.members) - len(self.heard)
                raise SystemExit(f"{missing} members never got anything.")
            self.publish()
            until = time.monotonic() + QUIET
            while time.monotonic() < until:
                for number, data in self.take(QUIET):
                    self.heard.add(number)
                    self.frame = data[: _frame_length(data)]
        last = str(self.publish()).encode()
        waiting = dict.fromkeys(self.members, b"")
        while waiting:
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(waiting)} members got only what was published earlier.")
            for number, data in self.take(1.0):
                if number in waiting:
                    waiting[number] = waiting[number][-len(last) :] + data
                    if last in waiting[number]:
                        del waiting[number]
        self.settle()
        self.published = self.bytes = 0
        gc.collect()
        gc.disable()

    @property
    def whole(self) -> int:
        """Bytes of one message, for all members."""
        return len(self.frame) * len(self.members)

    def missing(self) -> float:
        self.settle(self.published * self.whole)
        return abs(self.published - self.bytes / self.whole) * len(self.members)


def _frame_length(data: bytes) -> int:
    length = data[1]
    if length < 126:
        return 2 + length
    return 4 + int.from_bytes(data[2:4], "big")


def flood(order: dict[str, Any]) -> dict[str, float]:
    room = Room(order)
    room.begin()
    whole, window = room.whole, order["window"]
    before, started = 0, 0.0
    warm = time.perf_counter() + order["warm_up"]
    end = warm + order["seconds"]
    while (now := time.perf_counter()) < end:
        if not started and now >= warm:
            before, started = room.bytes, now
        while room.published - room.bytes // whole < window:
            room.publish()
        room.take(0.1)
    elapsed, got = time.perf_counter() - started, room.bytes - before
    return {
        "per_second": got / len(room.frame) / elapsed,
        "published": room.published,
        "wrong": room.missing(),
    }


def paced(order: dict[str, Any]) -> dict[str, float]:
    room = Room(order)
    room.begin()
    mark = _SPACED if _SPACED in room.frame else _MARK
    size, at = len(room.frame), room.frame.index(mark) + len(mark)
    digits = len(str(FIRST))
    rest: dict[int, bytes] = dict.fromkeys(room.members, b"")
    times: dict[int, float] = {}
    latencies: list[float] = []
    interval = 1 / order["rate"]
    started = time.perf_counter()
    warm, end = started + order["warm_up"], started + order["warm_up"] + order["seconds"]
    due = started
    while (now := time.perf_counter()) < end or len(latencies) < _expected(times, warm, room):
        if now >= due and now < end:
            times[FIRST + room.published] = due  # when it was due: a late client waits as well
            room.publish()
            due += interval
        if now > end + PATIENCE:
            break
        for number, taken in room.take(max(0.0, min(due, end) - now) if now < end else 0.5):
            read = time.perf_counter()
            data = rest[number] + taken
            whole = len(data) // size * size
            for start in range(0, whole, size):
                sent = times[int(data[start + at : start + at + digits])]
                if sent >= warm:
                    latencies.append(read - sent)
            rest[number] = data[whole:]
    ordered = sorted(latencies)
    return {
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
        "deliveries": len(ordered),
        "wrong": room.missing(),
    }


def _expected(times: dict[int, float], warm: float, room: Room) -> int:
    return sum(sent >= warm for sent in times.values()) * len(room.members)


def replay(order: dict[str, Any]) -> dict[str, float]:
    client = connect(order["port"], order["path"], order["subprotocol"])
    client.settimeout(PATIENCE * 10)
    wanted, frames, buffer, first = order["events"] + order["extra"], 0, b"", 0.0
    gc.disable()
    started = time.perf_counter()
    client.sendall(masked_text(order["question"].encode()))
    while frames < wanted:
        data = client.recv(1 << 18)
        if not data:
            raise SystemExit(f"The connection ended after {frames} frames.")
        buffer += data
        start, size = 0, len(buffer)
        while size - start >= 4:
            end = start + _frame_length(buffer[start : start + 4])
            if end > size:
                break
            if buffer[start] == 0x81:
                frames += 1
                if frames == order["extra"] + 1:
                    first = time.perf_counter() - started
            elif buffer[start] == 0x88:
                raise SystemExit(f"The server closed: {buffer[start:end]!r}")
            start = end
        buffer = buffer[start:]
    return {"first_ms": first * 1e3, "total_ms": (time.perf_counter() - started) * 1e3}


KINDS = {"flood": flood, "paced": paced, "replay": replay}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(KINDS[order["kind"]](order)))
