"""Working on one run: what happened is taken in, committed, and what comes next is begun.

held ─► look (``progress``) ─► commit ─► execute ─► outcome ─► look … ─► at rest: given up

Nothing counts before it is committed, and a commit counts only while this process holds the run
and nobody else has changed it. At a gate, a wait or the end nothing of the run is left in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol

from django.db import Error

from ..commit import CommitFailed
from ..exceptions import Code, Refusal
from ..rooms import doorbell
from ..rooms.appending import RoomIsGone
from ..rooms.log import aput, database, room_threads
from ..steps.spending import Charge
from . import launches
from .announcements import announce
from .change import Change, Superseded
from .execution import Outcome
from .holders import NEWS
from .models import CostEntry, Node
from .progress import Progress
from .state import RunState
from .states import NodeStatus, RunStatus
from .store import load

logger = logging.getLogger(__name__)

#: Seconds that nodes get to end when the run is cancelled, before they are abandoned.
GRACE = 10.0
#: Seconds between two tries while the database is away.
RETRY = 0.5


class Runner(Protocol):
    """Where nodes are executed (``runners.py``, ``celery_runner.py``).

    ``begin`` has an attempt made, once; ``report`` is called with what came of it, on the loop.
    ``resume``: the same for an attempt that somebody else has begun; False when it is lost.
    """

    def begin(self, state: RunState, node: Node, report: Callable[[Outcome], None]) -> None: ...

    async def resume(
        self, state: RunState, node: Node, report: Callable[[Outcome], None]
    ) -> bool: ...

    def cancel(self, run: str) -> None:
        """Tell the executions of a run to end."""

    def charged(self, run: str, node: Node) -> Sequence[Charge]:
        """What the attempt that a node is at has cost so far, as far as that is known here."""

    def forget(self, run: str) -> None:
        """Nobody waits for the executions of a run any more."""

    def news(self) -> None:
        """Another process told something: an execution may have ended there."""

    def trouble(self) -> str | None:
        """Why nodes wait longer than they should; None when they do not."""


class Driver:
    """One run in this process, as long as there is something to do for it here."""

    def __init__(self, state: RunState, runner: Runner, tell_others: Callable[[], None]) -> None:
        """``tell_others``: called when other runs have something to do because of this one."""
        self.state = state
        self.id = state.run.id
        self._runner = runner
        self._tell_others = tell_others
        self._outcomes: list[Outcome] = []
        self._came = asyncio.Event()
        #: Set when nobody works on the run here any more.
        self.is_left = asyncio.Event()
        #: Attempts that are made for this driver, and those that died with another process.
        self._begun: set[tuple[str, int]] = set()
        self._lost: set[tuple[str, int]] = set()
        self._is_stale = False
        self._cancelled_at: float | None = None

    @property
    def version(self) -> int:
        """Of the run as it is known here."""
        return self.state.run.version

    @property
    def is_poked(self) -> bool:
        """Whether somebody else has changed the run since it was read."""
        return self._is_stale

    def poke(self) -> None:
        """Somebody else has changed the run: read it again."""
        self._is_stale = True
        self._came.set()

    def report(self, outcome: Outcome) -> None:
        """An execution has ended."""
        self._outcomes.append(outcome)
        self._came.set()

    def begin(self, nodes: Sequence[Node]) -> None:
        """Have nodes executed whose start is committed."""
        for node in nodes:
            self._begun.add((node.name, node.attempt))
            self._runner.begin(self.state, node, self.report)

    async def take_over(self) -> None:
        """Work on a run that others had: what they had begun goes on, or is lost."""
        for node in self.state.executing():
            place = (node.name, node.attempt)
            if await self._runner.resume(self.state, node, self.report):
                self._begun.add(place)
            else:
                self._lost.add(place)
        await self.drive()

    async def drive(self) -> None:
        """Work until the run rests, or is somebody else's."""
        try:
            while True:
                if self._is_stale and not await self._read_again():
                    return
                is_resting = await self._step()
                if is_resting is None:  # the commit did not count
                    self._is_stale = True
                elif is_resting:
                    return
        except RoomIsGone:  # it was deleted
            self._runner.cancel(self.id)
        finally:
            self._runner.forget(self.id)

    # -- one look -------------------------------------------------------------------------------

    async def _step(self) -> bool | None:
        """Look, commit, begin, wait. Whether the run rests now; None: read it again."""
        state = self.state
        self._came.clear()
        change = Change(state)
        progress = Progress(state, change)
        for node in state.executing():
            if (node.name, node.attempt) in self._lost:
                progress.lose(node)
        taken = len(self._outcomes)
        outcomes = self._outcomes[:taken]
        outcomes += await self._look_at_children(change)
        progress.go_on([*outcomes, *self._abandoned({outcome.node for outcome in outcomes})])
        is_resting = progress.is_resting
        if is_resting:
            progress.rest()
        if progress.is_over and state.run.parent_id:
            change.also.append(launches.tell_parent(state.run, change.now))
        if not change.is_empty and not await self._commit(change):
            return None
        del self._outcomes[:taken]
        announce(state, change, is_over=progress.is_over)
        if change.also:
            self._tell_others()
        if is_resting:
            return not self._is_stale or progress.is_over
        self.begin(progress.to_run)
        if state.run.status == RunStatus.CANCELLING and self._cancelled_at is None:
            self._cancelled_at = monotonic()
            self._runner.cancel(self.id)
        if not progress.has_more and not self._is_stale and not self._outcomes:
            await self._wait()
        return False

    def _abandoned(self, ended: Collection[str]) -> list[Outcome]:
        """The end of what did not end in time after the run was cancelled."""
        if self._cancelled_at is None or monotonic() < self._cancelled_at + GRACE:
            return []
        error = {"code": Code.EXECUTION_FAILED.value, "message": "It was abandoned."}
        return [
            Outcome(
                node.name,
                node.attempt,
                error=error,
                charges=self._runner.charged(self.id, node),
                is_cancelled=True,
            )
            for node in self.state.executing()
            if node.name not in ended
        ]

    async def _look_at_children(self, change: Change) -> list[Outcome]:
        """Launch more of those that nodes wait for; what came of them where all have ended."""
        state = self.state
        waiting = state.collecting()
        if not waiting:
            return []
        if state.run.status == RunStatus.CANCELLING:
            return await self._cancel_children(waiting)
        found = await self._children(waiting)
        outcomes = []
        for node in waiting:
            try:
                outcome = launches.go_on(state, change, node, found[node.name])
            except Refusal as refusal:
                error = {"code": refusal.code.value, "message": refusal.message}
                outcome = Outcome(node.name, node.attempt, error=error)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    async def _children(self, waiting: Sequence[Node]) -> dict[str, list[launches.Child]]:
        while True:
            try:
                return await room_threads.run(launches.children, self.state.run, waiting)
            except Error as error:
                logger.warning("What the run %s launched can't be read now: %s", self.id, error)
                await asyncio.sleep(RETRY)

    async def _cancel_children(self, waiting: Sequence[Node]) -> list[Outcome]:
        """The end of nodes that wait for runs, once those are told that it is theirs, too."""
        try:
            if await launches.cancel_children(self.state.run, waiting):
                self._tell_others()
                doorbell.tell(NEWS)
        except (CommitFailed, Error) as error:
            logger.warning("What the run %s launched can't be cancelled now: %s", self.id, error)
            await asyncio.sleep(RETRY)
            return []
        error_ = {"code": Code.EXECUTION_FAILED.value, "message": "The run was cancelled."}
        return [Outcome(n.name, n.attempt, error=error_, is_cancelled=True) for n in waiting]

    async def _commit(self, change: Change) -> bool:
        """Write the change; False when it does not count, or nobody knows."""
        try:
            await aput(change.as_append())
        except Superseded:
            return False
        except CommitFailed as error:
            logger.warning("The run %s can't be written now: %s", self.id, error)
            await asyncio.sleep(RETRY)
            return False
        change.committed()
        return True

    async def _wait(self) -> None:
        due = self.state.next_due()
        seconds = None if due is None else max(0.0, (due - datetime.now(UTC)).total_seconds())
        if self._cancelled_at is not None:
            left = max(0.0, self._cancelled_at + GRACE - monotonic())
            seconds = left if seconds is None else min(seconds, left)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()

    # -- read again -----------------------------------------------------------------------------

    async def _read_again(self) -> bool:
        """What is in memory is not what is stored; False when the run is not ours any more."""
        fence = self.state.run.fence
        while True:
            self._is_stale = False
            try:
                state = await room_threads.run(load, self.id)
                ended = self._outcomes[:]
                # In its place: what ends meanwhile stands behind it.
                self._outcomes[: len(ended)] = await room_threads.run(_unbooked, self.id, ended)
                break
            except Error as error:
                logger.warning("The run %s can't be read now: %s", self.id, error)
                await asyncio.sleep(RETRY)
        if state is None or state.run.fence != fence or not state.run.holder:
            self._runner.cancel(self.id)
            self._is_stale = True  # it may be ours again, by another claim
            return False
        self.state = state
        # A commit that was not known to count: what it started was not begun yet.
        known = self._begun | self._lost
        self.begin([node for node in state.executing() if (node.name, node.attempt) not in known])
        return True


def _unbooked(id: str, outcomes: list[Outcome]) -> list[Outcome]:
    """Those whose cost is not booked yet: the others were taken by a commit that counted."""
    if not outcomes:
        return []
    rows = CostEntry.objects.using(database()).filter(run=id)
    booked = set(rows.values_list("node", "attempt"))
    running = Node.objects.using(database()).filter(run=id, status=NodeStatus.RUNNING)
    waited_for = set(running.values_list("name", "attempt"))
    return [
        outcome
        for outcome in outcomes
        if (place := (outcome.node, outcome.attempt)) in waited_for
        or (outcome.charges and place not in booked)
    ]
