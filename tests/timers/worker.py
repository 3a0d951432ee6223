"""A process that beats, holds a lease and is in a room, until it is killed, frozen or ended.

``python -m tests.timers.worker '{"beat": 0.2, "lease": "x", "ttl": 1, "room": 7, "members": 2}'``
Says on its output: ``fence N`` when it got the lease, ``lost`` when it did not keep it, ``ready``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import django

django.setup()

from mashin_surfaces.rooms import presence  # noqa: E402
from mashin_surfaces.timers import lease, process  # noqa: E402
from mashin_surfaces.timers.clock import clock  # noqa: E402


async def keep(key: str, ttl: float) -> None:
    while True:
        fence = await lease.claim("feed", key, ttl)
        print("fence", fence, flush=True)
        is_kept = True
        while is_kept:
            await asyncio.sleep(ttl / 3)
            is_kept = await lease.renew("feed", key, ttl)
        print("lost", flush=True)


async def main(wanted: dict[str, Any]) -> None:
    process.BEAT = wanted.get("beat", process.BEAT)
    clock.start()
    for number in range(wanted.get("members", 0)):
        await presence.enter(wanted["room"], f"{process.process_id()[:16]}{number}", f"p{number}")
    keeping = asyncio.create_task(keep(wanted["lease"], wanted["ttl"]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
    keeping.cancel()


asyncio.run(main(json.loads(sys.argv[1])))
