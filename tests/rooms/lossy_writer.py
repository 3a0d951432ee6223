"""A process that appends over a bad layer: ``python -m tests.rooms.lossy_writer appends room…``

Each append has a message of its own. At the end it prints what its layer did, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import django


async def append_all(appends: int, rooms: list[int]) -> None:
    from mashin_surfaces.rooms import doorbell, log
    from mashin_surfaces.rooms.events import NewEvent

    for number in range(appends):
        for room in rooms:
            await log.aappend(room, [NewEvent("t", str(number))])
        # Else the bells of many appends become one message.
        while doorbell.is_ringing():  # noqa: ASYNC110  the doorbell tells nobody when it is done
            await asyncio.sleep(0.001)


def main() -> None:
    django.setup()
    from tests.rooms.lossy import TAMPERED

    appends, *rooms = sys.argv[1:]
    asyncio.run(append_all(int(appends), [int(room) for room in rooms]))
    print(json.dumps(TAMPERED))


if __name__ == "__main__":
    main()
