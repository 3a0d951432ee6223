"""A process that has a bus told so many events a second, by a tool of the bus, until its standard
input ends; then it says how many it was.

python -m tests.browser.burst ws://host:port/ws/hive namespace 1000
"""

from __future__ import annotations

import asyncio
import sys

from mashin_surfaces.client import IncubatorClient

#: Calls in a second; each publishes its part.
CALLS = 10


async def burst(url: str, namespace: str, rate: int) -> int:
    """Events ``burst.0`` to ``burst.9`` in turn, whose data are their numbers from 1."""
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    each, calls = rate // CALLS, 0
    async with IncubatorClient(url, namespace=namespace, types=("nothing",)) as bus:
        began = loop.time()
        while not ended.done():
            await asyncio.sleep(began + calls / CALLS - loop.time())
            await bus.call("tell", {"first": calls * each + 1, "count": each})
            calls += 1
    return calls * each


if __name__ == "__main__":
    address, name, number = sys.argv[1:]
    print(asyncio.run(burst(address, name, int(number))))
