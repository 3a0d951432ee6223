"""How incubators are shown: their status as a badge, their budget as a bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..machines.definition import Limits
from ..machines.registry import registry
from ..rooms.models import Room
from ..runs.words import dollars
from .markup import badge

#: The share of a budget at which a warning is told, when the machine says nothing.
WARN_AT: Final = Decimal("0.8")
_LOOKS: Final[Mapping[str, str]] = {
    Room.Status.OPEN: "good",
    Room.Status.PAUSED: "warn",
    Room.Status.HALTED: "bad",
}


def bus_badge(room: Room) -> SafeString:
    return badge(_LOOKS.get(room.status, "quiet"), room.get_status_display())


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit and what is used of it, in dollars or in tokens; ``warns_at`` in the same."""

    what: str
    used: str
    most: str
    warns_at: str
    percent: Decimal
    look: str

    @property
    def says(self) -> str:
        return _("%(used)s of %(most)s") % {"used": self.used, "most": self.most}

    @property
    def bar(self) -> SafeString:
        """Drawn; its label says the same as the drawing."""
        return format_html(
            '<svg class="mashin-bars" width="100%" height="10" role="img" aria-label="{}: {}">'
            '<rect class="mashin-fill-ground" width="100%" height="10" rx="2"/>'
            '<rect class="mashin-fill-{}" width="{}%" height="10" rx="2"/></svg>',
            self.what,
            self.says,
            self.look,
            f"{self.percent:.2f}",
        )


def limits_of(machine: str) -> Limits:
    """The limits of a machine, as it is now; none when it is gone."""
    if registry.fresh() is None:
        registry.refresh()
    compiled = registry.snapshot.machines.get(machine)
    return Limits() if compiled is None else compiled.definition.ensures.limits


def budgets_of(limits: Limits, tokens: int, cost: Decimal) -> list[Budget]:
    """The limits that there are; none for a machine without a budget."""
    warn_at = WARN_AT if limits.warn_at is None else Decimal(str(limits.warn_at))
    found = []
    if limits.max_cost is not None:
        most = Decimal(str(limits.max_cost))
        warned = most * warn_at if warn_at <= 1 else warn_at
        found.append(_budget(_("Cost"), cost, most, warned, lambda n: _("$%s") % dollars(n)))
    if limits.max_tokens is not None:
        most = Decimal(limits.max_tokens)
        warned = most * min(warn_at, Decimal(1))
        found.append(_budget(_("Tokens"), Decimal(tokens), most, warned, "{:,.0f}".format))
    return found


def budget_cell(budgets: list[Budget]) -> SafeString:
    """The bars of a list's cell, each with its numbers."""
    cells = ((budget.bar, budget.says) for budget in budgets)
    return format_html_join("", '<div class="mashin-budget">{}<span>{}</span></div>', cells)


def _budget(
    what: str, used: Decimal, most: Decimal, warned: Decimal, say: Callable[[Decimal], str]
) -> Budget:
    percent = min(Decimal(100), used / most * 100) if most else Decimal(100)
    look = "bad" if used >= most else "warn" if used >= warned else "good"
    return Budget(what, say(used), say(most), say(warned), percent, look)
