"""A crowd that publishes by the clock, and who looks on."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosedError

from tests.incubators.conftest import Agent, Hive

#: Publishers, the events that each of them has to say in a second, and how many may be on their
#: way: fewer than may wait at the server.
CROWD = 200
EACH = 10
ON_THE_WAY = 32
#: Seconds for which what is late is said after the time is over.
LATE = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as it came: its id, who published it, and the how many-eth it was of theirs."""

    id: int
    number: int
    count: int


async def publish_by_the_clock(
    agent: Agent, number: int, began: float, seconds: float
) -> list[int]:
    """The ids of what was published in that time, in the order in which it was said.

    ``began``: of the loop's clock. When an event is said depends on the clock alone; who is late
    says what is due at once, and leaves away what is not said soon after the time is over.
    """
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(ON_THE_WAY)
    ids: list[int] = []

    async def take_acks() -> None:
        async for text in agent.socket:
            frame = json.loads(text)
            assert frame["type"] in {"publish_ack", "metrics"}, frame
            if frame["type"] == "publish_ack":
                ids.append(frame["eventId"])
                free.release()

    async def say_what_is_due() -> None:
        mine = began + number / CROWD / EACH  # not all at the same moment
        for count in range(round(seconds * EACH)):
            await asyncio.sleep(max(0.0, mine + count / EACH - loop.time()))
            await free.acquire()
            if loop.time() > mine + seconds + LATE:
                free.release()
                break
            data = {"number": number, "count": count}
            await agent.say("publish", event=f"load.t{number % 10}", data=data)
        for _ in range(ON_THE_WAY):  # all acks are there
            await free.acquire()

    acks = asyncio.ensure_future(take_acks())
    saying = asyncio.ensure_future(say_what_is_due())
    await asyncio.wait([acks, saying], return_when=asyncio.FIRST_COMPLETED)
    if acks.done():
        saying.cancel()
        acks.result()
        raise AssertionError("The connection was closed before all was acknowledged.")
    acks.cancel()
    saying.result()
    return ids


async def look_on(hive: Hive, namespace: str, token: str) -> list[Heard]:
    """What comes until ``end``. Who is too slow is sent away, and goes on where it was."""
    heard: list[Heard] = []
    place: dict[str, Any] = {}
    while True:
        async with hive.agent(namespace, token, types="end,load.*", **place) as agent:
            with suppress(ConnectionClosedError):
                async for text in agent.socket:
                    frame = json.loads(text)
                    assert frame["type"] != "gap", frame
                    if frame["type"] != "event":
                        continue
                    if frame["event_type"] == "end":
                        return heard
                    data = frame["data"]
                    heard.append(Heard(frame["id"], data["number"], data["count"]))
                    place = {"since": frame["id"], "epoch": frame["epoch"]}


def check_nothing_is_lost(heard: Sequence[Heard], published: Sequence[Sequence[int]]) -> None:
    """Everything that was acknowledged has come once, in order; ``published``: by publisher."""
    ids = [each.id for each in heard]
    assert ids == sorted(id for ids in published for id in ids)
    assert len(set(ids)) == len(ids)
    counts = [0] * len(published)
    for each in heard:
        assert each.count == counts[each.number]
        counts[each.number] += 1


def resident(hive: Hive) -> int:
    """Bytes that the server's processes hold."""
    process = hive.project.process
    assert process is not None
    pages = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if os.getpgid(int(folder.name)) == process.pid:
                    pages += int((folder / "statm").read_text().split()[1])
            except (ProcessLookupError, FileNotFoundError):
                continue
    return pages * os.sysconf("SC_PAGE_SIZE")
