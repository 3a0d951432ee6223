"""A process that has a bus told so many events a second, for so many seconds, by a tool of the bus.

python -m tests.browser.burst ws://host:port/ws/hive namespace 1000 5
"""

from __future__ import annotations

import asyncio
import sys

from mashin_surfaces.client import IncubatorClient

#: Calls in a second; each publishes its part.
CALLS = 10


async def burst(url: str, namespace: str, rate: int, seconds: int) -> None:
    """Events ``burst.0`` to ``burst.9`` in turn, whose data are their numbers from 1."""
    loop = asyncio.get_running_loop()
    each = rate // CALLS
    async with IncubatorClient(url, namespace=namespace, types=("nothing",)) as bus:
        began = loop.time()
        for call in range(seconds * CALLS):
            await asyncio.sleep(began + call / CALLS - loop.time())
            await bus.call("tell", {"first": call * each + 1, "count": each})


if __name__ == "__main__":
    address, name, *numbers = sys.argv[1:]
    asyncio.run(burst(address, name, *map(int, numbers)))
