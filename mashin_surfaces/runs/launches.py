"""``launch`` and ``launch_many``: runs that a run starts, in the transaction that says so.

``launch`` goes on at once. ``launch_many`` with ``collect`` waits: its node runs, and no process
holds the run, until the last child has ended. Children that are waited for are cancelled with their
parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from django.db import connections
from django.db.models import F

from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import governed
from ..machines.definition import Launch, LaunchMany
from ..machines.json_values import dumps
from ..machines.registry import CompiledMachine, registry
from ..rooms.appending import Append, RoomIsGone, RoomIsLocked
from ..rooms.events import NewEvent
from ..rooms.log import aput, database, room_threads
from ..steps.nodes import NodeStep
from .change import Change
from .execution import Outcome
from .holders import lock
from .models import Node, Run
from .state import RunState
from .states import RUN_STEPS, NodeStatus, RunStatus


def begin(state: RunState, change: Change, node: Node, step: NodeStep) -> None:
    """Start what a node launches; raises ``Refusal`` when that can't be."""
    execution = state.execution(node)
    if isinstance(step.inner, Launch):
        given = {name: value(execution) for name, value in step.expressions.items()}
        id = _launch(state, change, node, 0, step.inner.machine, given)
        _done(change, node, {"run_id": id})
        return
    assert isinstance(step.inner, LaunchMany)  # noqa: S101  nothing else comes here
    inputs = _inputs(state, node, step)
    for given in inputs:  # all of them can be launched, or none is
        _launchable(step.inner.machine, given)
    if step.inner.collect and not inputs:
        _done(change, node, {"results": []})
        return
    if step.inner.collect:
        change.set_node(
            node, NodeStatus.RUNNING, attempt=node.attempt + 1, started_at=change.now, reason=""
        )
        go_on(state, change, node, [])
        return
    machine = step.inner.machine
    ids = [_launch(state, change, node, n, machine, each) for n, each in enumerate(inputs)]
    _done(change, node, {"run_ids": ids})


#: How deep runs may launch each other.
MOST_DEPTH = 16

#: A child as its parent sees it: its place, id, outcome ("" while it runs), output, error.
Child = tuple[int, str, str, Any, Any]


def children(run: Run, nodes: Sequence[Node]) -> dict[str, list[Child]]:
    """What these nodes have launched in the attempts they are at, by node, in order. Queries."""
    found: dict[str, list[Child]] = {node.name: [] for node in nodes}
    attempts = {node.name: node.attempt for node in nodes}
    rows = Run.objects.using(database()).filter(parent=run, parent_node__in=attempts)
    columns = ("parent_node", "parent_index", "outcome", "output", "error", "ended_at")
    for row in rows.order_by("parent_index").only(*columns):
        name, index = row.parent_node, row.parent_index
        if row.pk == _child_id(run, name, attempts[name], index):
            outcome = "" if row.ended_at is None else row.outcome
            found[name].append((index, row.pk, outcome, row.output, row.error))
    return found


def go_on(state: RunState, change: Change, node: Node, before: list[Child]) -> Outcome | None:
    """Launch as many as may run; what came of all of them, once they have ended."""
    step = state.steps[node.name]
    assert isinstance(step.inner, LaunchMany)  # noqa: S101  see ``RunState.collecting``
    inputs = _inputs(state, node, step)
    running = sum(not child[2] for child in before)
    for index in range(len(before), len(inputs)):
        if running >= step.inner.max_concurrency:
            break
        _launch(state, change, node, index, step.inner.machine, inputs[index])
        running += 1
    if running or len(before) < len(inputs):
        return None
    results = [
        {"run_id": id, "outcome": outcome, "output": output, **({"error": error} if error else {})}
        for _, id, outcome, output, error in before
    ]
    began = node.started_at or change.now
    return Outcome(
        node.name,
        node.attempt,
        output={"results": results},
        seconds=(change.now - began).total_seconds(),
    )


def _inputs(state: RunState, node: Node, step: NodeStep) -> list[dict[str, Any]]:
    assert isinstance(step.inner, LaunchMany)  # noqa: S101  see ``RunState.collecting``
    execution = state.execution(node)
    items = step.expressions["items"](execution)
    extra = step.expressions["extra_input"](execution) if "extra_input" in step.expressions else {}
    if not isinstance(items, list) or not isinstance(extra, dict):
        raise Refusal(
            Code.EXECUTION_FAILED, f'The step "{node.name}" launches for a list, and got none.'
        )
    if len(items) > settings.RUNS.MAX_CHILDREN:
        raise Refusal(
            Code.TOO_LARGE,
            f'The step "{node.name}" would launch {len(items)} runs; '
            f"{settings.RUNS.MAX_CHILDREN} are allowed.",
        )
    return [{**extra, step.inner.input_key: item} for item in items]


def _done(change: Change, node: Node, output: Any) -> None:
    change.set_node(
        node, NodeStatus.RUNNING, attempt=node.attempt + 1, started_at=change.now, reason=""
    )
    change.set_node(node, NodeStatus.COMPLETED, output=output, ended_at=change.now)


def _launch(
    state: RunState, change: Change, node: Node, index: int, machine: str, given: dict[str, Any]
) -> str:
    """Have a child written with this change; its id is the same whenever it is launched."""
    from .store import Creation, NewRun  # which needs what needs this module
    from .store import write as write_runs

    parent = state.run
    compiled, checked = _launchable(machine, given)
    if parent.depth >= MOST_DEPTH:
        raise Refusal(Code.EXECUTION_FAILED, f"Runs launch each other {MOST_DEPTH} deep at most.")
    id = _child_id(parent, node.name, node.attempt, index)
    creation = Creation(
        NewRun(
            governed(compiled),
            checked,
            parent.principal,
            client=parent.client,
            parent=(parent.id, node.name, index),
            id=id,
        )
    )
    creation.state.run.depth = parent.depth + 1
    creation.state.run.due_at = change.now

    def write(alias: str) -> None:
        if not Run.objects.using(alias).filter(pk=id).exists():
            write_runs(connections[alias], [creation])

    change.also.append(write)
    return id


def _child_id(parent: Run, node: str, attempt: int, index: int) -> str:
    return uuid5(NAMESPACE_OID, f"{parent.id}:{node}:{attempt}:{index}").hex


def _launchable(machine: str, given: dict[str, Any]) -> tuple[CompiledMachine, dict[str, Any]]:
    """The machine, and its input as it takes it; raises ``Refusal``."""
    compiled = registry.snapshot.machines.get(machine)
    if compiled is None or not compiled.enabled:
        raise Refusal(Code.NOT_FOUND, f'There is no machine "{machine}" to launch.')
    return compiled, compiled.accepts.check(given)


def tell_parent(run: Run, now: datetime) -> Callable[[str], None]:
    """What a child's last change writes besides: its parent has to look again.

    It raises ``RoomIsLocked``: then all of the change is written a moment later.
    """

    def write(alias: str) -> None:
        parent = Run.objects.using(alias).filter(pk=run.parent_id, ended_at=None)
        if lock(alias, parent):
            parent.update(version=F("version") + 1, due_at=now)
        elif parent.exists():
            raise RoomIsLocked()

    return write


# -- cancelled with their parent ------------------------------------------------------------------

_MAY_BE_CANCELLED: Final = [
    status for status, steps in RUN_STEPS.items() if RunStatus.CANCELLING in steps
]


async def cancel_children(run: Run, nodes: Sequence[Node]) -> bool:
    """Cancel the runs that these nodes wait for; whether there were any.

    Each is a transaction under the child's own lock: a parent and its child must not wait for each
    other's. The nodes end afterwards, so that who takes the parent over meanwhile does it again.
    Raises ``CommitFailed`` and the database's errors.
    """
    found = await room_threads.run(_living_children, run, [node.name for node in nodes])
    for child in found:
        await _cancel(child, f"run:{run.id}")
    return bool(found)


def _living_children(run: Run, nodes: Sequence[str]) -> list[Run]:
    rows = Run.objects.using(database()).filter(parent=run, parent_node__in=nodes)
    return list(rows.filter(status__in=_MAY_BE_CANCELLED).only("room_id"))


async def _cancel(child: Run, by: str) -> None:
    events: list[NewEvent] = []

    def write() -> None:
        events.clear()  # of a batch that was rolled back, and is tried again
        rows = Run.objects.using(database()).filter(pk=child.pk, status__in=_MAY_BE_CANCELLED)
        is_cancelled = rows.update(
            status=RunStatus.CANCELLING,
            outcome=Run.Outcome.CANCELLED,
            version=F("version") + 1,
            due_at=datetime.now(UTC),
        )
        if is_cancelled:  # else it has just ended, or somebody was first
            told = {"status": RunStatus.CANCELLING, "by": by}
            events.append(NewEvent("run_state", dumps(told).decode(), by))

    try:
        await aput(Append(child.room_id, events, also=write))
    except RoomIsGone:  # the child was deleted
        return
