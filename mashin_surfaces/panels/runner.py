"""Running the tools of a panel: one after the other, in one process of the cluster at a time.

job ─► queue ─► the panel's lease ─► run on the state as committed ─► one transaction ─► notes

Whoever has something to run takes the panel's lease, loads the panel, works for a moment, and
gives it up. So no trigger sees a state that is about to change, and a transaction holds all that a
trigger did: state, log, its access row, what it fires, its remembered result. The result itself is
a note behind the trigger's events: on its socket nothing stands between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter_ns
from typing import Any
from uuid import uuid4

import orjson
from django.db import DatabaseError, InterfaceError, OperationalError

from ..commit import CommitFailed
from ..conf import settings
from ..dialects import panel as dialect
from ..exceptions import Code, Refusal
from ..governance.govern import Caller, access_row, note
from ..identity.principal import Credential, Principal
from ..identity.scopes import EVERYTHING
from ..ledger.access import Access
from ..ledger.record import companions
from ..loops import PerLoop
from ..machines.schemas import dumps
from ..rooms import doorbell
from ..rooms.appending import Append, RoomIsGone
from ..rooms.events import Bell, NewEvent, Note
from ..rooms.log import aput, database, room_threads
from ..rooms.state import applied
from ..timers.holding import Holding
from .context import Context
from .definition import PanelTool
from .doors import Verb, panel_door
from .due import BY_HAND, CLOCKS, MOST_DEPTH, fired, next_time, rows
from .execution import Execution, execute, failed
from .models import Due, PanelRequest, Suspension
from .store import LoadedPanel, load, no_panel, remembered_since, status_of

logger = logging.getLogger(__name__)

LEASE = "panel"
#: Seconds that a process works on a panel before another one may.
TURN = 0.1
#: Seconds that it keeps an idle panel, and between two tries to get one.
LINGER = 0.05
RETRY = 0.01
#: Due rows that are taken up at once.
MOST_DUE = 100
#: The name of every member: notes to all go by it.
EVERYBODY = "*"


@dataclass(slots=True, eq=False)
class Outcome:
    """What becomes of a job: an ExecutionResult, or the refusal to run it; both, when it was
    cancelled while it waited."""

    result: dict[str, Any] | None = None
    refusal: Refusal | None = None
    access_id: str = ""
    #: Whether the connection that asked gets the result behind its events.
    is_told: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A tool to run. ``address``: the connection that asked, "" when it is told otherwise."""

    tool: str
    args: Any
    caller: Caller
    request_id: str = ""
    address: str = ""
    expect: int | None = None
    depth: int = 0
    verb: Verb = "trigger"
    #: The row that made it due, and the suspension that it goes on with.
    due: int | None = None
    due_kind: str = ""
    suspension: str = ""
    #: When the row should have fired.
    planned: datetime | None = None
    is_cancelled: bool = False
    started: int = field(default_factory=perf_counter_ns)
    outcome: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def is_fired(self) -> bool:
        """Whether nobody asked for it: the clock, an event or a change did."""
        return self.due is not None and not self.suspension and self.due_kind != BY_HAND

    def is_of(self, principal: str, request_id: str) -> bool:
        """Whether it is what this principal asked for by this request id."""
        return (self.caller.principal.name, self.request_id) == (principal, request_id)

    def settle(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Runner:
    """One panel's jobs in this process."""

    def __init__(self, room: int, key: str) -> None:
        self.room = room
        self.key = key
        self._jobs: deque[Job] = deque()
        self._due: set[int] = set()  # rows that are in the queue
        self._came = asyncio.Event()
        self._holding = Holding(LEASE, str(room))
        self._is_woken = False  # something is due that was not read yet
        self._job: Job | None = None  # the one that is carried out, until it is committed
        self._running: asyncio.Task[Execution] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return not self._jobs and (self._task is None or self._task.done())

    def put(self, job: Job) -> None:
        """Have it run."""
        if job.due is not None:
            if job.due in self._due:
                return
            self._due.add(job.due)
        self._jobs.append(job)
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Something is due: see what."""
        self._is_woken = True
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self, principal: str, request_id: str) -> bool:
        """Cancel a job that waits or runs here; False when there is none.

        One with a row is not taken from the queue: the row would bring it back.
        """
        for job in self._jobs:
            if job.due is None and job.is_of(principal, request_id):
                self._jobs.remove(job)
                refusal = Refusal(Code.EXECUTION_FAILED, "It was cancelled before it ran.")
                job.settle(Outcome(result=_cancelled().as_result(), refusal=refusal))
                return True
        doing = self._job
        if doing is None or not doing.is_of(principal, request_id):
            return False
        doing.is_cancelled = True
        if self._running is not None:
            self._running.cancel()
        return True

    # -- the lease ------------------------------------------------------------------------------

    async def _run(self) -> None:
        patience = monotonic() + settings.PANELS.TIMEOUT + settings.LEDGER.WAIT
        try:
            while True:
                if not await self._holding.take():
                    if monotonic() > patience:
                        self._refuse_all(Refusal(Code.BUSY, "This panel is busy.", retry_after=1))
                        return
                    await asyncio.sleep(RETRY)
                    continue
                patience = monotonic() + settings.PANELS.TIMEOUT + settings.LEDGER.WAIT
                try:
                    await self._take_turn()
                finally:
                    await self._holding.give_up()
                if not self._jobs and not self._is_woken:
                    return
                await asyncio.sleep(RETRY)  # others may want it
        except Exception:
            logger.exception("The panel %r can't be worked on", self.key)
            self._refuse_all(Refusal(Code.EXECUTION_FAILED, "The panel can't be worked on."))

    def _refuse_all(self, refusal: Refusal) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            self._due.discard(job.due or 0)
            job.settle(Outcome(refusal=refusal))

    async def _take_turn(self) -> None:
        """Load the panel and work on it until there is nothing to do, or the turn is over."""
        self._is_woken = False
        try:
            panel, dues = await room_threads.run(_load, self.room)
        except DatabaseError as error:
            logger.warning("The panel %r can't be read: %s", self.key, error)
            self._refuse_all(_unreadable())
            return
        if panel is None:
            self._refuse_all(no_panel(self.key))
            return
        self._forget_done({(due.pk, due.due_at) for due in dues})
        for due in dues:
            self.put(_job_of(due, self.key))
        self._is_woken |= len(dues) == MOST_DUE  # there may be more
        end = monotonic() + TURN
        while self._holding.is_held and monotonic() < end:
            if not self._jobs:
                if self._is_woken:  # while a tool ran: read what is due with the next turn
                    return
                self._came.clear()
                try:
                    async with asyncio.timeout(LINGER):
                        await self._came.wait()
                except TimeoutError:
                    return
                if not self._jobs:  # woken for what is due: read it with the next turn
                    return
            self._job = job = self._jobs.popleft()
            self._due.discard(job.due or 0)
            try:
                await self._do(panel, job)
            except _Stop:
                return
            except _Reload:
                self._jobs.appendleft(job)  # the same one: it may have been cancelled
                if job.due is not None:
                    self._due.add(job.due)
                self._is_woken = True
                return
            except (OperationalError, InterfaceError) as error:  # a row stays, and is done later
                logger.warning(
                    "A trigger of the panel %r can't be carried out: %s", self.key, error
                )
                job.settle(Outcome(refusal=_unreadable()))
                return
            except Exception:
                await self._give_up(panel, job)
            finally:
                self._job = None

    def _forget_done(self, due: set[tuple[int, datetime]]) -> None:
        """Others may have had the panel since the last turn: what they have done is not done here,
        too. What is still due will be found by its row."""
        for job in tuple(self._jobs):
            if job.due is not None and (job.due, job.planned) not in due:
                self._jobs.remove(job)
                self._due.discard(job.due)

    async def _give_up(self, panel: LoadedPanel, job: Job) -> None:
        """A job that fails where nothing should: recorded and answered, and not tried again."""
        logger.exception("A trigger of the panel %r can't be carried out", self.key)
        refusal = Refusal(Code.EXECUTION_FAILED, f'The tool "{job.tool}" could not be run.')
        answer = await note(
            panel_door(job.verb, self.key),
            job.caller,
            event=job.verb,
            refusal=refusal,
            raw=dumps({"tool": job.tool}),
            request_id=job.request_id or None,
        )
        job.settle(Outcome(refusal=answer.refusal, access_id=answer.request_id))
        if job.due is not None:
            await room_threads.run(_pass_over, job, panel.tools.get(job.tool))

    # -- one job --------------------------------------------------------------------------------

    async def _do(self, panel: LoadedPanel, job: Job) -> None:
        suspension = None
        if job.suspension:
            suspension = await room_threads.run(_suspension, job.suspension)
            if suspension is None or not _goes_on(job, suspension):
                await room_threads.run(_drop_due, job.due)
                return
        door = panel_door(job.verb, panel.key, panel.machine)
        tool = panel.tools.get(job.tool)
        try:
            if job.request_id and suspension is None:
                stored = await self._stored(panel, job)
                if stored is not None:
                    if job.due is None:
                        await self._tell_again(job, stored)
                    else:  # nobody asks again: another process was quicker
                        await room_threads.run(_drop_due, job.due)
                        job.settle(Outcome(result=orjson.loads(stored)))
                    return
            if job.expect is not None and job.expect != panel.head:
                raise Refusal(
                    Code.CONFLICT,
                    f"The panel is at offset {panel.head}, not at {job.expect}: look again.",
                )
            if tool is None:
                raise Refusal(
                    Code.NOT_FOUND, f'This panel has no tool "{job.tool}".', subject="tool"
                )
            args = tool.check(job.args) if not job.is_fired else _fitting(tool, job.args)
        except Refusal as refusal:
            if suspension is not None:  # whatever became of its tool, it ends in a result
                word = refusal.code.value.upper()
                execution = failed(refusal.code, word, refusal.message)
                await self._commit(panel, job, tool, execution, suspension)
                return
            answer = await note(
                door,
                job.caller,
                event=job.verb,
                refusal=refusal,
                raw=dumps({"tool": job.tool}),
                request_id=job.request_id or None,
            )
            if job.due is not None:
                await room_threads.run(_pass_over, job, tool)
            job.settle(Outcome(refusal=answer.refusal, access_id=answer.request_id))
            return
        execution = await self._execute(panel, job, tool, args, suspension)
        self._job = None  # from now on it counts
        await self._commit(panel, job, tool, execution, suspension)

    async def _execute(
        self,
        panel: LoadedPanel,
        job: Job,
        tool: PanelTool,
        args: dict[str, Any],
        suspension: Suspension | None,
    ) -> Execution:
        is_over = suspension is not None and suspension.status == Suspension.Status.CANCELLED
        if is_over or job.is_cancelled:
            return _cancelled()
        context = Context(
            panel.state if suspension is None else suspension.state,
            args=args,
            principal=job.caller.principal,
            capabilities=panel.capabilities_of(tool),
            answers=[] if suspension is None else suspension.answers,
            committed=panel.state,
            tell=self._progress(job),
        )
        running = asyncio.get_running_loop().create_task(
            execute(tool, context, job.caller, settings.PANELS.TIMEOUT)
        )
        self._running = running
        try:
            execution = await running
        except asyncio.CancelledError:
            if not running.cancelled():
                raise
            execution = _cancelled()
        finally:
            self._running = None
        if execution.mutations and not _fits(panel.state, execution):
            most = settings.PANELS.MAX_STATE
            return failed(Code.TOO_LARGE, "RESOURCE_LIMIT", f"A state has at most {most} bytes.")
        return execution

    def _progress(self, job: Job) -> Callable[[str, Any], None]:
        """Tell the sender how far the tool is, from whatever thread it runs on."""

        def tell(status: str, data: Any) -> None:
            if not _to(job):
                return
            text = dialect.progress(job.suspension or None, job.request_id or None, status, data)
            tell_members(self.room, [Note(_to(job), text, is_local=bool(job.address))])

        return tell

    async def _commit(
        self,
        panel: LoadedPanel,
        job: Job,
        tool: PanelTool | None,
        execution: Execution,
        suspension: Suspension | None,
    ) -> None:
        """Everything that the run did, in one transaction; then it is told."""
        name = job.caller.principal.name
        now = datetime.now(UTC)
        after = applied(panel.state, execution.mutations)
        waits = _new_suspension(panel, job, execution, suspension, now)
        result = execution.as_result("" if waits is None else waits.id)
        result_text = dumps(result).decode()
        dues = self._dues(panel, job, execution, after, waits, now)
        # An answered suspension is not counted any more, one that expires now still is.
        before = panel.open_suspensions + (job.due_kind == "resume")
        waiting = panel.open_suspensions - (job.due_kind == "deadline") + (waits is not None)
        notes = []
        if _to(job):
            text = dialect.result(job.request_id or None, result_text)
            notes.append(Note(_to(job), text, is_local=bool(job.address)))
        if (before == 0) != (waiting == 0):
            notes.append(Note(EVERYBODY, dialect.status(status_of(waiting)), is_local=False))

        def also() -> None:
            alias = database()
            if job.request_id:
                _remember(alias, self.room, job, result_text, now)
            if waits is not None:
                waits.save(using=alias, force_insert=True)
            if dues:
                Due.objects.using(alias).bulk_create(dues)
            if suspension is not None:
                _close_suspension(alias, suspension)
            if job.due is not None:
                _settle_due(alias, job, tool, now)

        mark = job.request_id or f"~{uuid4().hex[:16]}"
        events = _events(execution, mark, name)
        item = Append(self.room, events, execution.mutations, panel.head, notes, also)
        try:
            row = self._row(panel, job, execution, item)
            appended = await aput(item, *companions(database(), row))
        except (RoomIsGone, Refusal) as error:
            if isinstance(error, Refusal) and error.code is Code.CONFLICT:
                raise _Reload from error  # somebody else changed the panel: on what is there now
            job.settle(Outcome(refusal=no_panel(panel.key)))
            return
        except CommitFailed as error:
            logger.warning("A trigger of the panel %r is not committed: %s", panel.key, error)
            refusal = Refusal(
                Code.LEDGER_UNAVAILABLE, "It can't be recorded now; try again.", retry_after=1
            )
            job.settle(Outcome(refusal=refusal))
            raise _Stop from error
        panel.head, panel.state, panel.open_suspensions = appended.last, after, waiting
        if job.request_id:
            panel.requests.add((name, job.request_id))
        for due in dues:
            if due.kind != "deadline":
                self.put(_job_of(due, panel.key))
        job.settle(Outcome(result=result, is_told=bool(job.address)))

    def _dues(
        self,
        panel: LoadedPanel,
        job: Job,
        execution: Execution,
        after: dict[str, Any],
        waits: Suspension | None,
        now: datetime,
    ) -> list[Due]:
        """The rows of what this run fires, and of the deadline of what it waits for."""
        fires = fired(panel.tools.values(), execution.events, panel.state, after)
        if job.depth >= MOST_DEPTH and fires:
            logger.warning("Panel %r: %d triggers fire each other.", panel.key, job.depth)
            fires = []
        dues = rows(self.room, job.depth + 1, fires, now)
        if waits is not None:
            deadline = Due(panel_id=self.room, kind="deadline", tool=job.tool, payload=waits.id)
            deadline.due_at = waits.deadline
            dues.append(deadline)
        return dues

    def _row(
        self, panel: LoadedPanel, job: Job, execution: Execution, item: Append
    ) -> Callable[[], Access | None]:
        """The access row, made when it is known whether the rest could be appended."""
        door = panel_door(job.verb, panel.key, panel.machine)
        access_id = job.request_id or uuid4().hex
        refusal = None
        if execution.code is not None and execution.error is not None:
            refusal = Refusal(execution.code, execution.error["message"])
        given = {"tool": job.tool, "args": job.args}
        shown = {"status": execution.status, "returnValue": execution.value}

        def row() -> Access | None:
            if item.problem is not None:  # it is tried again, or refused and noted
                return None
            return access_row(
                door, job.caller, job.verb, access_id, job.started, given, shown, refusal
            )

        return row

    async def _stored(self, panel: LoadedPanel, job: Job) -> str | None:
        """The result of the same request, as JSON text; None when it is not remembered."""
        name = job.caller.principal.name
        if (name, job.request_id) not in panel.requests and panel.has_all_requests:
            return None
        return await room_threads.run(_stored, self.room, name, job.request_id)

    async def _tell_again(self, job: Job, text: str) -> None:
        """The same request once more: the stored result, without a run."""
        answer = await note(
            panel_door("trigger", self.key),
            job.caller,
            event="trigger",
            raw=dumps({"tool": job.tool, "again": True}),
            request_id=job.request_id,
        )
        if answer.refusal is not None:
            job.settle(Outcome(refusal=answer.refusal, access_id=answer.request_id))
            return
        job.settle(Outcome(result=orjson.loads(text)))


class _Reload(Exception):
    """The panel is not what it was when it was loaded."""


class _Stop(Exception):
    """The database is away."""


def _unreadable() -> Refusal:
    return Refusal(Code.LEDGER_UNAVAILABLE, "The panel can't be read now.", retry_after=1)


def _cancelled() -> Execution:
    return failed(Code.EXECUTION_FAILED, "CANCELLED", "It was cancelled.")


def _to(job: Job) -> str:
    """By which name the result finds who asked: a connection; after a suspension a principal."""
    if job.suspension:
        return job.caller.principal.name
    return job.address


def _fits(state: dict[str, Any], execution: Execution) -> bool:
    after = applied(state, execution.mutations)
    return len(orjson.dumps(after)) <= settings.PANELS.MAX_STATE


def _fitting(tool: PanelTool, payload: Any) -> dict[str, Any]:
    """The payload of what fired a tool as its arguments, where it fits; else none."""
    if isinstance(payload, dict):
        try:
            return tool.check(payload)
        except Refusal:
            pass
    return tool.check({})


def _events(execution: Execution, mark: str, actor: str) -> list[NewEvent]:
    found = []
    if execution.mutations:
        payload = dumps({"mutations": execution.mutations}).decode()
        found.append(NewEvent("PATCH", payload, actor, mark))
    for event in execution.events:
        found.append(NewEvent("EVENT", dumps(event).decode(), actor, mark))
    return found


def _new_suspension(
    panel: LoadedPanel,
    job: Job,
    execution: Execution,
    before: Suspension | None,
    now: datetime,
) -> Suspension | None:
    """The row of what the run waits for, if it does."""
    waits = execution.suspended
    if waits is None:
        return None
    answers = [] if before is None else list(before.answers)
    if answers:  # from there on it saw the state as it is now
        answers[-1] = {**answers[-1], "state": panel.state}
    return Suspension(
        id=uuid4().hex,
        panel_id=panel.room,
        tool=job.tool,
        args=job.args,
        request_id=job.request_id,
        principal=job.caller.principal.name,
        extension=waits.extension[:64],
        method=waits.method[:64],
        call=waits.call,
        state=panel.state if before is None else before.state,
        answers=answers,
        deadline=now + timedelta(seconds=waits.timeout),
        created_at=now,
    )


def _remember(alias: str, room: int, job: Job, result: str, now: datetime) -> None:
    """What the request is answered with when it comes again."""
    requests = PanelRequest.objects.using(alias)
    name = job.caller.principal.name
    if job.suspension:
        requests.filter(panel=room, principal=name, request_id=job.request_id).update(result=result)
        return
    same = requests.filter(panel=room, principal=name, request_id=job.request_id)
    same.filter(created_at__lte=remembered_since()).delete()
    if same.exists():
        raise Refusal(Code.CONFLICT, "Another process has done this.")
    requests.create(
        panel_id=room,
        principal=name,
        request_id=job.request_id,
        tool=job.tool,
        result=result,
        created_at=now,
    )


def _settle_due(alias: str, job: Job, tool: PanelTool | None, now: datetime) -> None:
    """Take the row away, or give it its next time; nothing is done twice."""
    rows_of_job = Due.objects.using(alias).filter(pk=job.due or 0)
    if job.due_kind in CLOCKS and job.planned is not None and tool is not None:
        mine = rows_of_job.filter(due_at=job.planned)  # nobody has given it another time
        done = mine.update(due_at=next_time(tool.definition.trigger, now, job.planned))
    else:
        done, _ = rows_of_job.delete()
    if not done:
        raise Refusal(Code.CONFLICT, "Another process has done this.")


# -- rows, on threads -----------------------------------------------------------------------------


def _load(room: int) -> tuple[LoadedPanel | None, list[Due]]:
    """The panel, and what is due for it."""
    panel = load(room)
    dues = Due.objects.using(database()).filter(panel=room, due_at__lte=datetime.now(UTC))
    return panel, list(dues[:MOST_DUE])


def _job_of(due: Due, key: str) -> Job:
    """Whose job it is once a suspension is known is the suspension's to say."""
    goes_on = due.kind in ("resume", "deadline")
    args: Any = None if goes_on else due.payload
    principal, request_id = Principal(f"panel:{key}"[:200], Credential("none"), EVERYTHING), ""
    if due.kind == BY_HAND:
        principal = Principal(args["principal"], Credential("session"), EVERYTHING)
        args, request_id = args["args"], args["requestId"]
    return Job(
        tool=due.tool,
        args=args,
        caller=Caller(principal),
        request_id=request_id,
        depth=due.depth,
        due=due.pk,
        due_kind=due.kind,
        suspension=str(due.payload) if goes_on else "",
        planned=due.due_at,
    )


def _suspension(id: str) -> Suspension | None:
    return Suspension.objects.using(database()).filter(pk=id).first()


def _goes_on(job: Job, suspension: Suspension) -> bool:
    """Make the job the suspension's; False when it has nothing to do."""
    status = Suspension.Status(suspension.status)
    if job.due_kind == "deadline":
        if status is not Suspension.Status.OPEN:
            return False
        suspension.status = Suspension.Status.EXPIRED
        suspension.closed_at = datetime.now(UTC)
        message = f"Nobody answered {suspension.extension}.{suspension.method} in time."
        suspension.answers = [*suspension.answers, {"error": message, "expired": True}]
    elif status is Suspension.Status.OPEN:
        return False
    principal = Principal(suspension.principal, Credential("none"), EVERYTHING)
    job.caller = Caller(principal)
    job.args, job.request_id = suspension.args, suspension.request_id
    return True


def _close_suspension(alias: str, suspension: Suspension) -> None:
    """One that expires with this run, and only once."""
    if suspension.status != Suspension.Status.EXPIRED:
        return
    open_one = Suspension.objects.using(alias).filter(
        pk=suspension.pk, status=Suspension.Status.OPEN
    )
    if not open_one.update(
        status=suspension.status, closed_at=suspension.closed_at, answers=suspension.answers
    ):
        raise Refusal(Code.CONFLICT, "It was answered this very moment.")


def _stored(room: int, principal: str, request_id: str) -> str | None:
    same = PanelRequest.objects.using(database()).filter(
        panel=room, principal=principal, request_id=request_id, created_at__gt=remembered_since()
    )
    return same.values_list("result", flat=True).first()


def _pass_over(job: Job, tool: PanelTool | None) -> None:
    """What can't be run now is not tried again; by the clock it is, the next time."""
    trigger = None if tool is None else tool.definition.trigger
    if trigger is None or trigger.type != job.due_kind or job.due_kind not in CLOCKS:
        _drop_due(job.due)  # of a tool that is gone: machines make it anew, should it come back
        return
    row = Due.objects.using(database()).filter(pk=job.due or 0)
    row.update(due_at=next_time(trigger, datetime.now(UTC), job.planned))


def _drop_due(due: int | None) -> None:
    Due.objects.using(database()).filter(pk=due or 0).delete()


# -- from outside ---------------------------------------------------------------------------------


def tell_members(room: int, notes: list[Note]) -> None:
    """Tell some members at once what is in no log; from any thread."""
    doorbell.ring([Bell(room, "", 0, 0, (), notes)])


_runners: PerLoop[dict[int, Runner]] = PerLoop(dict)
#: Runners that are kept while they have nothing to do.
MOST_IDLE = 1_000


def runner_of(room: int, key: str) -> Runner:
    """The runner of a panel on this loop."""
    runners = _runners.here()
    found = runners.get(room)
    if found is None:
        if len(runners) >= MOST_IDLE:
            for id in [id for id, each in runners.items() if each.is_idle]:
                del runners[id]
        found = runners[room] = Runner(room, key)
    return found


async def trigger(room: int, key: str, job: Job) -> Outcome:
    """Run a tool, in its turn; returns when what it did is committed, or why it was not run."""
    runner_of(room, key).put(job)
    return await asyncio.shield(job.outcome)
