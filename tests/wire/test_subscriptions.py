"""Topics over real sockets to real servers: pushes, feeds, resuming, who is there."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.live import LiveProject
from tests.wire.conftest import DEADLINE, HERE, Wire

pytestmark = pytest.mark.slow

BOARD, FEED = "/ws/wire/board", "/ws/wire/feed"
BRIEF = f"{BOARD}/brief"
ENVELOPE = ["mashin.v1"]


async def say(socket: ClientConnection, value: Any) -> None:
    await socket.send(json.dumps(value))


async def hear(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))


async def ask(socket: ClientConnection, value: Any) -> Any:
    await say(socket, value)
    return await hear(socket)


async def write(wire: Wire, board: str, *values: float, **more: Any) -> None:
    """Have another connection publish."""
    async with wire.connect(BOARD) as writer:
        for value in values:
            assert await ask(writer, {"board": board, "value": value, **more}) == {"value": value}


def members(wire: Wire, key: str) -> int:
    with sqlite3.connect(wire.project.database_file, timeout=DEADLINE) as database:
        (found,) = database.execute(
            "select count(*) from mashin_surfaces_roommember m "
            "join mashin_surfaces_room r on r.id = m.room_id where r.key = ?",
            [key],
        ).fetchone()
    database.close()
    return int(found)


async def test_what_is_published_reaches_everyone_who_follows(wire: Wire) -> None:
    async with wire.connect(BOARD) as one, wire.connect(BOARD) as two:
        await say(one, {"subscribe": "main"})
        await say(two, {"subscribe": "main"})
        await wire.eventually(lambda: members(wire, "wire_board:main") == 2)
        await write(wire, "main", 1, 2)
        await write(wire, "side", 3)
        await write(wire, "main", 4)
        for socket in (one, two):
            assert [(await hear(socket))["value"] for _ in range(3)] == [1, 2, 4]
    await wire.eventually(lambda: members(wire, "wire_board:main") == 0)


async def test_what_is_not_durable_reaches_who_is_there(wire: Wire) -> None:
    async with wire.connect(BOARD, subprotocols=ENVELOPE) as socket:
        joined = await ask(socket, {"id": 1, "subscribe": "side"})
        await write(wire, "side", 5, durable=False)
        assert await hear(socket) == {"push": {"value": 5}, "topic": "side"}
        again = await ask(socket, {"id": 2, "subscribe": "side", "since": joined["offset"]})
        assert again["offset"] == joined["offset"]


async def test_after_the_end_of_a_subscription_nothing_comes(wire: Wire) -> None:
    async with wire.connect(BOARD, subprotocols=ENVELOPE) as socket:
        await ask(socket, {"id": 1, "subscribe": "main"})
        left = await ask(socket, {"id": 2, "unsubscribe": "main"})
        assert left == {"id": 2, "unsubscribed": "main"}
        await write(wire, "main", 6)
        answer = await ask(socket, {"id": 3, "input": {"board": "side", "value": 7}})
        assert answer == {"id": 3, "result": {"value": 7}}


async def test_who_comes_back_gets_what_was_missed(wire: Wire) -> None:
    async with wire.connect(BOARD, subprotocols=ENVELOPE) as socket:
        joined = await ask(socket, {"id": 1, "subscribe": "main"})
        await write(wire, "main", 10)
        pushed = await hear(socket)
        assert pushed == {"push": {"value": 10}, "topic": "main", "offset": joined["offset"] + 1}
    await write(wire, "main", 11, 12)
    async with wire.connect(BOARD, subprotocols=ENVELOPE) as socket:
        again = await ask(
            socket,
            {
                "id": "r",
                "subscribe": "main",
                "since": pushed["offset"],
                "epoch": joined["epoch"],
            },
        )
        assert (again["recovered"], again["offset"]) == (True, pushed["offset"])
        await write(wire, "main", 13)
        got = [await hear(socket) for _ in range(3)]
        assert [frame["push"]["value"] for frame in got] == [11, 12, 13]
        offsets = [frame["offset"] for frame in got]
        assert offsets == list(range(pushed["offset"] + 1, pushed["offset"] + 4))


@pytest.mark.parametrize("past", [{"since": 10**9}, {"since": 0, "epoch": "another"}])
async def test_who_can_not_be_given_all_is_told_so(wire: Wire, past: dict[str, Any]) -> None:
    async with wire.connect(BOARD, subprotocols=ENVELOPE) as socket:
        joined = await ask(socket, {"id": 1, "subscribe": "main", **past})
        assert joined["recovered"] is False
        await write(wire, "main", 20)
        assert (await hear(socket))["offset"] == joined["offset"] + 1


async def test_a_topic_is_a_value_of_its_field(wire: Wire) -> None:
    async with wire.connect(BOARD, wire.token("tess")) as socket:
        error = (await ask(socket, {"subscribe": "nowhere"}))["error"]
        assert error["code"] == "invalid_input"
        assert await ask(socket, {"board": "side", "value": 1}) == {"value": 1}
    row = wire.accesses(request_id=error["request_id"])[0]
    assert (row["event"], row["outcome"]) == ("subscribe", "refused")


async def test_every_subscription_is_recorded(wire: Wire) -> None:
    async with wire.connect(BOARD, wire.token("rita"), subprotocols=ENVELOPE) as socket:
        await ask(socket, {"id": 1, "subscribe": "main"})
        await ask(socket, {"id": 2, "unsubscribe": "main"})
    rows = await wire.eventually(
        lambda: [
            row
            for event in ("subscribe", "unsubscribe")
            for row in wire.accesses(principal="rita", event=event)
        ]
    )
    assert [row["outcome"] for row in rows] == ["allowed", "allowed"]


async def test_who_follows_a_topic_is_not_idle(wire: Wire) -> None:
    async with wire.connect(BRIEF) as idle, wire.connect(BRIEF) as follower:
        await say(follower, {"subscribe": "main"})
        error = (await hear(idle))["error"]  # after idle_timeout, which the other one outlives
        assert error["code"] == "timeout"
        with pytest.raises(ConnectionClosed):
            await hear(idle)
        await write(wire, "main", 30)
        assert await hear(follower) == {"value": 30}
        await say(follower, {"unsubscribe": "main"})
        assert (await hear(follower))["error"]["code"] == "timeout"


async def test_a_feed_runs_once_for_all_who_listen_and_only_then(wire: Wire) -> None:
    async with wire.connect(FEED) as one, wire.connect(FEED) as two:
        await say(one, {"subscribe": "shared"})
        first = await hear(one)
        await say(two, {"subscribe": "shared"})
        seen = [await hear(one) for _ in range(5)]
        also = [await hear(two) for _ in range(4)]
        values = [frame["value"] for frame in [first, *seen]]
        assert values == list(range(1, 7))
        assert [frame["value"] for frame in also] == sorted({frame["value"] for frame in also})
    await wire.eventually(lambda: members(wire, "wire_feed:shared") == 0)
    runs = wire.accesses(surface=f"feed:{FEED}", principal="feed")
    assert len(runs) >= 6
    async with wire.connect(FEED) as socket:
        await say(socket, {"subscribe": "other"})
        assert [(await hear(socket))["value"] for _ in range(3)] == [1, 2, 3]


async def test_a_feed_tells_what_changed_and_newcomers_what_is(wire: Wire) -> None:
    async with wire.connect(FEED, subprotocols=ENVELOPE) as one:
        joined = await ask(one, {"id": 1, "subscribe": "steady"})
        first = await hear(one)
        assert first["offset"] == joined["offset"] + 1
        before = len(wire.accesses(principal="feed"))
        await wire.eventually(lambda: len(wire.accesses(principal="feed")) > before + 3)
        async with wire.connect(FEED) as two:
            await say(two, {"subscribe": "steady"})
            assert await hear(two) == first["push"]
        answer = await ask(one, {"id": 2, "input": {"name": "steady"}})
        assert answer["id"] == 2  # no push came in between


# -- several processes -----------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Wire, Wire]]:
    """Two servers on one database, without a channel layer between them."""
    env = {"MASHIN_MODULES": "wire_effects", "PYTHONPATH": str(HERE)}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = LiveProject(tmp_path / "a", env=env, machines=[HERE / "machines"])
    two = LiveProject(tmp_path / "b", env=env, database_url=f"sqlite:///{one.database_file}")
    two.database_file = one.database_file
    with one:
        two.start()
        try:
            yield Wire(one), Wire(two)
        finally:
            two.stop()


async def stand_stills(late: list[float]) -> None:
    """Notes by how much this process came too late to run, as others did then: the machine's."""
    while True:
        due = time.monotonic() + 0.05
        await asyncio.sleep(0.05)
        late.append(max(0.0, time.monotonic() - due - 0.1))


async def test_a_feed_goes_on_within_5_s_when_its_process_is_killed(
    pair: tuple[Wire, Wire],
) -> None:
    one, two = pair
    async with one.connect(FEED) as here, two.connect(FEED) as there:
        await say(here, {"subscribe": "failover"})
        holder = (await hear(here))["process"]
        await say(there, {"subscribe": "failover"})
        assert (await hear(there))["process"] == holder
        one.project.kill()
        killed, late = time.monotonic(), [0.0]
        looking = asyncio.create_task(stand_stills(late))
        while (frame := await hear(there))["process"] == holder:
            pass
        looking.cancel()
        assert time.monotonic() - killed - sum(late) < 5
        assert frame["value"] == 1
    await two.eventually(lambda: members(two, "wire_feed:failover") <= 1)


async def test_processes_without_a_layer_hear_of_each_other(pair: tuple[Wire, Wire]) -> None:
    one, two = pair
    async with one.connect(BOARD) as here, two.connect(BOARD) as there:
        await say(here, {"subscribe": "main"})
        await say(there, {"subscribe": "main"})
        await one.eventually(lambda: members(one, "wire_board:main") == 2)
        await write(one, "main", *range(5))
        await write(two, "main", *range(5, 10))
        for socket in (here, there):
            assert [(await hear(socket))["value"] for _ in range(10)] == list(range(10))
