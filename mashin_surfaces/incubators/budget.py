"""The budget of a namespace: reserved before a tool runs, settled in the transaction that keeps
what it did.

What runs at once reserves from one account, under the lock of the namespace's room. So together
calls can't spend more than is there, as long as none uses more than its estimate; one without an
estimate reserves all that is left. What agents publish as ``telemetry.*`` is not in this account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db.models import F, QuerySet, Sum

from ..dialects.incubator import Control
from ..machines.registry import registry
from ..rooms.log import database
from ..rooms.models import Room
from ..steps.spending import Charge
from ..timers import process
from ..timers.moments import before
from .bus import Writer
from .models import Incubator, RunningCall
from .tools import BusTool

#: By whom a bus is halted whose budget is spent.
BUDGET: Final = "budget"
#: The share of the budget at which it is warned when the machine says nothing.
WARN_AT: Final = Decimal("0.8")


class NotYet(Exception):
    """What others have reserved may yet be left: ask again when one of them has ended."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a call may use: US dollars and tokens."""

    cost: Decimal = Decimal(0)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What the tools of a namespace may use until it is reset; None: any. ``share``: up to 1 a
    share of it at which it is warned, above US dollars."""

    max_cost: Decimal | None
    max_tokens: int | None
    share: Decimal

    @classmethod
    def of(cls, machine: str) -> Budget | None:
        """What the machine's ``limits`` say; None when they set none."""
        compiled = registry.snapshot.machines.get(machine)
        if compiled is None:
            return None
        limits = compiled.definition.ensures.limits
        if limits.max_cost is None and limits.max_tokens is None:
            return None
        return cls(
            None if limits.max_cost is None else _dollars(limits.max_cost),
            limits.max_tokens,
            WARN_AT if limits.warn_at is None else _dollars(limits.warn_at),
        )

    def reserve(self, writer: Writer, tool: BusTool) -> Reserved | None:
        """What a call of the tool gets; None when it would go beyond the budget: the bus is
        halted then. On a bus that is halted already (for those who may control it) a call gets its
        estimate.

        Raises ``NotYet``. The room is locked.
        """
        row = _account(writer.room)
        others = in_flight(writer.room).aggregate(cost=Sum("cost"), tokens=Sum("tokens"))
        wanted_cost = None if tool.estimate is None else _dollars(tool.estimate)
        if row.room.status == Room.Status.HALTED:
            return Reserved(wanted_cost or Decimal(0), tool.estimate_tokens or 0)
        cost = _share(self.max_cost, row.cost, others["cost"], wanted_cost)
        tokens = _share(self.max_tokens, row.tokens, others["tokens"], tool.estimate_tokens)
        if cost is None or tokens is None:
            _halt(writer)
            return None
        return Reserved(Decimal(cost), int(tokens))

    def watch(self, writer: Writer) -> None:
        """Tell once that most of it is used, and halt the bus when all of it is."""
        row = _account(writer.room)
        used: dict[str, Any] = {}
        is_near = is_over = False
        if self.max_cost is not None:
            used |= {"cost": row.cost, "max_cost": self.max_cost}
            is_near = row.cost >= (self.max_cost * self.share if self.share <= 1 else self.share)
            is_over = row.cost >= self.max_cost
        if self.max_tokens is not None:
            used |= {"tokens": row.tokens, "max_tokens": self.max_tokens}
            is_near |= row.tokens >= self.max_tokens * min(self.share, Decimal(1))
            is_over |= row.tokens >= self.max_tokens
        if is_near and not row.is_warned:
            Incubator.objects.using(database()).filter(pk=writer.room).update(is_warned=True)
            writer.publish("budget.warning", used)
        if is_over and row.room.status != Room.Status.HALTED:
            _halt(writer)


def _share(
    most: Decimal | int | None,
    used: Decimal | int,
    reserved: Decimal | int | None,
    wanted: Decimal | int | None,
) -> Decimal | int | None:
    """How much of one account a call gets; None when there is not enough.

    Raises ``NotYet`` when what others have reserved would be enough.
    """
    if most is None:
        return wanted or 0
    left = most - used
    free = left - (reserved or 0)
    if left <= 0 or (wanted or 0) > left:
        return None
    if free < (wanted or 0) or (wanted is None and free <= 0):
        raise NotYet()
    return free if wanted is None else wanted


def in_flight(room: int) -> QuerySet[RunningCall]:
    """The calls that run, in processes that are alive."""
    return RunningCall.objects.using(database()).filter(
        room=room, until__gt=datetime.now(UTC), process__beat_at__gt=before(process.ALIVE)
    )


def book(room: int, charges: Sequence[Charge]) -> None:
    """Count a call, and what it has used."""
    Incubator.objects.using(database()).filter(pk=room).update(
        tool_calls=F("tool_calls") + 1,
        llm_calls=F("llm_calls") + sum(bool(each.model) for each in charges),
        tokens=F("tokens") + sum(each.input_tokens + each.output_tokens for each in charges),
        cost=F("cost") + sum((each.amount for each in charges), Decimal(0)),
    )


def _account(room: int) -> Incubator:
    return Incubator.objects.using(database()).select_related("room").get(pk=room)


def _halt(writer: Writer) -> None:
    writer.control(Control("halt", "Budget exceeded"), by=BUDGET)


def _dollars(amount: float) -> Decimal:
    return Decimal(str(amount))
