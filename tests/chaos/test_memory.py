"""Clients that ask without reading, and clients that flood: through the whole project, memory stays
where it was, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.clients import DEADLINE, websocket
from tests.live import HOST, LiveProject
from tests.server.conftest import handshake, masked

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

MIB = 1024 * 1024
#: What is asked for, or sent: 1000 texts of 200 KB.
COUNT, SIZE = 1000, 200_000
#: Bytes that the server may grow by meanwhile.
GROWTH = 20 * MIB
PATH = "/ws/wire/open"
TEXT = 0x81


class Memory:
    """Of the server's process."""

    def __init__(self, project: LiveProject) -> None:
        assert project.process is not None
        self._folder = Path(f"/proc/{project.process.pid}")
        self._folder.joinpath("clear_refs").write_text("5")  # forgets the peak
        self._before = self._read("VmRSS")

    def growth(self) -> int:
        """Bytes between the memory at first and the most since then."""
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        for line in self._folder.joinpath("status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"The kernel does not tell {name}.")


async def chat(project: LiveProject, rounds: int = 300) -> None:
    """Another socket, each of whose questions is answered in time."""
    async with websocket(project, PATH) as socket:
        for number in range(rounds):
            await socket.send(f'{{"anything": {number}}}')
            answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
            assert answer == {"anything": number}


async def warm_up(project: LiveProject) -> Memory:
    """As after some work of the same kind: what it takes once is not what is looked for."""
    async with websocket(project, PATH) as socket:
        for _ in range(20):
            await socket.send(json.dumps({"anything": "x" * SIZE}))
        for _ in range(20):
            await asyncio.wait_for(socket.recv(), DEADLINE)
    await chat(project)
    return Memory(project)


@asynccontextmanager
async def raw(
    project: LiveProject,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A socket that reads nothing unless it is told to."""
    reader, writer = await asyncio.open_connection(HOST, project.port)
    writer.write(handshake(PATH))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send(
    writer: asyncio.StreamWriter, question: str, count: int, end: asyncio.Event | None = None
) -> int:
    """How many it sent: so many, and then on until the end."""
    frame, sent = masked(TEXT, question.encode()), 0
    while sent < count or not (end is None or end.is_set()):
        writer.write(frame)
        await writer.drain()
        sent += 1
    return sent


async def text_of(reader: asyncio.StreamReader) -> bytes:
    """The payload of one whole frame."""
    first, length = await reader.readexactly(2)
    assert first == TEXT
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    return await reader.readexactly(length)


async def test_a_client_that_asks_for_200_mb_and_does_not_read(project: LiveProject) -> None:
    memory = await warm_up(project)
    async with raw(project) as (reader, writer):
        question = json.dumps({"anything": "x" * SIZE})
        asking = asyncio.create_task(send(writer, question, COUNT))
        await chat(project)
        assert not asking.done()  # neither its answers nor its questions are kept for it
        assert memory.growth() < GROWTH
        # It was only slow: as soon as it reads, it is told everything.
        async with asyncio.timeout(2 * DEADLINE):
            for _ in range(COUNT):
                assert len(await text_of(reader)) == len(question) - 1  # no space
        await asking
    assert memory.growth() < GROWTH


async def test_a_client_that_floods_a_slow_machine_with_200_mb(project: LiveProject) -> None:
    memory = await warm_up(project)
    async with raw(project) as (reader, writer):
        question = json.dumps({"anything": "x" * SIZE, "seconds": 0.004})
        enough = asyncio.Event()
        flooding = asyncio.create_task(send(writer, question, COUNT, enough))
        await chat(project)
        assert memory.growth() < GROWTH
        enough.set()
        async with asyncio.timeout(2 * DEADLINE):
            for _ in range(COUNT):
                assert await text_of(reader) == b'{"value":2}'
            for _ in range(await flooding - COUNT):
                assert await text_of(reader) == b'{"value":2}'
    assert memory.growth() < GROWTH


async def test_a_flood_of_small_frames_to_a_slow_machine(project: LiveProject) -> None:
    memory = await warm_up(project)
    async with raw(project) as (_, writer):
        flooding = asyncio.create_task(send(writer, '{"seconds": 0.05}', 2_000_000))
        await chat(project)
        assert not flooding.done()
        assert memory.growth() < GROWTH
        flooding.cancel()
    await chat(project, rounds=5)
    assert memory.growth() < GROWTH
