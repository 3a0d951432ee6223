"""Runs from a project's code: the same doors as over HTTP, in the name of a principal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypedDict, Unpack

from asgiref.sync import async_to_sync

from ..governance.govern import Caller
from ..identity.principal import Principal
from . import commands
from .commands import Choice
from .starting import Wish, start


async def astart_run(
    machine: str,
    input: dict[str, Any],
    *,
    principal: Principal,
    budget: Decimal | float | None = None,
    max_parallel: int | None = None,
) -> str:
    """Start a run, and give its id; durable when it returns. A server process works on it.

    It needs ``runs:start:<machine>``. ``budget``: US dollars. Raises ``Refusal``.
    """
    wish = Wish(None if budget is None else Decimal(str(budget)), max_parallel)
    return (await start(machine, input, Caller(principal), wish)).id


def start_run(
    machine: str,
    input: dict[str, Any],
    *,
    principal: Principal,
    budget: Decimal | float | None = None,
    max_parallel: int | None = None,
) -> str:
    """``astart_run`` for synchronous code (a view, a command, a Celery task)."""
    return async_to_sync(astart_run)(
        machine, input, principal=principal, budget=budget, max_parallel=max_parallel
    )


class Details(TypedDict, total=False):
    """How a gate is decided, besides yes or no (``commands.Choice``)."""

    feedback: str
    revision: int
    option_id: str
    scope: Literal["node", "phase", "abort"]
    ref: str


async def adecide(
    run: str,
    node_id: str,
    decision: Literal["approve", "reject", "modify"],
    *,
    principal: Principal,
    **details: Unpack[Details],
) -> None:
    """Decide at the gate of a node; durable when it returns.

    It needs ``runs:decide:<machine>``. ``revision``: of what the person has seen; without, whatever
    is shown now. ``ref``: the same again changes nothing. Raises ``Refusal``: conflict with the
    subject ``gate_closed`` or ``gate_changed``, not_found, forbidden, invalid_input.
    """
    choice = Choice(decision, node_id=node_id, **details)
    await commands.adecide(await commands.afind(run), choice, Caller(principal))


def decide(
    run: str,
    node_id: str,
    decision: Literal["approve", "reject", "modify"],
    *,
    principal: Principal,
    **details: Unpack[Details],
) -> None:
    """``adecide`` for synchronous code."""
    async_to_sync(adecide)(run, node_id, decision, principal=principal, **details)
