"""What may become of what: the state machines of runs, nodes and gates, as tables.

A pair that is not in its table is a defect of ours: ``move`` raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from .models import Gate, Node, Run

NodeStatus = Node.Status
RunStatus = Run.Status
GateStatus = Gate.Status

Status = TypeVar("Status", NodeStatus, RunStatus, GateStatus)

#: A node from the moment it is in the graph. The same again is no step.
NODE_STEPS: Final[Mapping[NodeStatus, frozenset[NodeStatus]]] = {
    NodeStatus.PENDING: frozenset(
        {
            NodeStatus.SCHEDULED,  # all that it needs is done, and others run
            NodeStatus.RUNNING,
            NodeStatus.PAUSED,  # a gate, a wait, an effect that needs approval
            NodeStatus.SKIPPED,
            NodeStatus.MUTATED,  # taken out of the graph
            NodeStatus.CANCELLED,
            NodeStatus.FAILED,  # what it would run with can't be made
        }
    ),
    NodeStatus.SCHEDULED: frozenset(
        {
            NodeStatus.RUNNING,
            NodeStatus.PAUSED,
            NodeStatus.PENDING,  # what it needs runs again
            NodeStatus.MUTATED,
            NodeStatus.CANCELLED,
            NodeStatus.FAILED,
        }
    ),
    NodeStatus.RUNNING: frozenset(
        {
            NodeStatus.COMPLETED,
            NodeStatus.FAILED,
            NodeStatus.RETRYING,
            NodeStatus.PENDING,  # its process died, and it may run again
            NodeStatus.PAUSED,  # its process died, and somebody has to say whether it may
            NodeStatus.CANCELLED,
        }
    ),
    NodeStatus.RETRYING: frozenset(
        {
            NodeStatus.RUNNING,
            NodeStatus.SCHEDULED,
            NodeStatus.PAUSED,
            NodeStatus.PENDING,  # what it needs runs again
            NodeStatus.FAILED,
            NodeStatus.MUTATED,
            NodeStatus.CANCELLED,
        }
    ),
    NodeStatus.PAUSED: frozenset(
        {
            NodeStatus.COMPLETED,  # approved, or the event came
            NodeStatus.FAILED,  # rejected, or nobody came in time
            NodeStatus.PENDING,  # an approved effect runs; what was shown is made anew
            NodeStatus.MUTATED,
            NodeStatus.CANCELLED,
        }
    ),
    NodeStatus.COMPLETED: frozenset({NodeStatus.PENDING}),  # a person wants it again
    NodeStatus.FAILED: frozenset({NodeStatus.PENDING}),
    NodeStatus.SKIPPED: frozenset({NodeStatus.PENDING}),
    NodeStatus.CANCELLED: frozenset({NodeStatus.PENDING}),
    NodeStatus.MUTATED: frozenset(),
}

RUN_STEPS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.RUNNING: frozenset(
        {RunStatus.PAUSING, RunStatus.CANCELLING, RunStatus.COMPLETED, RunStatus.FAILED}
    ),
    RunStatus.PAUSING: frozenset(
        {
            RunStatus.PAUSED,
            RunStatus.RUNNING,
            RunStatus.CANCELLING,
            RunStatus.COMPLETED,
            RunStatus.FAILED,
        }
    ),
    RunStatus.PAUSED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLING}),
    RunStatus.CANCELLING: frozenset({RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.FAILED: frozenset({RunStatus.RUNNING}),  # a failed node is run again
    RunStatus.CANCELLED: frozenset(),
    RunStatus.COMPLETED: frozenset(),
}

GATE_STEPS: Final[Mapping[GateStatus, frozenset[GateStatus]]] = {
    GateStatus.OPEN: frozenset({GateStatus.DECIDED, GateStatus.EXPIRED, GateStatus.CLOSED}),
    # What was shown is made anew, and shown again.
    GateStatus.DECIDED: frozenset({GateStatus.OPEN}),
    GateStatus.EXPIRED: frozenset({GateStatus.OPEN}),
    GateStatus.CLOSED: frozenset({GateStatus.OPEN}),
}

#: What a node is when nothing more comes of it by itself.
ENDED: Final = frozenset(
    {
        NodeStatus.COMPLETED,
        NodeStatus.FAILED,
        NodeStatus.SKIPPED,
        NodeStatus.MUTATED,
        NodeStatus.CANCELLED,
    }
)
#: What a run is when it is over.
OVER: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class ForbiddenStep(Exception):
    """A state that can't come after the one before."""


def move(table: Mapping[Status, frozenset[Status]], before: Status, after: Status) -> Status:
    """``after``, when the table allows it; raises ``ForbiddenStep``."""
    if after not in table[before]:
        raise ForbiddenStep(f"{before.value} can't become {after.value}.")
    return after
