"""The one path of every access, whatever door it came through; it knows no transport.

size and rate → principal → scopes → validate → execute (permissions) → validate → record → answer

Nothing here raises for a bad access: the caller gets an ``Answer`` that holds the result or the
refusal, and its row is committed. Where an effect yields, ``govern_stream`` has an answer and a row
for each result. Decoding is the dialect's; what it refuses comes to ``note``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter_ns, time
from typing import Any, NamedTuple

from ..exceptions import Code, Refusal
from ..identity.cache import principals
from ..identity.principal import Principal
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.content import describe
from ..ledger.record import record, record_soon
from ..machines.schemas import dumps
from ..steps.run import Run
from .door import Door, GovernedMachine
from .errors import outcome_of
from .starting import Started, starting

logger = logging.getLogger(__name__)

_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks through a door, and from where (``client``: an address, "" when unknown)."""

    principal: Principal
    client: str = ""
    #: ``identity.cache``'s from before the credentials were looked up; None: they are as of now.
    generation: int | None = field(default=None, compare=False)

    @property
    def is_doubted(self) -> bool:
        """Whether credentials have changed since these were looked up."""
        return self.generation not in {None, principals.generation}


class Answer(NamedTuple):
    """``result`` (JSON-ready, as ``responds with`` declares it) or ``refusal``; never both.

    ``is_begun``: the result only says which run has begun: ``{"run_id", "status", "stream"}``.
    """

    request_id: str
    result: dict[str, Any] | None
    refusal: Refusal | None
    is_begun: bool = False


class _Case(NamedTuple):
    """What an access is called, and when it began (of ``perf_counter_ns``); ``request_key``: of the
    run that it starts."""

    id: str
    request_id: str
    started: int
    event: str = "message"
    request_key: str | None = None


async def govern(
    door: Door,
    caller: Caller,
    value: dict[str, Any],
    *,
    coerced: bool = False,
    request_id: str | None = None,
    request_key: str | None = None,
) -> Answer:
    """Check, execute and record one access; returns when its row is committed.

    ``coerced``: ``value`` was already checked against ``accepts`` (query strings, forms). A machine
    that streams is run to its end, and answers its last result. A machine that waits for people or
    events starts a run, and answers which; one that only needs an approval is waited for until it
    has ended, or somebody has to decide (approval_required). ``request_key``: the principal starts
    no other run with the same one; the answer is that of the run that there is.
    """
    access_id = new_id()
    request_id = request_id or access_id
    case = _Case(access_id, request_id, perf_counter_ns(), request_key=request_key)
    refusal: Refusal | None = None
    result: dict[str, Any] | None = None
    run: Run | None = None
    machine = door.machine
    try:
        admit(door, caller.principal)
        checked = value if coerced else machine.compiled.accepts.check(value)
        if machine.program.is_run:
            started = await _start(door, caller, case, value, checked)
            if not machine.program.is_awaited:
                return Answer(request_id, started._asdict(), None, is_begun=True)
            result = await starting().settled(started.run_id, machine.timeout)
        else:
            run = Run(checked, machine.permissions.allows)
            output = await _execute(door, run)
            result = machine.compiled.responds.check_output(output)
    except asyncio.CancelledError:  # nobody waits any more; what was asked is recorded all the same
        record_soon(_access(door, caller, case, value, None, _cancelled(), _asked(run)))
        raise
    except Exception as error:
        refusal = _refusal_of(error, door, request_id)
    try:
        await record(_access(door, caller, case, value, result, refusal, _asked(run)))
    except Refusal as unavailable:
        return Answer(request_id, None, unavailable)
    return Answer(request_id, result, refusal)


async def govern_stream(
    door: Door,
    caller: Caller,
    value: dict[str, Any],
    *,
    coerced: bool = False,
    request_id: str | None = None,
) -> AsyncGenerator[Answer, None]:
    """Check one access, and give an answer for each result of the machine once it is recorded.

    A refusal is the last answer. All rows have the same ``request_id``: one of the event
    ``result`` for each result, one of the event ``message`` for a refusal, for an end without any
    result and for a reader who leaves before the end. The first of them has the input; ``steps``
    is what was asked for since the row before. Close it (``contextlib.aclosing``) to leave.
    """
    machine = door.machine
    request_id = request_id or new_id()
    started = perf_counter_ns()
    given: Any = value  # "" once a row has it
    refusal: Refusal | None = None
    run: Run | None = None

    def row(event: str, result: dict[str, Any] | None, refusal: Refusal | None) -> Access:
        case = _Case(new_id(), request_id, started, event)
        return _access(door, caller, case, given, result, refusal, _asked(run))

    try:
        admit(door, caller.principal)
        checked = value if coerced else machine.compiled.accepts.check(value)
        run = Run(checked, machine.permissions.allows)
        async with aclosing(_results(machine, run)) as results:
            async for result in results:
                access = row("result", result, None)
                given = ""
                run.asked.clear()
                await record(access)
                yield Answer(request_id, result, None)
                started = perf_counter_ns()
    except (asyncio.CancelledError, GeneratorExit):
        record_soon(row("message", None, _cancelled()))
        raise
    except Exception as error:
        refusal = _refusal_of(error, door, request_id)
    if refusal is not None and refusal.code is Code.LEDGER_UNAVAILABLE:
        record_soon(row("message", None, refusal))  # the answer waited for a row long enough
    elif refusal is not None or given != "":
        try:
            await record(row("message", None, refusal))
        except Refusal as unavailable:
            refusal = unavailable
    if refusal is not None:
        yield Answer(request_id, None, refusal)


async def note(
    door: Door,
    caller: Caller,
    *,
    event: str,
    refusal: Refusal | None = None,
    raw: Any = "",
    request_id: str | None = None,
) -> Answer:
    """Record what is no execution: a connect, or what was refused before it could be governed.

    ``raw``: what was received, as text or bytes.
    """
    access_id = new_id()
    request_id = request_id or access_id
    case = _Case(access_id, request_id, perf_counter_ns(), event)
    try:
        await record(_access(door, caller, case, raw, None, refusal, ""))
    except Refusal as unavailable:
        return Answer(request_id, None, unavailable)
    return Answer(request_id, None, refusal)


def note_soon(door: Door, caller: Caller, event: str, started: int, facts: dict[str, Any]) -> None:
    """Record what nobody waits for: a disconnect. ``started``: of ``perf_counter_ns``."""
    access_id = new_id()
    text = dumps(facts).decode()
    case = _Case(access_id, access_id, started, event)
    record_soon(_access(door, caller, case, "", None, None, text))


def access_row(
    door: Door,
    caller: Caller,
    event: str,
    request_id: str,
    started: int,
    given: Any,
    result: dict[str, Any] | None,
    refusal: Refusal | None,
) -> Access:
    """The row of an access that is executed elsewhere (a panel's trigger), to be committed with
    what it did. ``started``: of ``perf_counter_ns``."""
    return _access(
        door, caller, _Case(new_id(), request_id, started, event), given, result, refusal, ""
    )


def _asked(run: Run | None) -> str:
    return dumps(run.asked).decode() if run is not None and run.asked else ""


def admit(door: Door, principal: Principal) -> None:
    """Rate, then the principal as it is now, then the surface's scopes."""
    if door.rate is not None:
        door.rate.take(principal.name)
    machine_rate = door.machine.rate
    if machine_rate is not None:
        machine_rate.take(principal.name)
    expires_at = principal.credential.expires_at
    if expires_at is not None and expires_at <= time():
        raise Refusal(Code.UNAUTHENTICATED, "The credential has expired.")
    if not door.admits(principal):
        raise Refusal(Code.FORBIDDEN, door.wants)


async def _start(
    door: Door, caller: Caller, case: _Case, given: dict[str, Any], checked: dict[str, Any]
) -> Started:
    """Start a run, recorded with it: as the access itself, or, when that is answered later, as
    its beginning."""
    if door.machine.program.is_awaited:
        case = case._replace(id=new_id(), event="start")

    def row(started: Started) -> Access:
        return _access(door, caller, case, given, started._asdict(), None, "")

    return await starting().start(
        door.machine, checked, caller.principal.name, caller.client, row, case.request_key
    )


async def _execute(door: Door, run: Run) -> Any:
    """The machine's output; raises ``Refusal``."""
    machine = door.machine
    with machine.concurrency or _NOTHING:
        if machine.program.is_pure:  # bounded by its operations: no clock needed
            return machine.program.run_pure(run)
        try:
            async with asyncio.timeout(machine.timeout):
                return await machine.program.run(run)
        except TimeoutError:
            raise Refusal(
                Code.TIMEOUT, f"The machine did not answer within {machine.timeout:g} s."
            ) from None


async def _results(machine: GovernedMachine, run: Run) -> AsyncGenerator[dict[str, Any], None]:
    """The machine's results, each in time and as ``responds with`` declares it; raises
    ``Refusal``."""
    with machine.concurrency or _NOTHING:
        async with aclosing(machine.program.stream(run)) as outputs:
            while True:
                try:
                    async with asyncio.timeout(machine.timeout):
                        output = await anext(outputs)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise Refusal(
                        Code.TIMEOUT,
                        f"The machine had no further result within {machine.timeout:g} s.",
                    ) from None
                yield machine.compiled.responds.check_output(output)


def _refusal_of(error: Exception, door: Door, request_id: str) -> Refusal:
    """What the caller is told of what went wrong; the cause goes to the log."""
    if not isinstance(error, Refusal):
        logger.error("%s failed (request %s)", door.label, request_id, exc_info=error)
        return Refusal(Code.EXECUTION_FAILED, "The machine failed.")
    if error.__cause__ is not None:
        logger.warning("%s failed (request %s)", door.label, request_id, exc_info=error.__cause__)
    return error


def _cancelled() -> Refusal:
    return Refusal(Code.EXECUTION_FAILED, "The execution was cancelled.")


def _access(
    door: Door,
    caller: Caller,
    case: _Case,
    given: Any,
    result: dict[str, Any] | None,
    refusal: Refusal | None,
    steps: str,
) -> Access:
    compiled = door.machine.compiled
    code = None if refusal is None else refusal.code
    principal = caller.principal
    return Access(
        case.id,
        datetime.now(UTC),
        case.event,
        door.kind,
        door.label,
        door.path,
        compiled.name,
        compiled.revision,
        principal.name,
        principal.credential.label,
        caller.client,
        case.request_id,
        outcome_of(code),
        "" if code is None else code.value,
        (perf_counter_ns() - case.started) // 1000,
        None,  # cost
        describe(given, compiled.accepts.secret_paths) if given != "" else "",
        "" if result is None else describe(result, compiled.responds.secret_paths),
        steps,
    )
