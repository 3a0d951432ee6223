"""Publishers in a process of their own: many at once, into one room or many; or, as the peer, one
INSERT for each.

``python -m benchmarks.publishers '{"kind": "apublish", …}'`` prints one JSON object: per_second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import django

TEXT = "x" * 64

#: Publishes the message with a number into the room with another.
Publish = Callable[[int, int], Awaitable[object]]


def publishes() -> dict[str, Publish]:
    from benchmarks.peers.models import Event
    from mashin_surfaces import apublish

    async def ours(number: int, room: int) -> object:
        value = {"sequence": number, "text": TEXT}
        return await apublish("bench_room", value, topic=f"room-{room}")

    async def peer(number: int, room: int) -> object:
        payload = json.dumps({"sequence": number, "text": TEXT})
        return await Event.objects.acreate(room=room, offset=number, type="result", payload=payload)

    return {"apublish": ours, "acreate": peer}


async def run(order: dict[str, Any]) -> dict[str, float]:
    """Play one order: kind, publishers, rooms, warm_up, seconds."""
    publish, rooms, done = publishes()[order["kind"]], order["rooms"], 0
    for room in range(rooms):  # what a room costs once is not measured
        await publish(0, room)

    async def work(first: int) -> None:
        nonlocal done
        number = first
        while time.perf_counter() < end:
            await publish(number, number % rooms)
            number += order["publishers"]
            done += 1

    end = time.perf_counter() + order["warm_up"] + order["seconds"]
    working = [asyncio.ensure_future(work(first)) for first in range(order["publishers"])]
    await asyncio.sleep(order["warm_up"])
    before, started = done, time.perf_counter()
    await asyncio.sleep(order["seconds"])
    after, elapsed = done, time.perf_counter() - started
    await asyncio.gather(*working)
    return {"per_second": (after - before) / elapsed}


if __name__ == "__main__":
    django.setup()
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
