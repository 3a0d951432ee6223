"""One large run in a process of its own: started for a server to work on, or only followed.

``python -m benchmarks.large_run '{"kind": "live", "port", "nodes"}'`` prints one JSON object:
``seconds`` until its end was told over a socket, ``entries`` of its log, and ``wrong``, how many
of them did not come. ``replay`` follows one that is over from its beginning, on a fresh socket.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any

import django
from websockets.asyncio.client import connect

PATIENCE = 120.0
_OFFSET = ',"offset":'


async def live(order: dict[str, Any]) -> dict[str, float]:
    """From the moment a run is there, which the server finds due, to its end."""
    await _start(order["nodes"])
    return await _follow(order)


async def replay(order: dict[str, Any]) -> dict[str, float]:
    """From the handshake to the end of the log."""
    return await _follow(order)


async def _start(nodes: int) -> None:
    from mashin_surfaces.governance.door import governed
    from mashin_surfaces.machines.registry import registry
    from mashin_surfaces.runs.engine import engine
    from mashin_surfaces.runs.store import NewRun

    await asyncio.to_thread(_make, nodes)
    snapshot = await asyncio.to_thread(registry.refresh)
    machine = governed(snapshot.machines[_machine(nodes)])
    await engine().create(NewRun(machine, {"n": 1}, "bench"))


def _make(nodes: int) -> None:
    """The machine: one node that all others need. As a source it would be too long."""
    from mashin_surfaces.machines.definition import (
        Compute,
        Field,
        Implements,
        MachineDefinition,
        Type,
    )
    from mashin_surfaces.machines.store import save_machine

    root = Compute(name="root", body="{n: input.n}")
    others = (
        Compute(name=f"n{number}", body="{n: steps.root.n + 1}", after=("root",))
        for number in range(1, nodes)
    )
    number = Field(name="n", type=Type(name="number"))
    steps = Implements(steps=(root, *others))
    definition = MachineDefinition(name=_machine(nodes), accepts=(number,), implements=steps)
    save_machine(definition)


def _machine(nodes: int) -> str:
    return f"bench_large_{nodes}"


async def _follow(order: dict[str, Any]) -> dict[str, float]:
    """The newest run of so many nodes, to its end."""
    run = _machine(order["nodes"])
    url = f"ws://127.0.0.1:{order['port']}/api/dags/{run}/stream?since=0"
    told, last, gaps = 0, "", 0
    gc.disable()
    began = time.perf_counter()
    async with asyncio.timeout(PATIENCE), connect(url, max_size=None, compression=None) as socket:
        await socket.recv()  # the snapshot
        while not last.startswith('{"type":"execution_complete"'):
            last = str(await socket.recv())
            told += 1
            gaps += f"{_OFFSET}{told}," not in last[-80:]
    return {"seconds": time.perf_counter() - began, "entries": told, "wrong": gaps}


KINDS = {"live": live, "replay": replay}

if __name__ == "__main__":
    django.setup()
    order = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(KINDS[order["kind"]](order))))
