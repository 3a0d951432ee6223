"""Starting runs: governed, and recorded in the transaction that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from time import perf_counter_ns
from typing import Any, Final

from django.db import DatabaseError

from ..commit import CommitFailed
from ..conf import settings
from ..exceptions import Code, Recorded, Refusal, wrong
from ..governance.door import GovernedMachine, governed
from ..governance.govern import Caller, access_row, admit, note
from ..governance.starting import Row, Started
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..machines.json_values import NotJsonError, dumps
from ..machines.registry import registry
from ..rooms.log import database, room_threads
from ..rooms.storable import storable
from .doors import run_door
from .engine import engine
from .models import Gate, Run
from .states import GateStatus
from .store import NewRun

#: Nodes of one run at once, at most.
MOST_PARALLEL: Final = 256
#: Seconds between two looks at a run that another process works on: at first, and at last.
SOON, LATER = 0.02, 0.5
_UNAVAILABLE = "It can't be recorded now; try again."


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a run besides its input. ``budget``: US dollars, at most what the
    machine allows. ``request_key``: asking again with the same one starts nothing."""

    budget: Decimal | None = None
    max_parallel: int | None = None
    request_key: str | None = None


async def start(
    name: str, input: Any, caller: Caller, wish: Wish | None = None, request_id: str | None = None
) -> Run:
    """Start a run of a machine in the caller's name; durable when it returns.

    It takes ``runs:start:<machine>``. Raises ``Recorded``: not_found, forbidden, rate_limited,
    invalid_input, conflict (the key was used for another run), ledger_unavailable.
    """
    wish = wish or Wish()
    began, request_id = perf_counter_ns(), request_id or new_id()
    door = run_door("start")
    try:
        machine = await _machine(name)
        door = replace(run_door("start", name), machine=machine)
        admit(door, caller.principal)
        checked = machine.compiled.accepts.check(input)
        _check(wish, machine)

        def row(run: Run) -> Access:
            told = started(run)._asdict()
            return access_row(door, caller, "start", request_id, began, input, told, None)

        return await _create(machine, checked, caller.principal.name, caller.client, wish, row)
    except Refusal as refusal:
        given = dumps(input)
        answer = await note(
            door, caller, event="start", refusal=refusal, raw=given, request_id=request_id
        )
        raise Recorded(answer.refusal or refusal, answer.request_id) from None


def started(run: Run) -> Started:
    """What is told of a run that has begun."""
    return Started(run.id, str(run.status), f"{settings.RUNS.PREFIX}/{run.id}/stream")


class RunStarter:
    """Runs for machines that are reached through surfaces of their own (``governance``)."""

    async def start(
        self,
        machine: GovernedMachine,
        input: dict[str, Any],
        principal: str,
        client: str,
        row: Row,
        request_key: str | None = None,
    ) -> Started:
        wish = Wish(request_key=request_key)
        run = await _create(machine, input, principal, client, wish, lambda run: row(started(run)))
        return started(run)

    async def settled(self, run_id: str, seconds: float) -> dict[str, Any]:
        wait = SOON
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await engine().rest_of(run_id)
                    output = await room_threads.run(_settled, run_id)
                    if output is not None:
                        return output
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, LATER)
        except TimeoutError:
            raise Refusal(
                Code.TIMEOUT, f"The run {run_id} did not end within {seconds:g} s; it goes on."
            ) from None
        except DatabaseError as error:
            raise Refusal(Code.LEDGER_UNAVAILABLE, _UNAVAILABLE, retry_after=1) from error


def _settled(id: str) -> dict[str, Any] | None:
    """The output of a run that has ended, None while it goes on; raises ``Refusal``."""
    alias = database()
    run = Run.objects.using(alias).filter(pk=id).first()
    if run is None:
        raise Refusal(Code.NOT_FOUND, f'There is no run "{id}".', subject="run")
    if run.ended_at is None:
        _must_not_wait(run, alias)
        return None
    if run.outcome == Run.Outcome.COMPLETED:
        return dict(run.output or {})
    error = run.error or {}
    code = _CODES.get(Run.Outcome(run.outcome)) or Code(error.get("code", Code.EXECUTION_FAILED))
    raise Refusal(code, error.get("message") or f"The run {id} has ended: {run.outcome}.")


_CODES: Final = {
    Run.Outcome.TIMEOUT: Code.TIMEOUT,
    Run.Outcome.BUDGET_EXCEEDED: Code.BUDGET_EXCEEDED,
}


def _must_not_wait(run: Run, alias: str) -> None:
    gates = Gate.objects.using(alias).filter(run=run, status=GateStatus.OPEN)
    waiting = list(gates.exclude(kind=Gate.Kind.WAIT).order_by("opened_at"))
    if waiting:
        raise Refusal(
            Code.APPROVAL_REQUIRED,
            f"Somebody has to decide first, in the run {run.id}.",
            details=[
                {
                    "path": "",
                    "code": Code.APPROVAL_REQUIRED.value,
                    "message": gate.shown["question"],
                    "gate_id": gate.id,
                    "run_id": run.id,
                    "node_id": gate.node,
                }
                for gate in waiting
            ],
        )


async def _machine(name: str) -> GovernedMachine:
    compiled = (await registry.acurrent()).machines.get(name)
    if compiled is None or not compiled.enabled:
        raise Refusal(Code.NOT_FOUND, f'There is no machine "{name[:100]}".', subject="machine")
    return governed(compiled)


def _check(wish: Wish, machine: GovernedMachine) -> None:
    """Nobody may have more than the machine's own limits allow."""
    limits = machine.compiled.definition.ensures.limits
    most = limits.max_cost
    if wish.budget is not None:
        if not wish.budget.is_finite() or wish.budget < 0:
            raise wrong("/budget", "It is an amount of US dollars from 0.")
        if most is not None and wish.budget > Decimal(str(most)):
            raise wrong("/budget", f"This machine may spend {most:g} US dollars at most.")
    parallel = limits.max_parallel or MOST_PARALLEL
    if wish.max_parallel is not None and not 1 <= wish.max_parallel <= parallel:
        raise wrong("/max_parallel", f"From 1 to {parallel} nodes may run at once.")


async def _create(
    machine: GovernedMachine,
    checked: dict[str, Any],
    principal: str,
    client: str,
    wish: Wish,
    row: Callable[[Run], Access],
) -> Run:
    try:
        new = NewRun(
            machine,
            storable(checked),
            principal,
            client,
            wish.budget,
            wish.max_parallel,
            wish.request_key,
        )
        return await engine().create(new, row)
    except NotJsonError as error:
        raise Refusal(Code.INVALID_INPUT, f"The input can't be kept: {error}") from None
    except CommitFailed as error:
        raise Refusal(Code.LEDGER_UNAVAILABLE, _UNAVAILABLE, retry_after=1) from error
