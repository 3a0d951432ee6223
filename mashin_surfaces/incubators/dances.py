"""The calls of tools in a namespace ("dances"): one after the other, in one process at a time;
those of tools that are marked ``parallel`` beside them, at once.

call ─► queue ─► the namespace's lease ─┬─► performing.py
call of a parallel tool ─► a free place ┘
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic

from django.db import DatabaseError

from ..commit import CommitFailed
from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.govern import note
from ..loops import PerLoop
from ..machines.json_values import dumps
from ..rooms.appending import RoomIsGone
from ..timers.holding import Holding
from .calls import Answer, Call, failure, was_reset
from .doors import bus_door
from .performing import Performance
from .tools import is_parallel, tools_of

__all__ = ["Answer", "Call", "Dances", "dances_of", "tools_of"]

logger = logging.getLogger(__name__)

LEASE = "incubator"
#: Seconds that a process works on a namespace before another one may, and keeps an idle one.
TURN = 0.1
LINGER = 0.05
RETRY = 0.01


class Dances:
    """One namespace's calls in this process. ``machine``: whose tools they are."""

    def __init__(self, room: int, namespace: str) -> None:
        self.room = room
        self.namespace = namespace
        self.machine = ""
        self._calls: deque[Call] = deque()
        self._came = asyncio.Event()
        self._holding = Holding(LEASE, str(room))
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._places = asyncio.Semaphore(settings.INCUBATORS.MAX_PARALLEL)
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        is_resting = self._task is None or self._task.done()
        return is_resting and not self._calls and not self._beside

    async def call(self, call: Call) -> Answer:
        """The result, once what the tool did is committed."""
        loop = asyncio.get_running_loop()
        if is_parallel(self.machine, call.tool):
            task = loop.create_task(self._run_beside(call))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)
        else:
            self._calls.append(call)
            self._came.set()
            if self._task is None or self._task.done():
                self._task = loop.create_task(self._run())
        return await asyncio.shield(call.answer)

    def discard(self, epoch: str) -> None:
        """The namespace was reset: what waits from before is not run any more."""
        waiting, self._calls = self._calls, deque()
        for call in waiting:
            if call.epoch == epoch:
                self._calls.append(call)
            else:
                self._settle(call, was_reset())

    async def _run(self) -> None:
        patience = monotonic() + settings.INCUBATORS.TIMEOUT + settings.LEDGER.WAIT
        while self._calls:
            if not await self._holding.take():
                if monotonic() > patience:
                    while self._calls:
                        refusal = Refusal(Code.BUSY, "This bus is busy.", retry_after=1)
                        self._settle(self._calls.popleft(), refusal)
                    return
                await asyncio.sleep(RETRY)
                continue
            patience = monotonic() + settings.INCUBATORS.TIMEOUT + settings.LEDGER.WAIT
            try:
                await self._take_turn()
            finally:
                await self._holding.give_up()
            await asyncio.sleep(RETRY)  # others may want it

    async def _take_turn(self) -> None:
        end = monotonic() + TURN
        while self._holding.is_held and monotonic() < end:
            if not self._calls:
                self._came.clear()
                try:
                    async with asyncio.timeout(LINGER):
                        await self._came.wait()
                except TimeoutError:
                    return
            if self._calls:  # what came may have been discarded
                await self._perform(self._calls.popleft())

    async def _run_beside(self, call: Call) -> None:
        async with self._places:
            await self._perform(call)

    async def _perform(self, call: Call) -> None:
        try:
            answer = await Performance(self.room, self.namespace, call, self._ended).perform()
            if not call.answer.done():
                call.answer.set_result(answer)
        except Refusal as refusal:
            await self._refuse(call, refusal)
        except (DatabaseError, CommitFailed) as error:
            logger.warning("A call of the bus %r is not committed: %s", self.namespace, error)
            message = "It can't be committed now; try again."
            self._settle(call, Refusal(Code.LEDGER_UNAVAILABLE, message, retry_after=1))
        except RoomIsGone:
            self._settle(call, Refusal(Code.NOT_FOUND, "This namespace is gone."))
        except Exception:
            logger.exception("A call of the bus %r can't be carried out", self.namespace)
            message = f'The tool "{call.tool}" could not be run.'
            await self._refuse(call, Refusal(Code.EXECUTION_FAILED, message))
        finally:
            self._ended.set()

    async def _refuse(self, call: Call, refusal: Refusal) -> None:
        door = bus_door("act", self.namespace)
        raw = dumps({"tool": call.tool})
        answer = await note(door, call.actor.caller, event="message", refusal=refusal, raw=raw)
        self._settle(call, answer.refusal or refusal)

    @staticmethod
    def _settle(call: Call, refusal: Refusal) -> None:
        if not call.answer.done():
            call.answer.set_result(Answer(dumps(failure(refusal)).decode(), is_failure=True))


_dances: PerLoop[dict[int, Dances]] = PerLoop(dict)
#: Namespaces that are kept while nobody calls.
MOST_IDLE = 1_000


def dances_of(room: int, namespace: str, machine: str) -> Dances:
    """The calls of a namespace on this loop. ``machine``: its own, as far as it is known."""
    known = _dances.here()
    found = known.get(room)
    if found is None:
        if len(known) >= MOST_IDLE:
            for id in [id for id, each in known.items() if each.is_idle]:
                del known[id]
        found = known[room] = Dances(room, namespace)
    found.machine = machine or found.machine
    return found
