"""How incubators are shown: their status as a badge, their budget as a bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ..incubators.budget import Budget, Reserved
from ..machines.registry import registry
from ..rooms.models import Room
from ..runs.words import dollars
from .markup import badge, grouped

_LOOKS: Final[Mapping[str, str]] = {
    Room.Status.OPEN: "good",
    Room.Status.PAUSED: "warn",
    Room.Status.HALTED: "bad",
}


def bus_badge(room: Room) -> SafeString:
    return badge(_LOOKS.get(room.status, "quiet"), room.get_status_display())


@dataclass(frozen=True, slots=True)
class Account:
    """One limit of a budget, in dollars or in tokens, with what is used and reserved of it in words
    and, as ``percent`` and ``held``, in percent. ``warns_at``: where a warning is told."""

    what: str
    used: str
    most: str
    warns_at: str
    reserved: str
    percent: Decimal
    held: Decimal
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
            '<rect class="mashin-fill-{}" width="{}%" height="10" rx="2"/>'
            '<rect class="mashin-fill-reserved" x="{}%" width="{}%" height="10"/></svg>',
            self.what,
            self.says,
            self.look,
            f"{self.percent:.2f}",
            f"{self.percent:.2f}",
            f"{self.held:.2f}",
        )


def accounts_of(machine: str, used: Reserved, reserved: Reserved) -> list[Account]:
    """The limits that the machine sets now; none for one without a budget, or that is gone."""
    registry.current()  # the budget is looked up in it
    budget = Budget.of(machine)
    found: list[Account] = []
    if budget is None:
        return found
    if budget.max_cost is not None:
        most = budget.max_cost
        warned = most * budget.share if budget.share <= 1 else budget.share
        amounts = (used.cost, reserved.cost, most, warned)
        found.append(_account(_("Cost"), *amounts, lambda amount: _("$%s") % dollars(amount)))
    if budget.max_tokens is not None:
        most = Decimal(budget.max_tokens)
        warned = most * min(budget.share, Decimal(1))
        amounts = (Decimal(used.tokens), Decimal(reserved.tokens), most, warned)
        found.append(_account(pgettext("model", "Tokens"), *amounts, _whole))
    return found


def _whole(amount: Decimal) -> str:
    return grouped(round(amount))


def budget_cell(accounts: list[Account]) -> SafeString:
    """The bars of a list's cell, each with its numbers."""
    cells = ((account.bar, account.says) for account in accounts)
    return format_html_join("", '<div class="mashin-budget">{}<span>{}</span></div>', cells)


def _account(
    what: str,
    used: Decimal,
    reserved: Decimal,
    most: Decimal,
    warned: Decimal,
    say: Callable[[Decimal], str],
) -> Account:
    percent = min(Decimal(100), used / most * 100) if most else Decimal(100)
    held = min(100 - percent, reserved / most * 100) if most else Decimal(0)
    look = "bad" if used >= most else "warn" if used >= warned else "good"
    return Account(
        what,
        used=say(used),
        most=say(most),
        warns_at=say(warned),
        reserved=say(reserved) if reserved else "",
        percent=percent,
        held=held,
        look=look,
    )
