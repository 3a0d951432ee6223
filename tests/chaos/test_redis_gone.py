"""Redis goes away, and the database does, while topics are followed and published to.

What must hold: Redis makes pushes fast and nothing else. Without it every question is answered and
every event arrives, once and in order; only what is not durable needs it. Without the database
nobody is told what is not in the log afterwards. The same sockets go on when either is back.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from websockets.asyncio.client import ClientConnection

from tests.chaos.clients import ENVIRONMENT, UNAVAILABLE, WIRE, until, websocket
from tests.live import LiveProject
from tests.servers import Postgres, Valkey, postgres, valkey

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


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with postgres({"fsync": "off"}) as cluster:
        yield cluster


class Writer:
    """Publishes over one socket, a question at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.asked = 0

    async def publish(self, value: float, **more: Any) -> dict[str, Any]:
        """The frame that answers."""
        return await self.ask(input={"board": "main", "value": value, **more})

    async def ask(self, **question: Any) -> dict[str, Any]:
        self.asked += 1
        await self.socket.send(json.dumps({"id": self.asked, **question}))
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
        await self.has(wanted)

    async def has(self, wanted: Sequence[tuple[int, float]]) -> None:
        """Once it has as many events as these, they must be these."""
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


def records(project: LiveProject) -> list[str]:
    """What the server logged: each a line, and what belongs to it."""
    return re.split(r"^(?=\d{4}-\d\d-\d\d )", project.log_text, flags=re.MULTILINE)


def is_calm(project: LiveProject, outages: int) -> None:
    """The hub and the doorbell have each said once that Redis is gone, and that it is back; a
    server that rang nobody meanwhile has a hub's words alone."""
    assert "Traceback" not in project.log_text, project.log_text
    said = [each for each in records(project) if "mashin_surfaces.rooms" in each]
    assert sum("rooms.hub" in each for each in said) == 2 * outages, said
    assert len(said) <= 4 * outages, said


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
        async with writing(one) as comer:  # from the other server, which was told of 6 already
            again = await comer.ask(subscribe="main", since=6)
            assert (again["recovered"], again["offset"]) == (True, 6)
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
        is_calm(project, outages=1)


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
        is_calm(project, outages=2)


@contextmanager
def frozen(redis: Valkey) -> Iterator[None]:
    """The server stands still: its connections stay open and nothing comes of them."""
    servers = [
        each for each in psutil.Process().children() if f":{redis.port}" in each.cmdline()[0]
    ]
    assert len(servers) == 1
    servers[0].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        servers[0].send_signal(signal.SIGCONT)


async def test_redis_that_hangs_keeps_nobody_waiting(pair: Pair, redis: Valkey) -> None:
    one, two = pair
    async with following(one, two) as followers, writing(one) as here, writing(two) as there:
        with frozen(redis):
            await here.must_publish(1, 2)
            for follower in followers:
                await follower.has_up_to(2)
            await warned(pair, True)
            for value in range(3, 9):  # no slower the longer it lasts
                await there.must_publish(value)
                for follower in followers:
                    await follower.has_up_to(value)
        await warned(pair, False)
        await pushed_by_the_layer(here, followers, -1)
        await pushed_by_the_layer(there, followers, -2)
        await here.must_publish(9)
        for follower in followers:
            await follower.has_up_to(9)
    for project in pair:
        assert "Traceback" not in project.log_text, project.log_text


# -- the database ----------------------------------------------------------------------------------


def logged(cluster: Postgres, database: str) -> list[tuple[int, float]]:
    """Offsets and values of the topic's log."""
    with psycopg.connect(cluster.database_url(database)) as connection:
        rows = connection.execute(
            'select "offset", payload from mashin_surfaces_roomevent event '
            "join mashin_surfaces_room room on room.id = event.room_id "
            "where room.key = 'wire_board:main' order by \"offset\""
        ).fetchall()
    return [(offset, json.loads(payload)["value"]) for offset, payload in rows]


async def noticed(pair: Pair) -> None:
    """Once both servers are not ready and warn that the rooms can't be read."""
    async with asyncio.timeout(DEADLINE), httpx.AsyncClient(trust_env=False) as client:
        for project in pair:
            while True:
                answer = await client.get(project.url("/readyz"), timeout=DEADLINE)
                if answer.status_code == 503 and "rooms" in answer.json().get("warnings", {}):
                    break
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("crash", [False, True], ids=["fast", "immediate"])
async def test_without_the_database_nobody_is_told_what_is_in_no_log(
    tmp_path: Path, cluster: Postgres, redis: Valkey, crash: bool
) -> None:
    database = "immediate" if crash else "fast"
    url = cluster.create_database(database)
    enough = asyncio.Event()
    published: list[float] = []
    refusals: list[str] = []

    async def go_on(writer: Writer) -> None:
        while not enough.is_set():
            value = float(writer.asked)
            frame = await writer.publish(value)
            if "error" in frame:
                refusals.append(frame["error"]["code"])
            else:
                assert frame["result"] == {"value": value}
                published.append(value)

    async def more(of: list[Any]) -> None:
        count = len(of) + 5
        await until(lambda: len(of) >= count, "the publisher gets on")

    with two_servers(tmp_path, url, redis) as (one, two):
        async with (
            following(one, two) as followers,
            writing(one) as writer,
            writing(two) as late,
            asyncio.TaskGroup() as group,
        ):
            publishing = group.create_task(go_on(writer))
            await more(published)
            await asyncio.to_thread(cluster.stop, crash=crash)
            try:
                await more(refusals)
                await noticed((one, two))
                refused = await late.ask(subscribe="main")
                assert refused["error"]["code"] == UNAVAILABLE
            finally:
                await asyncio.to_thread(cluster.start)
            await more(published)
            await warned((one, two), False)
            assert (await late.ask(subscribe="main"))["subscribed"] == "main"
            await more(published)
            enough.set()
            await publishing
            told = logged(cluster, database)
            for follower in followers:
                await follower.has(told)
        assert [offset for offset, _ in told] == list(range(1, len(told) + 1))
        values = [value for _, value in told]
        assert len(values) == len(set(values))
        assert set(published) <= set(values)
        assert set(refusals) <= {UNAVAILABLE, "execution_failed"}
        for project in (one, two):
            # A question that failed in somebody's own code may have a traceback; ours says a line.
            traced = [each for each in records(project) if "Traceback" in each]
            assert all(
                "governance.govern: websocket:/ws/wire/board failed" in each for each in traced
            )
            assert len(traced) <= (len(refusals) if project is one else 0)
            said = [each for each in records(project) if "rooms.hub" in each]
            assert len(said) == 2, said
            assert project.command("verify_ledger").returncode == 0
