"""A run's log in sentences, for people who look at its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..rooms.events import Event
from ..runs.models import Run
from ..runs.states import OVER, NodeStatus, RunStatus
from ..runs.words import dollars, said

#: Sentences that a page has at most.
MOST_TOLD: Final = 12
#: What a sentence may end with.
_ENDS: Final = ".!?…)"

#: The titles of nodes, by their ids.
Titles = Mapping[str, str]
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sentence:
    """What happened, and when it was committed."""

    at: datetime
    text: str


def story(events: Sequence[Event], titles: Titles) -> list[Sentence]:
    """The last entries that say something to people, the newest first."""
    told: list[Sentence] = []
    for event in reversed(events):
        say = _SENTENCES.get(event.type)
        text = "" if say is None else say(orjson.loads(event.payload), titles)
        if text:
            told.append(Sentence(event.at, text))
        if len(told) == MOST_TOLD:
            break
    return told


def _node_state(entry: Entry, titles: Titles) -> str:
    node = _title(entry, titles)
    match entry["status"]:
        case NodeStatus.COMPLETED:
            return _("%s: done.") % node
        case NodeStatus.FAILED:
            return _with(_("%s: failed") % node, said(entry.get("error")))
        case NodeStatus.RETRYING:
            return _with(_("%s: tried again") % node, said(entry.get("error")))
        case NodeStatus.SKIPPED:
            return _with(_("%s: skipped") % node, _reason(entry))
        case NodeStatus.CANCELLED:
            return _("%s: cancelled.") % node
        case NodeStatus.PAUSED if entry.get("reason"):  # else its gate is told
            return f"{node}: {_reason(entry)}."
    return ""


def _gate_waiting(entry: Entry, titles: Titles) -> str:
    node = _title(entry, titles)
    if entry["presentation"].get("escalated"):
        return _("%s: still waits for a decision.") % node
    return _("%s: waits for a decision.") % node


def _gate_decided(entry: Entry, titles: Titles) -> str:
    node = _title(entry, titles)
    decisions = {"approve": _("approved"), "reject": _("rejected"), "modify": _("sent back")}
    decision = decisions.get(entry["decision"], entry["decision"])
    if not entry.get("by"):
        return _("%(node)s: %(decision)s, since nobody decided in time.") % {
            "node": node, "decision": decision,
        }  # fmt: skip
    text = _("%(node)s: %(decision)s by %(by)s") % {
        "by": entry["by"], "node": node, "decision": decision,
    }  # fmt: skip
    return _with(text, entry.get("feedback", ""))


def _cost(entry: Entry, titles: Titles) -> str:
    return _("$%s are spent.") % dollars(entry["spent"])


def _warning(entry: Entry, titles: Titles) -> str:
    amounts = {"spent": dollars(entry["spent"]), "budget": dollars(entry["budget"])}
    return _("Most of the budget is spent: $%(spent)s of $%(budget)s.") % amounts


def _mutated(entry: Entry, titles: Titles) -> str:
    mutation = entry["mutation"]
    text = _("%s changed the graph") % (mutation.get("by") or _("The machine"))
    return _with(text, mutation.get("reason") or "")


def _run_state(entry: Entry, titles: Titles) -> str:
    if entry["status"] in OVER:  # ``execution_complete`` says more
        return ""
    if entry["status"] == RunStatus.RUNNING:
        return _("%s had the run go on.") % entry["by"] if "by" in entry else _("The run began.")
    status = str(Run.Status(entry["status"]).label)
    if "by" in entry:
        return _("%(by)s had the run stop: %(status)s.") % {"by": entry["by"], "status": status}
    return _("The run is %s.") % status


def _complete(entry: Entry, titles: Titles) -> str:
    return _("The run has ended: %s.") % Run.Outcome(entry["outcome"]).label


def _error(entry: Entry, titles: Titles) -> str:
    return said(entry)


_SENTENCES: Final[Mapping[str, Callable[[Entry, Titles], str]]] = {
    "node_state": _node_state,
    "human_gate_waiting": _gate_waiting,
    "gate_decided": _gate_decided,
    "cost_update": _cost,
    "budget_warning": _warning,
    "dag_mutated": _mutated,
    "run_state": _run_state,
    "execution_complete": _complete,
    "error": _error,
}


def _title(entry: Entry, titles: Titles) -> str:
    return str(capfirst(titles.get(entry["node_id"], entry["node_id"])))


def _reason(entry: Entry) -> str:
    return str(entry.get("reason", "")).replace("_", " ")


def _with(text: str, more: str) -> str:
    """A sentence, with what somebody else said behind a colon."""
    if not more:
        return f"{text}."
    return f"{text}: {more}" if more[-1] in _ENDS else f"{text}: {more}."
