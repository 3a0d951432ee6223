"""How runs are spoken of on pages: a colour, a sign and a word for each state; time and money."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from .models import Node, Run

#: Looks of badges: good, bad, warn, busy, quiet.
RUN_LOOKS: Final[Mapping[str, str]] = {
    Run.Status.RUNNING: "busy",
    Run.Status.PAUSING: "warn",
    Run.Status.PAUSED: "warn",
    Run.Status.CANCELLING: "warn",
    Run.Status.CANCELLED: "quiet",
    Run.Status.COMPLETED: "good",
    Run.Status.FAILED: "bad",
}
OUTCOME_LOOKS: Final[Mapping[str, str]] = {
    Run.Outcome.COMPLETED: "good",
    Run.Outcome.CANCELLED: "quiet",
}
#: A node's look, and the sign that says the same without a colour.
NODE_LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    Node.Status.PENDING: ("quiet", "○"),
    Node.Status.SCHEDULED: ("quiet", "◔"),
    Node.Status.RUNNING: ("busy", "▶"),
    Node.Status.COMPLETED: ("good", "✓"),
    Node.Status.FAILED: ("bad", "✕"),
    Node.Status.RETRYING: ("warn", "↻"),
    Node.Status.PAUSED: ("warn", "‖"),
    Node.Status.SKIPPED: ("quiet", "»"),
    Node.Status.MUTATED: ("quiet", "–"),
    Node.Status.CANCELLED: ("quiet", "⊘"),
}


def dollars(amount: Decimal | float) -> str:
    """To the cent, and further where that would say nothing."""
    value = Decimal(str(amount))
    text = f"{value:.6f}".rstrip("0")
    whole, _point, rest = text.partition(".")
    return number_format(f"{whole}.{rest:0<2}")


def money(run: Run) -> str:
    """What is spent, and of how much."""
    if run.budget is None:
        return _("$%s") % dollars(run.spent)
    return _("$%(spent)s of $%(budget)s") % {
        "spent": dollars(run.spent),
        "budget": dollars(run.budget),
    }


def duration(length: timedelta | None) -> str:
    """A length of time in its two largest units; a dash for none."""
    if length is None:
        return "–"
    seconds = max(0.0, length.total_seconds())
    if seconds < 0.001:
        return _("< 1 ms")
    if seconds < 1:
        return _("%d ms") % (seconds * 1000)
    if seconds < 60:
        return _("%s s") % number_format(f"{seconds:.1f}")
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours}
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}


def lasted(began: datetime | None, ended: datetime | None, now: datetime) -> timedelta | None:
    """From the beginning to the end, or to now."""
    return None if began is None else (ended or now) - began


def account(run: Run) -> dict[str, Any]:
    """``{"says"}``, what is reserved as ``"reserve"``, and with a budget the bar of it, in percent:
    ``{"share", "spent", "reserved", "look"}``."""
    found: dict[str, Any] = {"says": money(run)}
    if run.budget:
        spent = min(Decimal(100), run.spent / run.budget * 100)
        reserved = min(100 - spent, run.reserved / run.budget * 100)
        look = "bad" if spent >= 100 else "warn" if run.is_warned else "good"
        found |= {
            "share": _("%d %%") % spent,
            "spent": f"{spent:.2f}",
            "reserved": f"{reserved:.2f}",
            "look": look,
        }
    if run.reserved:
        found["reserve"] = _("$%s reserved for what runs") % dollars(run.reserved)
    return found


def said(error: Any) -> str:
    """The sentence of an error, with its code."""
    if not error:
        return ""
    if not isinstance(error, dict):
        return str(error)
    code = error.get("code")
    return f"{error.get('message', '')} ({code})" if code else str(error.get("message", ""))
