"""A process that replays a long log to a slow reader: ``python -m tests.rooms.replayer room``

Prints as JSON how many events came, whether in order, after how many reads of the log the first
one did, and by how many bytes the process grew.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import django
import psutil


async def replay(room: int) -> dict[str, Any]:
    from mashin_surfaces.rooms import live, log
    from mashin_surfaces.rooms.events import Event
    from mashin_surfaces.rooms.hub import hub
    from tests.rooms.followers import Follower

    reads: list[int] = []
    aread = log.aread

    async def counted(room: int, after: int, limit: int = 500) -> list[Event]:
        reads.append(after)
        return await aread(room, after, limit)

    vars(live)["aread"] = counted
    # What is read, loaded and connected once is no growth of a replay.
    warm = Follower()
    head = (await log.alook([room]))[room].head
    await warm.join(hub(), room, since=head - 2_000)
    await warm.until(lambda: len(warm.told) == 2_000)
    warm.told.clear()
    process = psutil.Process()
    before, most = process.memory_info().rss, 0
    came, is_ordered, first_after = 0, True, 0
    reads.clear()

    class SlowReader(Follower):
        async def _send(self, text: str) -> None:
            nonlocal came, is_ordered, first_after, most
            came += 1
            is_ordered = is_ordered and text.startswith(f"{came} ")
            first_after = first_after or len(reads)
            if came % 1_000 == 0:
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0)  # it takes no more for a moment
            self._news.set()

    reader = SlowReader()
    joined = await reader.join(hub(), room, since=0)
    await asyncio.wait_for(reader.until(lambda: came == head), 260)
    await hub().close()
    return {
        "came": came,
        "is_ordered": is_ordered,
        "recovered": joined.recovered,
        "first_after": first_after,
        "reads": len(reads),
        "grown": most - before,
    }


def main() -> None:
    django.setup()
    print(json.dumps(asyncio.run(replay(int(sys.argv[1])))))


if __name__ == "__main__":
    main()
