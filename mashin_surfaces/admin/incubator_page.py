"""What the page of an incubator shows, read in a fixed number of queries, however big it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ..incubators import metrics, store
from ..incubators.budget import Reserved, in_flight
from ..incubators.models import Agent, Claim, Incubator, StateEntry
from ..incubators.tools import tools_of
from ..rooms import presence
from ..rooms.models import Room
from ..runs.words import dollars
from .incubator_log import LogFilter, log_page
from .incubator_looks import accounts_of, bus_badge
from .markup import badge, grouped, json_tree, machine_link
from .tables import moment, table

#: Keys, claims and agents that are shown at once, and types of events.
MOST_KEYS: Final = 100
MOST_CLAIMS: Final = 100
MOST_AGENTS: Final = 100
MOST_TYPES: Final = 50
#: Members among whom connected agents are looked for.
MOST_MEMBERS: Final = 10_000
#: Characters of a tool's description that are shown.
MOST_OF_A_TOOL: Final = 200
_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    Room.Status.OPEN: ("pause", "halt"),
    Room.Status.PAUSED: ("resume", "halt"),
    Room.Status.HALTED: ("resume",),
}


@dataclass(frozen=True, slots=True)
class ClaimRow:
    resource: str
    owner: str
    fence: str
    claimed: SafeString
    expires: SafeString | str


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table, and the query string of those that come after them."""

    rows: Any
    more: str = ""


def page_of(incubator: Incubator, request: HttpRequest, site: str) -> dict[str, Any]:
    """The context of the page. Its query says from where tables are shown: ``key``, ``resource``
    and ``agent_after``, and which entries of the log."""
    room = incubator.room
    query = request.GET
    now = timezone.now()
    measured = metrics.snapshot(room.pk)
    wanted = LogFilter.of(query.dict())
    # First of all: it sees to it that machines are known as they are now.
    accounts = accounts_of(incubator.machine, _used(incubator), _reserved(room.pk))
    return {
        "facts": _facts(incubator, site),
        "status": bus_badge(room),
        "commands": _commands(room),
        "state": _state(room.pk, query.get("key", "")),
        "claims": _claims(room.pk, query.get("resource", ""), now),
        "agents": _agents(room.pk, query.get("agent_after", ""), now),
        "tools": _tools(incubator.machine),
        "accounts": accounts,
        "metrics": _metrics(measured),
        "event_counts": _event_counts(measured["eventCounts"]),
        "log": log_page(room, wanted),
        "wanted": wanted,
    }


def _facts(incubator: Incubator, site: str) -> list[tuple[str, object]]:
    room = incubator.room
    found: list[tuple[str, object]] = [
        (_("Machine"), machine_link(incubator.machine, site)),
        (_("Status"), bus_badge(room)),
    ]
    if room.status != Room.Status.OPEN:
        found.append((_("By"), incubator.stopped_by or "–"))
        found.append((_("Reason"), incubator.reason or "–"))
    found += [
        (_("Connected"), presence.count(room.pk)),
        (_("Log"), _("%(floor)d to %(head)d") % {"floor": room.floor, "head": room.head}),
        (_("Epoch"), format_html("<code>{}</code>", room.epoch)),
        (pgettext("incubator", "Created"), moment(incubator.created_at)),
    ]
    if incubator.reset_by:
        found.append((_("Last reset by"), incubator.reset_by))
    return found


def _commands(room: Room) -> list[dict[str, Any]]:
    """The buttons that the status allows."""
    labels = {"pause": _("Pause"), "halt": _("Halt"), "resume": _("Resume")}
    return [
        {"command": command, "label": labels[command], "is_danger": command == "halt"}
        for command in _COMMANDS.get(room.status, ())
    ]


def _state(room: int, after: str) -> Part:
    """Keys in their order, with the version of each and who wrote it."""
    entries = StateEntry.objects.filter(room=room, is_deleted=False, key__gt=after)
    found = list(entries.order_by("key")[: MOST_KEYS + 1])
    shown = found[:MOST_KEYS]
    if not shown:
        return Part(None)
    tree = json_tree(
        {entry.key: entry.value for entry in shown},
        notes={
            entry.key: _("version %(version)d, by %(agent)s")
            % {"version": entry.version, "agent": entry.set_by}
            for entry in shown
        },
    )
    return Part(tree, _more("key", shown[-1].key, len(found) > MOST_KEYS))


def _claims(room: int, after: str, now: datetime) -> Part:
    """Those that somebody has."""
    held = Claim.objects.filter(room=room, resource__gt=after).exclude(owner="")
    held = held.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("resource")
    found = list(held[: MOST_CLAIMS + 1])
    rows = [
        ClaimRow(
            claim.resource,
            claim.owner,
            str(claim.fence),
            moment(claim.claimed_at),
            _("never") if claim.expires_at is None else moment(claim.expires_at),
        )
        for claim in found[:MOST_CLAIMS]
    ]
    last = rows[-1].resource if rows else ""
    return Part(rows, _more("resource", last, len(found) > MOST_CLAIMS))


def _agents(room: int, after: str, now: datetime) -> Part:
    """Who was seen in the last day; who is connected, first of all by its badge."""
    connected = {each.principal for each in presence.members(room, limit=MOST_MEMBERS)}
    rows: QuerySet[Agent] = Agent.objects.filter(room=room, name__gt=after).order_by("name")
    found = list(rows[: MOST_AGENTS + 1])
    shown = found[:MOST_AGENTS]
    if not shown:
        return Part(None)

    def condition(agent: Agent) -> SafeString:
        if agent.name in connected:
            return badge("good", _("connected"))
        if (now - agent.seen_at).total_seconds() <= store.SEEN:
            return badge("warn", _("seen a moment ago"))
        return badge("quiet", _("away"))

    lines = (
        (agent.name, agent.role or "–", agent.principal, condition(agent), moment(agent.seen_at))
        for agent in shown
    )
    heads = (_("Agent"), _("Role"), _("Principal"), _("Now"), _("Last seen"))
    more = _more("agent_after", shown[-1].name, len(found) > MOST_AGENTS)
    return Part(table(heads, lines), more)


def _tools(machine: str) -> SafeString | None:
    tools = tools_of(machine)
    if not tools:
        return None
    rows = [
        (
            name,
            tool.definition.handler or tool.definition.machine,
            Truncator(tool.definition.description).chars(MOST_OF_A_TOOL),
        )
        for name, tool in sorted(tools.items())
    ]
    if not any(does for _name, _from, does in rows):
        return table((_("Name"), _("From")), (row[:2] for row in rows))
    return table((_("Name"), _("From"), _("Does")), rows)


def _metrics(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (pgettext("model", "Tokens"), grouped(measured["totalTokens"])),
        (_("Cost"), _("$%s") % dollars(_cost(measured))),
        (_("Agents"), grouped(measured["agentCount"])),
        (_("Events"), grouped(sum(measured["eventCounts"].values()))),
    ]


def _event_counts(counts: Mapping[str, int]) -> SafeString | None:
    """The most frequent types first."""
    if not counts:
        return None
    rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [(type, grouped(count)) for type, count in rows[:MOST_TYPES]]
    if len(rows) > MOST_TYPES:
        rest = sum(count for _type, count in rows[MOST_TYPES:])
        shown.append((_("%d further types") % (len(rows) - MOST_TYPES), grouped(rest)))
    return table((_("Type of event"), _("Published")), shown)


def _used(incubator: Incubator) -> Reserved:
    """What its tools have used; what agents publish of themselves is in the metrics alone."""
    return Reserved(incubator.cost, incubator.tokens)


def _reserved(room: int) -> Reserved:
    """What calls that run now may use yet."""
    held = in_flight(room).aggregate(cost=Sum("cost"), tokens=Sum("tokens"))
    return Reserved(held["cost"] or Decimal(0), held["tokens"] or 0)


def _cost(measured: Mapping[str, Any]) -> Decimal:
    return Decimal(str(measured["totalCost"]))


def _more(name: str, last: str, are_more: bool) -> str:
    return urlencode({name: last}) if are_more else ""
