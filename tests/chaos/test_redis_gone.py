"""Redis goes away, and the database does, while topics are followed and published to.

What must hold: Redis makes pushes fast and nothing else. Without it every question is answered and
every event arrives, once and in order; only what is not durable needs it. Without the database
nobody is told what is not in the log afterwards. The same sockets go on when either is back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.chaos.clients import ENVIRONMENT, WIRE, until, websocket
from tests.live import LiveProject
from tests.servers import Valkey, valkey

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

BOARD = "/ws/wire/board"
#: Seconds within which any question is answered.
DEADLINE = 30.0

Pair = tuple[LiveProject, LiveProject]


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@contextmanager
def two_servers(folder: Path, database_url: str | None, redis: Valkey) -> Iterator[Pair]:
    """Two processes on one database, with Redis between them."""
    environment = {**ENVIRONMENT, "REDIS_URL": redis.url}
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    url = database_url or f"sqlite:///{folder / 'db.sqlite3'}"
    one, two = (
        LiveProject(folder / name, env=environment, machines=[WIRE / "machines"], database_url=url)
        for name in ("a", "b")
    )
    with one:
        two.start()
        try:
            yield one, two
        finally:
            two.stop()


@pytest.fixture
def pair(tmp_path: Path, redis: Valkey) -> Iterator[Pair]:
    with two_servers(tmp_path, None, redis) as pair:
        yield pair


class Writer:
    """Publishes over one socket, a question at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.asked = 0

    async def publish(self, value: float, **more: Any) -> dict[str, Any]:
        """The frame that answers."""
        self.asked += 1
        question = {"board": "main", "value": value, **more}
        await self.socket.send(json.dumps({"id": self.asked, "input": question}))
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), DEADLINE))
        assert frame["id"] == self.asked
        return frame

    async def must_publish(self, *values: float) -> None:
        for value in values:
            assert (await self.publish(value))["result"] == {"value": value}


class Follower:
    """What came over one socket that follows a topic: values by offset, and those without one."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.begun: int | None = None
        self.events: list[tuple[int, float]] = []
        self.fleeting: list[float] = []

    async def listen(self) -> None:
        """Ends with its socket, which is a failure."""
        await self.socket.send(json.dumps({"id": "follow", "subscribe": "main"}))
        async for text in self.socket:
            frame = json.loads(text)
            if "subscribed" in frame:
                self.begun = frame["offset"]
            elif "offset" in frame:
                self.events.append((frame["offset"], frame["push"]["value"]))
            else:
                self.fleeting.append(frame["push"]["value"])
        raise AssertionError("A follower's socket was closed.")

    async def has_up_to(self, last: int) -> None:
        """Once it has the event ``last``: all behind where it began, in order, each once.

        For a topic to which 1, 2, 3 … are published, so that each value is its own offset.
        """
        assert self.begun is not None
        wanted = [(each, each) for each in range(self.begun + 1, last + 1)]
        await until(lambda: len(self.events) >= len(wanted), f"{len(wanted)} events")
        assert self.events == wanted


@asynccontextmanager
async def following(*projects: LiveProject) -> AsyncIterator[list[Follower]]:
    """A follower on each of these servers; none of their sockets may close."""
    async with AsyncExitStack() as sockets, asyncio.TaskGroup() as group:
        followers = [
            Follower(await sockets.enter_async_context(websocket(project, BOARD, envelope=True)))
            for project in projects
        ]
        tasks = [group.create_task(follower.listen()) for follower in followers]
        await until(lambda: all(each.begun is not None for each in followers), "all follow")
        yield followers
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def writing(project: LiveProject) -> AsyncIterator[Writer]:
    """A writer whose socket is not idle, whatever happens: it follows what nobody publishes."""
    async with websocket(project, BOARD, envelope=True) as socket:
        await socket.send('{"id": 0, "subscribe": "side"}')
        assert json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))["subscribed"] == "side"
        yield Writer(socket)


async def warnings(project: LiveProject) -> dict[str, str]:
    """What ``/readyz`` warns of, of a server that is ready."""
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        answer = await client.get(project.url("/readyz"))
    assert answer.status_code == 200
    warned: dict[str, str] = answer.json().get("warnings", {})
    return warned


async def warned(pair: Pair, wanted: bool) -> None:
    """Once both servers warn of the rooms, or neither does."""
    async with asyncio.timeout(DEADLINE):
        for project in pair:
            while True:
                if ("rooms" in await warnings(project)) is wanted:
                    break
                await asyncio.sleep(0.1)


async def pushed_by_the_layer(writer: Writer, followers: Sequence[Follower], value: float) -> None:
    """What is in no log reaches all of them: no poll can have brought it."""
    told = await writer.publish(value, durable=False)
    assert told["result"] == {"value": value}
    await until(lambda: all(value in each.fleeting for each in followers), "a push by the layer")
    assert all(each.fleeting.count(value) == 1 for each in followers)


def is_calm(project: LiveProject, most: int) -> None:
    """The server's log has no traceback, and at most so many lines about the layer."""
    text = project.log_text
    assert "Traceback" not in text, text
    said = [line for line in text.splitlines() if "layer" in line or "Pushes" in line]
    assert 2 <= len(said) <= most, said


async def test_without_redis_all_arrives_and_with_it_again_at_once(
    pair: Pair, redis: Valkey
) -> None:
    one, two = pair
    async with (
        following(one, two) as followers,
        writing(one) as here,
        writing(two) as there,
    ):
        await pushed_by_the_layer(here, followers, -1)
        await pushed_by_the_layer(there, followers, -2)
        await here.must_publish(1, 2)
        await asyncio.to_thread(redis.stop)
        await here.must_publish(3, 4)
        for follower in followers:
            await follower.has_up_to(4)
        await warned(pair, True)
        await there.must_publish(5, 6)
        async with following(one, two) as newcomers:
            await here.must_publish(7)
            for follower in (*followers, *newcomers):
                await follower.has_up_to(7)
        await asyncio.to_thread(redis.start)
        await warned(pair, False)
        await pushed_by_the_layer(here, followers, -3)
        await pushed_by_the_layer(there, followers, -4)
        await here.must_publish(8)
        await there.must_publish(9)
        for follower in followers:
            await follower.has_up_to(9)
    for project in pair:
        is_calm(project, 6)


async def test_who_never_stops_publishing_is_heard_through_two_outages(
    pair: Pair, redis: Valkey
) -> None:
    one, two = pair
    enough = asyncio.Event()

    async def go_on(writer: Writer) -> int:
        while not enough.is_set():
            await writer.must_publish(writer.asked + 1)
        return writer.asked

    async with following(one, two) as followers, writing(one) as writer:
        publishing = asyncio.create_task(go_on(writer))

        async def published(more: int) -> None:
            wanted = writer.asked + more
            await until(lambda: writer.asked >= wanted or publishing.done(), "more is published")

        for _ in range(2):
            await published(50)
            await asyncio.to_thread(redis.stop)
            await warned(pair, True)
            await published(50)
            await asyncio.to_thread(redis.start)
            await warned(pair, False)
        await published(50)
        enough.set()
        last = await publishing
        for follower in followers:
            await follower.has_up_to(last)
    for project in pair:
        is_calm(project, 12)
