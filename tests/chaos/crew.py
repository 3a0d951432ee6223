"""Processes that work on runs and are killed: ``python -m tests.chaos.crew workers runs``

Every second one of the workers is ended by SIGKILL, and another one started; so it goes until there
is something to read. Workers start runs of the machine ``hardy``, each once, and decide what waits
at gates; besides, there is a desk, a process that only decides, and lives.

Workers are forked, so that one which was killed is missed for a moment only. One that ends by
itself ends the crew, with exit code 1.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import django

django.setup()

from mashin_surfaces.exceptions import Recorded  # noqa: E402  the settings come first
from mashin_surfaces.governance.govern import Caller  # noqa: E402
from mashin_surfaces.identity.principal import Credential, Principal  # noqa: E402
from mashin_surfaces.identity.scopes import EVERYTHING  # noqa: E402
from mashin_surfaces.machines.registry import registry  # noqa: E402
from mashin_surfaces.models import Gate, Run  # noqa: E402
from mashin_surfaces.rooms.log import room_threads  # noqa: E402
from mashin_surfaces.runs.commands import Choice, adecide  # noqa: E402
from mashin_surfaces.runs.engine import engine  # noqa: E402
from mashin_surfaces.runs.starting import Wish, start  # noqa: E402
from mashin_surfaces.timers.clock import clock  # noqa: E402

#: Seconds between two kills.
BEAT = 1.0
#: Seconds between two starts, and two looks for gates, of one process.
PAUSE = 0.2
CALLER = Caller(Principal("crew", Credential("none"), EVERYTHING))


async def start_all(runs: int) -> None:
    """Start the runs that nobody has started; another process may do the same."""
    while missing := await room_threads.run(_missing, runs):
        number = random.choice(missing)
        parallel = 2 if number % 3 == 0 else None
        wish = Wish(max_parallel=parallel, request_key=str(number))
        await start("hardy", {"number": number}, CALLER, wish)
        await asyncio.sleep(PAUSE)


def _missing(runs: int) -> list[int]:
    known = set(Run.objects.values_list("request_key", flat=True))
    return [number for number in range(runs) if str(number) not in known]


async def decide_all() -> None:
    """Decide whatever waits, for ever; another process may be first.

    Effects that were cut off run again in runs with an even number.
    """
    while True:
        for gate in await room_threads.run(_open_gates):
            is_again = gate.kind != Gate.Kind.CRASH or gate.run.input["number"] % 2 == 0
            choice = Choice(
                "approve" if is_again else "reject", gate_id=gate.pk, revision=gate.revision
            )
            try:
                await adecide(gate.run, choice, CALLER)
            except Recorded as refusal:
                if refusal.subject != "gate_closed":
                    raise
        await asyncio.sleep(PAUSE)


def _open_gates() -> list[Gate]:
    gates = list(Gate.objects.filter(status=Gate.Status.OPEN).select_related("run"))
    random.shuffle(gates)
    return gates


async def work(runs: int) -> None:
    clock.start()
    engine().start()
    await asyncio.gather(start_all(runs), decide_all())


def fork(life: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """A process that leads this life; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            random.seed()
            registry.refresh()
            asyncio.run(life())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def main(size: int, runs: int) -> int:
    """Kill and start until there is something to read; the exit code."""

    async def life() -> None:
        await work(runs)

    desk, workers = fork(decide_all), [fork(life) for _ in range(size)]
    try:
        while not select.select([sys.stdin], [], [], BEAT)[0]:
            if any(os.waitpid(pid, os.WNOHANG)[0] for pid in (desk, *workers)):
                return 1
            place = random.randrange(size)
            os.kill(workers[place], signal.SIGKILL)
            os.waitpid(workers[place], 0)
            workers[place] = fork(life)
        return 0
    finally:
        for pid in (desk, *workers):
            os.kill(pid, signal.SIGKILL)
        for pid in (desk, *workers):
            os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
