"""Runs in a process of their own: many at once, or gates that are decided one after the other.

``python -m benchmarks.run_work '{"kind": "runs", …}'`` prints one JSON object: per_second (nodes)
for "runs" and "dbos", p50_ms and p99_ms for "decisions".
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

#: Runs on their way at once, ours and the peer's.
AT_ONCE = 200
STEPS = 10


async def runs(order: dict[str, Any]) -> dict[str, float]:
    """Nodes per second of ``order["runs"]`` runs of ten computations."""
    from mashin_surfaces.models import Run

    own, start = await _engine("bench_flow")
    await start(0)
    some = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Any:
        async with some:
            return await start(number)

    began = time.perf_counter()
    made = await asyncio.gather(*(one(number) for number in range(order["runs"])))
    async with asyncio.timeout(60):  # those that took longer than one look
        while own.working_on:  # noqa: ASYNC110  nothing tells that nothing is left
            await asyncio.sleep(0.005)
    elapsed = time.perf_counter() - began
    ids = [run.pk for run in made]
    done = await Run.objects.filter(pk__in=ids, status="completed").acount()
    await own.close()
    return {"per_second": STEPS * order["runs"] / elapsed, "wrong": order["runs"] - done}


async def decisions(order: dict[str, Any]) -> dict[str, float]:
    """Milliseconds from a decision to the next node's start, committed and told; one at a time,
    ``order["rate"]`` a second."""
    from mashin_surfaces.governance.govern import Caller
    from mashin_surfaces.rooms import doorbell
    from mashin_surfaces.runs.commands import Choice, adecide

    own, start = await _engine("bench_gate")
    heard = _Listener()
    doorbell.listeners.add(heard)
    waiting = [await start({}) for _ in range(order["decisions"])]
    took = []
    for run in waiting:
        began = time.perf_counter()
        started = heard.expect(run.room_id)
        await adecide(run, Choice("approve", node_id="review"), Caller(_somebody()))
        async with asyncio.timeout(10):
            took.append(1000 * (await started - began))
        await asyncio.sleep(max(0.0, began + 1 / order["rate"] - time.perf_counter()))
    await own.close()
    took.sort()
    return {"p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)]}


class _Listener:
    """Hears the bells of this process: what they tell is committed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._waited: dict[int, asyncio.Future[float]] = {}

    def expect(self, room: int) -> asyncio.Future[float]:
        """When the node behind the gate is told to run."""
        return self._waited.setdefault(room, self.loop.create_future())

    def heard(self, bells: Any) -> None:
        for bell in bells:
            waiting = self._waited.get(bell.room)
            is_it = any(
                event.type == "node_state" and '"next","status":"running"' in event.payload
                for event in bell.events
            )
            if waiting is not None and is_it and not waiting.done():
                waiting.set_result(time.perf_counter())

    def heard_news(self, topic: str) -> None:
        """Of no room."""


def _somebody() -> Any:
    from mashin_surfaces.identity.principal import Credential, Principal
    from mashin_surfaces.identity.scopes import EVERYTHING

    return Principal("bench", Credential("none"), EVERYTHING)


async def _engine(name: str) -> tuple[Any, Any]:
    """An engine that works on runs, and what starts one of the machine."""
    from asgiref.sync import sync_to_async

    from mashin_surfaces.governance.door import governed
    from mashin_surfaces.machines.registry import registry
    from mashin_surfaces.runs.engine import engine
    from mashin_surfaces.runs.store import NewRun
    from mashin_surfaces.timers.clock import clock

    clock.start()
    snapshot = await sync_to_async(registry.refresh)()
    machine, own = governed(snapshot.machines[name]), engine()
    own.start()

    async def start(n: Any) -> Any:
        given = n if isinstance(n, dict) else {"n": n}
        return await own.create(NewRun(machine, given, "bench"))

    return own, start


def dbos(order: dict[str, Any]) -> dict[str, float]:
    """The same steps, each durable, by DBOS in one process: workflows started at once, as many on
    their way as it has threads."""
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": os.environ["PEER_URL"],
        "log_level": "ERROR",
        "max_executor_threads": AT_ONCE,
    }
    DBOS(config=config)

    @DBOS.step()
    def step(n: int) -> int:
        return n + 1

    @DBOS.workflow()
    def flow(n: int) -> int:
        for _ in range(STEPS):
            n = step(n)
        return n

    DBOS.launch()
    flow(0)
    began = time.perf_counter()
    handles = [DBOS.start_workflow(flow, number) for number in range(order["runs"])]
    results = [handle.get_result() for handle in handles]
    elapsed = time.perf_counter() - began
    DBOS.destroy()
    wrong = sum(result != number + STEPS for number, result in enumerate(results))
    return {"per_second": STEPS * order["runs"] / elapsed, "wrong": wrong}


def main() -> None:
    order = json.loads(sys.argv[1])
    if order["kind"] == "dbos":
        measured = dbos(order)
    else:
        import django

        django.setup()
        measured = asyncio.run({"runs": runs, "decisions": decisions}[order["kind"]](order))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
