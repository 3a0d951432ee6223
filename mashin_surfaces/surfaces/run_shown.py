"""What the page of a run shows, read in a fixed number of queries.

Synchronous, on a thread that may query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from django.db.models import Q
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..exceptions import Code, Refusal
from ..machines.registry import CompiledMachine
from ..rooms.log import database, read
from ..runs.drawing import drawing
from ..runs.models import Gate, Node, Run
from ..runs.snapshot import take
from ..runs.states import ENDED, OVER, RUN_STEPS, GateStatus, NodeStatus, RunStatus
from ..runs.store import one_moment
from ..runs.words import NODE_LOOKS, RUN_LOOKS, account, duration, said
from .presentation import Shown, present, present_value
from .run_story import MOST_TOLD, story

#: Entries of the log that are looked at for the last ones that say something.
MOST_READ: Final = 8 * MOST_TOLD
#: Nodes that are listed, and runs.
MOST_NODES: Final = 500
MOST_RUNS: Final = 10
_LARGE: Final = ("input", "output", "error")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks. ``stream``: the path of the run's socket, None where they can't have it."""

    may_decide: bool
    may_control: bool
    stream: str | None


@dataclass(frozen=True, slots=True)
class Typed:
    """What was sent at a gate and is wrong: it is shown again."""

    gate: str = ""
    feedback: str = ""
    scope: str = "node"


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in a colour and a word, and a sign that says the same."""

    look: str
    word: str
    sign: str = ""


@dataclass(frozen=True, slots=True)
class GateCard:
    """A gate that waits, with what its form holds. ``ref``: sent twice, it counts once."""

    row: Gate
    title: str
    output: Shown | None
    is_wait: bool
    ref: str
    typed: Typed


@dataclass(frozen=True, slots=True)
class NodeRow:
    name: str
    title: str
    status: Badge
    reason: str
    needs: str
    length: str
    error: str
    output: Shown | None


def page_of(id: str, machine: CompiledMachine, reader: Reader, typed: Typed) -> dict[str, Any]:
    """The context of the page; raises ``Refusal`` when the run is gone."""
    alias = database()
    with one_moment(alias):
        snapshot = take(id)
        run = Run.objects.using(alias).filter(pk=id).first()
        if snapshot is None or run is None:
            raise Refusal(Code.NOT_FOUND, "This run is gone.", subject="run")
        gates = list(Gate.objects.using(alias).filter(run=run, status=GateStatus.OPEN))
        events = read(run.room_id, snapshot.head.head - MOST_READ, MOST_READ)
    nodes: dict[str, dict[str, Any]] = snapshot.view["nodes"]
    titles = {name: node["title"] for name, node in nodes.items()}
    waiting = [] if run.status in OVER else sorted(gates, key=lambda gate: gate.opened_at)
    graph = [
        {"id": name, **{part: node[part] for part in ("title", "kind", "needs", "status")}}
        for name, node in nodes.items()
    ]
    drawn = drawing(run, snapshot.head.head, graph, reader.stream)
    is_completed = run.outcome == Run.Outcome.COMPLETED and run.ended_at is not None
    return {
        "run": run,
        "status": _status(run),
        "says": _says(nodes, waiting),
        "error": said(run.error),
        "gates": [_card(gate, titles, typed) for gate in waiting],
        "may_decide": reader.may_decide,
        "controls": _controls(run) if reader.may_control else (),
        "drawing": None if drawn is None else {**drawn, "is_local": True},
        "nodes": [_row(name, node, titles) for name, node in list(nodes.items())[:MOST_NODES]],
        "nodes_left": max(0, len(nodes) - MOST_NODES),
        "account": account(run),
        "result": present(run.output or {}, machine.responds.fields) if is_completed else None,
        "story": story(events, titles),
    }


def recent(machine: str, starter: str | None) -> Sequence[tuple[Run, Badge]]:
    """The machine's newest runs, with their states. ``starter``: only those of this principal."""
    wanted = Q(machine=machine) if starter is None else Q(machine=machine, principal=starter)
    runs = Run.objects.using(database()).filter(wanted).order_by("-started_at").defer(*_LARGE)
    return [(run, _status(run)) for run in runs[:MOST_RUNS]]


def _status(run: Run) -> Badge:
    return Badge(RUN_LOOKS.get(run.status, "quiet"), run.get_status_display())


def _says(nodes: Mapping[str, Mapping[str, Any]], waiting: Sequence[Gate]) -> str:
    """How far the run is, in a sentence or two."""
    statuses = [NodeStatus(node["status"]) for node in nodes.values()]
    counted = [status for status in statuses if status is not NodeStatus.MUTATED]
    done = sum(status in ENDED for status in counted)
    text = ngettext(
        "%(done)d of %(n)d step is done.", "%(done)d of %(n)d steps are done.", len(counted)
    )
    told = [text % {"done": done, "n": len(counted)}]
    if any(gate.kind != Gate.Kind.WAIT for gate in waiting):
        told.append(_("Somebody has to decide."))
    return " ".join(told)


def _controls(run: Run) -> list[str]:
    """What the run's state allows: "pause", "resume", "cancel"."""
    allowed = RUN_STEPS[RunStatus(run.status)]
    offered = {
        "pause": RunStatus.PAUSING in allowed,
        "resume": run.status in {RunStatus.PAUSING, RunStatus.PAUSED},
        "cancel": RunStatus.CANCELLING in allowed,
    }
    return [name for name, is_offered in offered.items() if is_offered]


def _card(gate: Gate, titles: Mapping[str, str], typed: Typed) -> GateCard:
    output = gate.shown.get("output")
    return GateCard(
        gate,
        capfirst(gate.shown.get("title") or titles.get(gate.node, gate.node)),
        None if output is None else _value(output),
        gate.kind == Gate.Kind.WAIT,
        uuid4().hex,
        typed if typed.gate == gate.pk else Typed(),
    )


def _row(name: str, node: Mapping[str, Any], titles: Mapping[str, str]) -> NodeRow:
    status = Node.Status(node["status"])
    look, sign = NODE_LOOKS[status]
    length = (node.get("metrics") or {}).get("duration_ms")
    return NodeRow(
        name,
        capfirst(node["title"]),
        Badge(look, str(status.label), sign),
        node.get("reason", "").replace("_", " "),
        ", ".join(titles.get(need, need) for need in node["needs"]),
        "" if length is None else duration(timedelta(milliseconds=float(length))),
        said(node.get("error")),
        _value(node["output"]) if node.get("output") is not None else None,
    )


def _value(value: Any) -> Shown:
    """A value, or the beginning of one that is too big to be shown."""
    if isinstance(value, dict) and value.keys() == {"$ref", "size", "preview"}:
        return Shown("text", text=f"{value['preview']} …")
    return present_value(value)
