"""What people and other processes do to a run: decide, signal, pause, cancel, retry, mutate.

Each is one transaction under the run's lock, with its access row; it records a fact and says that
the run is due. What follows from it is done by who works on the run. Each returns the request id of
its access row, or raises ``Recorded``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any, Literal

from django.db.models import F

from ..commit import CommitFailed
from ..exceptions import Code, Recorded, Refusal, wrong
from ..governance.govern import Caller, access_row, admit, note
from ..ledger.access import Access
from ..ledger.chain import new_id
from ..ledger.record import companions
from ..machines.definition import WaitFor
from ..machines.json_values import dumps
from ..machines.schemas import Schema
from ..rooms import doorbell
from ..rooms.appending import Append, RoomIsGone
from ..rooms.events import NewEvent
from ..rooms.log import aput, database, room_threads
from ..rooms.storable import has_nul
from . import engine as engines
from . import mutations
from .change import Change
from .doors import Verb, run_door
from .holders import NEWS, hold
from .models import Decision, Gate, Run
from .progress import call_back, reset
from .state import DEPENDENCY_FAILED
from .states import GATE_STEPS, OVER, RUN_STEPS, GateStatus, NodeStatus, RunStatus, move
from .store import find, load

MOST_FEEDBACK = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """How a gate is decided: at a ``node_id``, or at a ``gate_id``.

    ``revision`` and ``digest``: of what the person has seen; None: whatever is open now.
    ``ref``: the caller's own word for it; the same again gets the same answer.
    """

    decision: Literal["approve", "reject", "modify"]
    node_id: str | None = None
    gate_id: str | None = None
    revision: int | None = None
    digest: str | None = None
    option_id: str | None = None
    scope: Literal["node", "phase", "abort"] = "node"
    feedback: str = ""
    ref: str | None = None


class _Command:
    """One command on its way: what it tells, and whether this process has the run with it."""

    def __init__(self, run: Run, caller: Caller) -> None:
        self.run = run
        self.by = caller.principal.name
        self.now = datetime.now(UTC)
        self.events: list[NewEvent] = []
        self.is_held = False
        self.is_idle = False  # it was done before: nobody has to look

    def tell(self, type: str, **payload: Any) -> None:
        self.events.append(NewEvent(type, dumps(payload).decode(), self.by[:200]))

    def fresh(self) -> Run:
        """The run as it is, under the lock."""
        found = Run.objects.using(database()).filter(pk=self.run.pk).first()
        if found is None:
            raise _gone(self.run.pk)
        self.run = found
        return found

    def due(self, **values: Any) -> None:
        """Write the run's new values, and have somebody look: this process when nobody else has
        the run, and it works on runs."""
        alias = database()
        rows = Run.objects.using(alias).filter(pk=self.run.pk)
        rows.update(version=F("version") + 1, due_at=self.now, **values)
        if engines.is_working():
            self.is_held = hold(alias, self.run.pk)


async def _carry_out(
    verb: Verb,
    run: Run,
    caller: Caller,
    given: dict[str, Any],
    do: Callable[[_Command], None],
) -> str:
    """Do it in one transaction with its access row, whose request id is returned.

    Raises ``Recorded``: what is refused has its row, too.
    """
    door = run_door(verb, run.machine, run.pk)
    began = perf_counter_ns()
    command = _Command(run, caller)
    id = new_id()
    try:
        admit(door, caller.principal)
        if has_nul(given):
            raise Refusal(Code.INVALID_INPUT, "Text with NUL characters can't be kept.")

        def write() -> None:
            command.events.clear()  # of a batch that was rolled back, and is tried again
            command.is_held = command.is_idle = False
            do(command)

        item = Append(run.room_id, command.events, also=write)

        def row() -> Access | None:
            if item.problem is not None:
                return None
            return access_row(door, caller, verb, id, began, given, {}, None)

        await aput(item, *companions(database(), row))
    except CommitFailed:
        raise Refusal(
            Code.LEDGER_UNAVAILABLE, "It can't be recorded now; try again.", retry_after=1
        ) from None
    except RoomIsGone:
        raise _gone(run.pk) from None
    except Refusal as refusal:
        answer = await note(door, caller, event=verb, refusal=refusal, raw=dumps(given))
        raise Recorded(answer.refusal or refusal, answer.request_id) from None
    if command.is_idle:
        return id
    if command.is_held:
        engines.adopt(run.pk)
    else:
        engines.wake()
        doorbell.tell(NEWS)
    return id


def _gone(id: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f'There is no run "{id}".', subject="run")


def _conflict(subject: str, message: str) -> Refusal:
    return Refusal(Code.CONFLICT, message, subject=subject)


async def afind(key: str) -> Run:
    """The run with this id, or the newest of the machine with this name; raises ``Refusal``."""
    return await room_threads.run(find, key)


# -- gates ----------------------------------------------------------------------------------------


async def adecide(run: Run, choice: Choice, caller: Caller) -> str:
    """Decide a gate; durable when it returns.

    Raises ``Refusal``: not_found, conflict with the subject ``gate_closed`` (somebody was first,
    or it expired) or ``gate_changed`` (something else is shown now), invalid_input.
    """
    given = {
        "node_id": choice.node_id, "gate_id": choice.gate_id, "decision": choice.decision,
        "option_id": choice.option_id, "scope": choice.scope, "feedback": choice.feedback,
        "revision": choice.revision,
    }  # fmt: skip
    return await _carry_out("decide", run, caller, given, lambda command: _decide(command, choice))


def _decide(command: _Command, choice: Choice) -> None:
    alias = database()
    gate = _gate(command, choice)
    if choice.ref is not None:
        before = Decision.objects.using(alias).filter(gate=gate, by=command.by, ref=choice.ref)
        if before.exists():
            command.is_idle = True
            return
    if gate.status != GateStatus.OPEN or command.fresh().status in OVER:
        raise _conflict("gate_closed", "This gate is not open any more.")
    if choice.revision not in {None, gate.revision} or choice.digest not in {None, gate.digest}:
        raise _conflict("gate_changed", "Something else is shown at this gate now: look again.")
    option = _option(gate, choice)
    told = {
        "decision": option["decision"],
        "option": option["id"],
        "scope": choice.scope,
        "feedback": choice.feedback[:MOST_FEEDBACK],
        "by": command.by,
    }
    gate.status = move(GATE_STEPS, GateStatus(gate.status), GateStatus.DECIDED)
    gate.choice, gate.closed_at = told, command.now
    gate.save(using=alias, force_update=True)
    Decision.objects.using(alias).create(
        gate=gate,
        revision=gate.revision,
        digest=gate.digest,
        decision=option["decision"],
        option=option["id"],
        scope=choice.scope,
        feedback=told["feedback"],
        by=command.by,
        ref=choice.ref,
        at=command.now,
    )
    feedback = {"feedback": told["feedback"]} if told["feedback"] else {}
    command.tell(
        "gate_decided",
        node_id=gate.node,
        gate_id=gate.id,
        decision=option["decision"],
        by=command.by,
        **feedback,
    )
    command.due()


def _gate(command: _Command, choice: Choice) -> Gate:
    gates = Gate.objects.using(database()).filter(run=command.run).exclude(kind=Gate.Kind.WAIT)
    if choice.gate_id is not None:
        gate = gates.filter(pk=choice.gate_id).first()
    else:
        gate = gates.filter(node=choice.node_id).first()
    if gate is None or (choice.node_id is not None and gate.node != choice.node_id):
        raise Refusal(
            Code.NOT_FOUND,
            "There is no such gate in this run, or it has not been reached yet.",
            subject="gate",
        )
    return gate


def _option(gate: Gate, choice: Choice) -> dict[str, Any]:
    """What is chosen: an option of the gate, or one that stands for the bare decision."""
    options: list[dict[str, Any]] = gate.shown["options"]
    if choice.scope != "node" and choice.decision != "reject":
        raise wrong("/scope", "Only what is rejected has a scope.")
    is_again = choice.decision == "modify" or choice.scope == "phase"
    if is_again and gate.kind in {Gate.Kind.CRASH, Gate.Kind.BUDGET}:
        raise wrong("/decision", "Nothing is shown here that could be made again: say yes or no.")
    if choice.option_id is not None:
        found = next((each for each in options if each["id"] == choice.option_id), None)
        if found is None or found["decision"] != choice.decision:
            shown = ", ".join(f"{each['id']} ({each['decision']})" for each in options)
            raise wrong("/option_id", f"The gate has no such option; it has {shown}.")
        return found
    found = next((each for each in options if each["decision"] == choice.decision), None)
    return found or {"id": choice.decision, "decision": choice.decision}


async def asignal(
    run: Run, caller: Caller, value: Any, *, node_id: str | None = None, event: str | None = None
) -> str:
    """Give a ``wait for`` what it waits for, by its node or by the event's name.

    Raises ``Refusal``: not_found, conflict (``gate_closed``), invalid_input.
    """
    given = {"node_id": node_id, "event": event, "value": value}

    def do(command: _Command) -> None:
        alias = database()
        waits = Gate.objects.using(alias).filter(run=command.run, kind=Gate.Kind.WAIT)
        named = waits.filter(node=node_id) if node_id is not None else waits.filter(event=event)
        is_open = named.filter(status=GateStatus.OPEN)
        gate = is_open.order_by("opened_at").first() or named.order_by("opened_at").last()
        if gate is None:
            raise Refusal(Code.NOT_FOUND, "Nothing in this run waits for that.", subject="gate")
        if gate.status != GateStatus.OPEN or command.fresh().status in OVER:
            raise _conflict("gate_closed", "It is not waited for any more.")
        gate.choice = {"value": _checked(command.run, gate, value)}
        gate.status = move(GATE_STEPS, GateStatus(gate.status), GateStatus.DECIDED)
        gate.closed_at = command.now
        gate.save(using=alias, force_update=True)
        command.due()

    return await _carry_out("decide", run, caller, given, do)


def _checked(run: Run, gate: Gate, value: Any) -> Any:
    state = load(run.pk)
    step = state.steps[gate.node].inner if state is not None else None
    if not isinstance(step, WaitFor) or not step.fields:
        return value
    if not isinstance(value, dict):
        raise wrong("/value", "It is an object.")
    return Schema.of(step.fields).check(value)


# -- control --------------------------------------------------------------------------------------


async def acontrol(run: Run, to: Literal["pause", "resume", "cancel"], caller: Caller) -> str:
    """Pause (what runs ends first), resume, or cancel a run.

    Raises ``Refusal`` (conflict) when the run is not in a state for it.
    """

    def do(command: _Command) -> None:
        found = command.fresh()
        before = RunStatus(found.status)
        after = _WANTED[to]
        if before is after or (to, before) in _ALREADY:
            command.is_idle = True
            return
        if before in OVER or after not in RUN_STEPS[before]:
            raise _conflict("run_state", f"The run is {found.status}: it can't {to} now.")
        command.tell("run_state", status=after.value, by=command.by)
        outcome = {"outcome": Run.Outcome.CANCELLED} if to == "cancel" else {}
        command.due(status=after, **outcome)

    return await _carry_out("control", run, caller, {"do": to}, do)


_WANTED = {
    "pause": RunStatus.PAUSING,
    "resume": RunStatus.RUNNING,
    "cancel": RunStatus.CANCELLING,
}
_ALREADY = {("pause", RunStatus.PAUSED), ("cancel", RunStatus.CANCELLED)}


async def aretry(run: Run, node_id: str, caller: Caller) -> str:
    """Run a failed node again, and what was skipped because of it or cancelled with the run.

    Raises ``Refusal``: not_found, conflict (it has not failed).
    """

    def do(command: _Command) -> None:
        change = _change(command)
        state = change.state
        node = state.nodes.get(node_id)
        if node is None:
            raise _no_node(node_id)
        if node.status != NodeStatus.FAILED or state.run.status not in {
            RunStatus.FAILED,
            RunStatus.RUNNING,
            RunStatus.PAUSED,
        }:
            raise _conflict("node_state", f'The node "{node_id}" is {node.status}, not failed.')
        if state.run.status == RunStatus.FAILED:
            state.run.outcome, state.run.error, state.run.ended_at = "", None, None
            if state.run.deadline_at is not None and state.run.deadline_at < command.now:
                state.run.deadline_at = None
            change.set_run(RunStatus.RUNNING, by=command.by)
            for other in state.nodes.values():
                if other.status == NodeStatus.CANCELLED:
                    reset(change, other)
        reset(change, node)
        call_back(change, node)
        waiting = [node_id]
        while waiting:
            for name in state.dependents[waiting.pop()]:
                other = state.nodes[name]
                if other.status == NodeStatus.SKIPPED and other.reason == DEPENDENCY_FAILED:
                    reset(change, other)
                    waiting.append(name)
        _write(command, change)

    return await _carry_out("control", run, caller, {"do": "retry", "node_id": node_id}, do)


async def amutate(run: Run, mutation: dict[str, Any], topology_version: int, caller: Caller) -> str:
    """Change the graph of a run that is not over (``mutations.py``).

    Raises ``Refusal``: conflict with the subject ``stale_topology``, invalid_input.
    """

    def do(command: _Command) -> None:
        change = _change(command)
        if change.state.run.status in OVER:
            raise _conflict("run_state", "The run is over.")
        if change.state.run.topology_version != topology_version:
            raise _conflict(
                "stale_topology",
                f"The graph is at version {change.state.run.topology_version}: look again.",
            )
        mutations.apply(change, mutation, command.by)
        _write(command, change)

    return await _carry_out("control", run, caller, {"do": "mutate", "mutation": mutation}, do)


def _change(command: _Command) -> Change:
    state = load(command.run.pk)
    if state is None:
        raise _gone(command.run.pk)
    return Change(state, command.by[:200])


def _write(command: _Command, change: Change) -> None:
    """Write what was changed in this transaction; who works on the run reads it again."""
    change.touch_run()
    change.write()
    command.events += change.events
    command.due()


def _no_node(name: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f'The run has no node "{name[:100]}".', subject="node")
