"""A process that appends what it is told to: ``python -m tests.rooms.appender``

Says ``ready``; then each line of its standard input is something to do at once, and a line of its
output tells that it is done. Ends with its input.

==============================  ===================================================================
``append name room``            an event; done: ``name offset``
``access name``                 a row of the ledger; done: ``name written``
``many name appends room…``     four chains of appends, three on the loop and one on a thread,
                                where every tenth is a transaction of its own over all rooms;
                                done: ``name done``
``plain name appends room…``    the same, and the state stays as it is
==============================  ===================================================================

The payloads of ``many`` are ``{"chain": …, "number": …, "part": …}``. Its appends have one part or
three, and set two keys of the room's state to their last payload: ``last`` and the chain's name.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import django

CHAINS = 4

django.setup()

from django.db import connections, transaction  # noqa: E402  the settings come first

from mashin_surfaces.ledger.record import record  # noqa: E402
from mashin_surfaces.rooms import log  # noqa: E402
from mashin_surfaces.rooms.events import Mutation, NewEvent  # noqa: E402
from tests.ledger.rows import access  # noqa: E402


def append_of(
    chain: str, number: int, size: int, *, is_plain: bool
) -> tuple[list[NewEvent], list[Mutation]]:
    """The events of an append, and what it makes of the state."""
    payloads = [{"chain": chain, "number": number, "part": part} for part in range(size)]
    events = [NewEvent("t", json.dumps(payload)) for payload in payloads]
    mutations: list[Mutation] = (
        []
        if is_plain
        else [{"op": "set", "key": key, "value": payloads[-1]} for key in ("last", chain)]
    )
    return events, mutations


async def on_the_loop(chain: str, appends: int, rooms: Sequence[int], *, is_plain: bool) -> None:
    choice = random.Random(chain)
    for number in range(appends):
        events, mutations = append_of(chain, number, choice.choice((1, 1, 1, 3)), is_plain=is_plain)
        await log.aappend(choice.choice(rooms), events, mutations)


def on_a_thread(chain: str, appends: int, rooms: Sequence[int], *, is_plain: bool) -> None:
    choice = random.Random(chain)
    for number in range(appends):
        events, mutations = append_of(chain, number, 1, is_plain=is_plain)
        if number % 10:
            log.append(choice.choice(rooms), events, mutations)
        else:
            with transaction.atomic():
                for room in sorted(rooms):  # who holds several locks takes them in one order
                    log.append(room, events, mutations)
    connections.close_all()


async def do(line: str) -> None:
    match line.split():
        case ["append", name, room]:
            done = str((await log.aappend(int(room), [NewEvent("t", f'"{name}"')])).last)
        case ["access", name]:
            await record(access(surface=name))
            done = "written"
        case ["many" | "plain" as kind, name, appends, *rooms]:
            numbers, each = [int(room) for room in rooms], int(appends) // CHAINS
            work: dict[str, Any] = {"appends": each, "rooms": numbers, "is_plain": kind == "plain"}
            await asyncio.gather(
                *(on_the_loop(f"{name}.{chain}", **work) for chain in range(CHAINS - 1)),
                asyncio.to_thread(on_a_thread, f"{name}.{CHAINS - 1}", **work),
            )
            done = "done"
        case _:
            raise ValueError(line)
    print(name, done, flush=True)


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    print("ready", flush=True)
    async with asyncio.TaskGroup() as tasks:
        while line := await lines.readline():
            tasks.create_task(do(line.decode()))


if __name__ == "__main__":
    asyncio.run(main())
