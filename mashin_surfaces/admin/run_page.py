"""What the page of a run shows, read in a fixed number of queries, however many nodes there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

from django.db.models import Count, Sum
from django.forms import Script
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..conf import settings
from ..rooms import log
from ..runs.drawing import drawing
from ..runs.models import CostEntry, Decision, Gate, Node, Run
from ..runs.states import ENDED, OVER, RUN_STEPS, GateStatus, NodeStatus, RunStatus
from ..runs.words import account, dollars, duration, lasted, money, said
from .markup import badge, json_tree
from .run_looks import node_badge, outcome_badge, run_badge
from .run_timeline import timeline_of
from .tables import moment, table

#: What the pages of runs look like, and what they do beyond HTML.
RUN_STYLESHEETS: Final = ("mashin_surfaces/graph.css", "mashin_surfaces/runs.css")
RUN_SCRIPT: Final = Script("mashin_surfaces/run.js", type="module")
#: Entries of the log, children and nodes that a page shows.
MOST_EVENTS: Final = 50
MOST_CHILDREN: Final = 50
MOST_NODES: Final = 500
#: Characters of an output, or of a payload, that are shown at once, and when it is unfolded.
PREVIEW: Final = 120
MOST_SHOWN: Final = 16_384
MOST_PAYLOAD: Final = 300
_URL: Final = "admin:mashin_surfaces_run_%s"
_DECISION_LOOKS: Final[Mapping[str, str]] = {"approve": "good", "reject": "bad", "modify": "warn"}


@dataclass(frozen=True, slots=True)
class Rights:
    """What the reader may do with the run."""

    control: bool
    decide: bool
    follow: bool


@dataclass(frozen=True, slots=True)
class Typed:
    """What was sent at a gate and is wrong: it is shown again."""

    gate: str = ""
    feedback: str = ""
    scope: str = "node"


@dataclass(frozen=True, slots=True)
class NodeRow:
    name: str
    title: str
    kind: str
    status: SafeString
    needs: str
    attempt: str
    duration: str
    cost: str
    error: str
    reason: str
    preview: str
    output: str
    may_retry: bool


@dataclass(frozen=True, slots=True)
class GateCard:
    """A gate that is open, with what its form holds. ``ref``: sent twice, it counts once."""

    row: Gate
    shown: dict[str, Any]
    output: SafeString | None
    deadline: SafeString | None
    is_wait: bool
    ref: str
    feedback: str
    scope: str


def page_of(run: Run, rights: Rights, before: int | None, typed: Typed) -> dict[str, Any]:
    """The context of the page. ``before``: the log's entries before this offset are shown."""
    now = timezone.now()
    events = _events(run, before)
    nodes = list(Node.objects.filter(run=run).defer("step", "inner").order_by("position"))
    gates = list(Gate.objects.filter(run=run))
    costs = _costs(run)
    spent: dict[str, Decimal] = {}
    for entry in costs:
        spent[entry["node"]] = spent.get(entry["node"], Decimal(0)) + entry["amount"]
    is_over = run.status in OVER
    shown = nodes[:MOST_NODES]
    return {
        "facts": _facts(run, nodes, now),
        "problem": said(run.error),
        "controls": _controls(run) if rights.control else (),
        "may_decide": rights.decide,
        "may_control": rights.control,
        "waiting": [
            _card(gate, typed)
            for gate in sorted(gates, key=lambda gate: gate.opened_at)
            if gate.status == GateStatus.OPEN and not is_over
        ],
        "decided": _decided(run, gates),
        "drawing": _drawing(run, nodes, rights),
        "nodes": [_node(node, run, spent, now) for node in shown],
        "nodes_left": len(nodes) - len(shown),
        "timeline": timeline_of(run, shown, now),
        "costs": [
            {**entry, "amount": dollars(entry["amount"]), "model": entry["model"] or "–"}
            for entry in costs
        ],
        "account": account(run),
        "children": _children(run),
        "events": events,
        "older": _oldest(run, events),
        "is_old": before is not None,
    }


# -- the run --------------------------------------------------------------------------------------


def _facts(run: Run, nodes: Sequence[Node], now: datetime) -> list[tuple[str, object]]:
    counted = [node for node in nodes if node.status != NodeStatus.MUTATED]
    done = sum(NodeStatus(node.status) in ENDED for node in counted)
    found: list[tuple[str, object]] = [
        (_("Status"), run_badge(run)),
        (_("Outcome"), outcome_badge(run)),
        (_("Nodes done"), progress(done, len(counted))),
        (_("Spent"), money(run)),
        (_("Started by"), run.principal),
        (_("Started"), moment(run.started_at)),
    ]
    if run.ended_at is not None:
        found.append((_("Ended"), moment(run.ended_at)))
    found.append((_("Duration"), duration(lasted(run.started_at, run.ended_at, now))))
    if run.deadline_at is not None and run.ended_at is None:
        found.append((_("Deadline"), moment(run.deadline_at)))
    found += [(_("At once"), run.max_parallel), (_("Id"), format_html("<code>{}</code>", run.pk))]
    return found


def progress(done: int, nodes: int) -> str:
    return f"{done}/{nodes}"


def _controls(run: Run) -> list[dict[str, Any]]:
    """The buttons that the run's state allows."""
    allowed = RUN_STEPS[RunStatus(run.status)]
    offered: list[dict[str, Any]] = []
    if RunStatus.PAUSING in allowed:
        says = _("what runs ends first, then nothing starts")
        offered.append({"url": _URL % "pause", "label": _("Pause"), "says": says})
    if run.status in {RunStatus.PAUSING, RunStatus.PAUSED}:
        offered.append({"url": _URL % "resume", "label": _("Resume"), "says": ""})
    if RunStatus.CANCELLING in allowed:
        says = _("ends the run, after a question")
        offered.append(
            {"url": _URL % "cancel", "label": _("Cancel …"), "says": says, "is_danger": True}
        )
    return offered


def _children(run: Run) -> dict[str, Any]:
    rows = Run.objects.filter(parent=run).order_by("parent_node", "parent_index")
    found = list(rows.defer("input", "output", "error")[: MOST_CHILDREN + 1])
    return {
        "shown": [
            {"run": child, "status": run_badge(child), "outcome": outcome_badge(child)}
            for child in found[:MOST_CHILDREN]
        ],
        "are_more": len(found) > MOST_CHILDREN,
    }


# -- its nodes ------------------------------------------------------------------------------------


def _node(node: Node, run: Run, spent: Mapping[str, Decimal], now: datetime) -> NodeRow:
    status = NodeStatus(node.status)
    has_begun = status not in {NodeStatus.PENDING, NodeStatus.SCHEDULED}
    length = lasted(node.started_at, node.ended_at or run.ended_at, now) if has_begun else None
    output = "" if node.output is None else json.dumps(node.output, ensure_ascii=False)
    return NodeRow(
        name=node.name,
        title=node.title,
        kind=node.kind,
        status=node_badge(node),
        needs=", ".join(node.needs) or "–",
        attempt=str(node.attempt or "–"),
        duration=duration(length),
        cost=_("$%s") % dollars(spent[node.name]) if node.name in spent else "–",
        error=said(node.error),
        reason=node.reason.replace("_", " "),
        preview=Truncator(output).chars(PREVIEW),
        output=Truncator(output).chars(MOST_SHOWN) if len(output) > PREVIEW else "",
        may_retry=status is NodeStatus.FAILED
        and run.status in {RunStatus.FAILED, RunStatus.RUNNING, RunStatus.PAUSED},
    )


def _drawing(run: Run, nodes: Sequence[Node], rights: Rights) -> dict[str, Any] | None:
    parts = [
        {
            "id": node.name,
            "title": node.title,
            "kind": node.kind,
            "needs": node.needs,
            "status": node.status,
        }
        for node in nodes
    ]
    stream = f"{settings.RUNS.PREFIX}/{run.pk}/stream" if rights.follow else None
    return drawing(run, run.room.head, parts, stream)


# -- its gates ------------------------------------------------------------------------------------


def _card(gate: Gate, typed: Typed) -> GateCard:
    output = gate.shown.get("output")
    is_typed = typed.gate == gate.pk
    if output is None:
        tree = None
    else:
        tree = json_tree(output if isinstance(output, dict) else {_("output"): output})
    return GateCard(
        gate,
        gate.shown,
        tree,
        None if gate.expires_at is None else moment(gate.expires_at),
        gate.kind == Gate.Kind.WAIT,
        uuid4().hex,
        typed.feedback if is_typed else "",
        typed.scope if is_typed else "node",
    )


def _decided(run: Run, gates: Iterable[Gate]) -> SafeString | None:
    """What people decided, and what nobody did in time; the newest first."""
    named = {gate.pk: gate for gate in gates}
    rows: list[tuple[datetime, Sequence[object]]] = [
        (
            each.at,
            (
                moment(each.at),
                f"{named[each.gate_id].node} · {each.revision}",
                badge(_DECISION_LOOKS.get(each.decision, "quiet"), each.option or each.decision),
                each.by,
                each.feedback or "–",
            ),
        )
        for each in Decision.objects.filter(gate__run=run)
    ]
    rows += [
        (
            gate.closed_at,
            (
                moment(gate.closed_at),
                f"{gate.node} · {gate.revision}",
                badge("quiet", gate.get_status_display()),
                "–",
                "–",
            ),
        )
        for gate in named.values()
        if gate.status in {GateStatus.EXPIRED, GateStatus.CLOSED} and gate.closed_at is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: row[0], reverse=True)
    heads = (_("At"), _("Gate · shown"), _("Decision"), _("By"), _("Feedback"))
    return table(heads, (row for _at, row in rows))


# -- what it costs --------------------------------------------------------------------------------


def _costs(run: Run) -> list[dict[str, Any]]:
    """The cost entries by node and model, the dearest first."""
    rows = CostEntry.objects.filter(run=run).order_by().values("node", "model")
    summed = rows.annotate(
        entries=Count("pk"),
        amount=Sum("amount"),
        input_tokens=Sum("input_tokens"),
        output_tokens=Sum("output_tokens"),
    )
    return [dict(row) for row in summed.order_by("-amount", "node")[:MOST_NODES]]


# -- its log --------------------------------------------------------------------------------------


def _events(run: Run, before: int | None) -> list[Any]:
    """The newest first."""
    end = run.room.head if before is None else before - 1
    begin = max(0, end - MOST_EVENTS)
    found = log.read(run.room_id, begin, end - begin) if end > begin else []
    return [
        {
            "offset": str(event.offset),
            "at": moment(event.at),
            "type": event.type,
            "actor": event.actor or "–",
            "payload": Truncator(event.payload).chars(MOST_PAYLOAD),
            "number": event.offset,
        }
        for event in reversed(found)
    ]


def _oldest(run: Run, events: Sequence[Mapping[str, Any]]) -> str | None:
    """The offset before which there is more."""
    if not events or events[-1]["number"] <= run.room.floor + 1:
        return None
    return str(events[-1]["number"])


def gates_waiting(number: int) -> SafeString:
    if not number:
        return SafeString("–")
    return badge("warn", ngettext("%d gate", "%d gates", number) % number)
