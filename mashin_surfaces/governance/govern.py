"""The one path of every access, whatever door it came through; it knows no transport.

size and rate → principal → scopes → validate → execute (permissions) → validate → record → answer

Nothing here raises for a bad access: the caller gets an ``Answer`` that holds the result or the
refusal, and its row is committed. Decoding is the dialect's; what it refuses comes to ``note``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter_ns, time
from typing import Any, NamedTuple

from ..exceptions import Code, Refusal
from ..identity.principal import Principal
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.content import describe
from ..ledger.record import record, record_soon
from ..machines.schemas import dumps
from ..steps.run import Run
from .door import Door
from .errors import outcome_of

logger = logging.getLogger(__name__)

_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks through a door, and from where (``client``: an address, "" when unknown)."""

    principal: Principal
    client: str = ""


class Answer(NamedTuple):
    """``result`` (JSON-ready, as ``responds with`` declares it) or ``refusal``; never both."""

    request_id: str
    result: dict[str, Any] | None
    refusal: Refusal | None


class _Case(NamedTuple):
    """What an access is called, and when it began (of ``perf_counter_ns``)."""

    id: str
    request_id: str
    started: int
    event: str = "message"


async def govern(
    door: Door,
    caller: Caller,
    value: dict[str, Any],
    *,
    coerced: bool = False,
    request_id: str | None = None,
) -> Answer:
    """Check, execute and record one access; returns when its row is committed.

    ``coerced``: ``value`` was already checked against ``accepts`` (query strings, forms).
    """
    access_id = new_id()
    request_id = request_id or access_id
    case = _Case(access_id, request_id, perf_counter_ns())
    refusal: Refusal | None = None
    result: dict[str, Any] | None = None
    run: Run | None = None
    machine = door.machine
    try:
        _admit(door, caller.principal)
        checked = value if coerced else machine.compiled.accepts.check(value)
        run = Run(checked, machine.permissions.allows)
        output = await _execute(door, run)
        result = machine.compiled.responds.check_output(output)
    except Refusal as caught:
        refusal = caught
        if caught.__cause__ is not None:
            logger.warning(
                "%s failed (request %s)", door.label, request_id, exc_info=caught.__cause__
            )
    except asyncio.CancelledError:  # nobody waits any more; what was asked is recorded all the same
        cancelled = Refusal(Code.EXECUTION_FAILED, "The execution was cancelled.")
        record_soon(_access(door, caller, case, value, None, cancelled, _asked(run)))
        raise
    except Exception:
        logger.exception("%s failed (request %s)", door.label, request_id)
        refusal = Refusal(Code.EXECUTION_FAILED, "The machine failed.")
    try:
        await record(_access(door, caller, case, value, result, refusal, _asked(run)))
    except Refusal as unavailable:
        return Answer(request_id, None, unavailable)
    return Answer(request_id, result, refusal)


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


def _asked(run: Run | None) -> str:
    return dumps(run.asked).decode() if run is not None and run.asked else ""


def _admit(door: Door, principal: Principal) -> None:
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
