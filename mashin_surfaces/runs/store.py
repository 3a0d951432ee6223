"""Runs made, loaded, found and read. Synchronous, on a thread that may query.

``Creation`` puts a run together in memory, so that its first steps can be taken before it is
written: a run that only computes is made and ended by one transaction.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..commit.rows import insert_rows, time_text
from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import GovernedMachine, governed
from ..machines.definition import MachineDefinition, Step
from ..machines.models import MachineRevision
from ..machines.registry import CompiledMachine, registry
from ..machines.run_graph import needs_of
from ..rooms.log import database
from ..rooms.models import Room, RoomEvent
from ..rooms.statements import EVENT_COLUMNS
from ..steps.nodes import NodeStep
from ..timers import process
from .accounts import amount
from .change import Change
from .models import Gate, Node, Run
from .rows import values_of
from .state import RunState

#: Machines at some revision that are kept compiled.
MOST_COMPILED = 256


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is started with. ``input``: checked against ``accepts``.

    ``parent``: the run and node that launched it, and which of their children it is.
    """

    machine: GovernedMachine
    input: dict[str, Any]
    principal: str
    client: str = ""
    budget: Decimal | None = None
    max_parallel: int | None = None
    request_key: str | None = None
    parent: tuple[str, str, int] | None = None
    id: str = ""


class Creation:
    """A run that is not written yet."""

    def __init__(self, new: NewRun) -> None:
        compiled = new.machine.compiled
        definition = compiled.definition
        if not definition.implements.steps:
            raise Refusal(
                Code.INVALID_INPUT, f'The machine "{compiled.name}" has no steps: nothing can run.'
            )
        limits, now = definition.ensures.limits, datetime.now(UTC)
        budget = limits.max_cost if new.budget is None else new.budget
        parent, node, index = new.parent or (None, "", 0)
        run = Run(
            id=new.id or uuid4().hex,
            machine=compiled.name,
            revision=compiled.revision,
            input=new.input,
            principal=new.principal[:200],
            client=new.client[:64],
            request_key=new.request_key,
            seed=random.getrandbits(62),
            max_parallel=new.max_parallel or limits.max_parallel or settings.RUNS.MAX_PARALLEL,
            budget=None if budget is None else amount(budget),
            spent=Decimal(0),
            reserved=Decimal(0),
            parent_id=parent,
            parent_node=node,
            parent_index=index,
            deadline_at=None if limits.timeout is None else now + timedelta(seconds=limits.timeout),
            started_at=now,
        )
        needs, steps = needs_of(definition), new.machine.nodes
        nodes = [
            Node(
                run=run,
                name=name,
                position=position,
                title=name.replace("_", " "),
                kind=steps[name].kind,
                needs=list(needed),
                reserved=Decimal(0),
            )
            for position, (name, needed) in enumerate(needs.items())
        ]
        self.state = RunState(run, nodes, (), new.machine, steps)
        self.change = Change(self.state)
        #: The run as it was written, or the one that the same request has started before.
        self.stored: Run | None = None
        self.change.tell("run_state", status=run.status)

    @property
    def room(self) -> Room:
        """The run's room, not written yet."""
        run = self.state.run
        return Room(
            kind=Room.Kind.RUN,
            key=run.id,
            machine=run.machine,
            epoch=run.id,
            head=len(self.change.events),
        )


def write(connection: BaseDatabaseWrapper, creations: Sequence[Creation]) -> None:
    """Inside a transaction: the runs as they are by now, with their logs."""
    alias = connection.alias
    if any(creation.state.run.holder for creation in creations):
        process.ensure(connection)
    rooms = Room.objects.using(alias).bulk_create(each.room for each in creations)
    for creation, room in zip(creations, rooms, strict=True):
        creation.state.run.room = room
    runs = [creation.state.run for creation in creations]
    nodes = [node for creation in creations for node in creation.state.nodes.values()]
    for model, columns, rows in (
        (Run, _RUN_COLUMNS, [values_of(connection, run, _RUN_COLUMNS) for run in runs]),
        (Node, _NODE_COLUMNS, [values_of(connection, node, _NODE_COLUMNS) for node in nodes]),
        (
            RoomEvent,
            EVENT_COLUMNS,
            [row for each in creations for row in _events(connection, each)],
        ),
    ):
        insert_rows(connection, model._meta.db_table, columns, rows)
    for creation in creations:
        creation.change.write_besides(alias)
        creation.stored = creation.state.run


def _events(connection: BaseDatabaseWrapper, creation: Creation) -> Iterator[tuple[Any, ...]]:
    room, at = creation.state.run.room_id, time_text(connection, creation.change.now)
    for offset, event in enumerate(creation.change.events, 1):
        yield (room, offset, event.type, event.payload, event.actor, "", at)


class CreationSink:
    """Writes runs that begin at the same moment by a handful of statements."""

    turn = 1

    def write(self, connection: BaseDatabaseWrapper, items: Sequence[Creation]) -> None:
        write(connection, items)

    def settle(self, committed: bool) -> None:
        """Nobody follows a room before its run is there."""


creations = CreationSink()


class BeingWritten(Exception):
    """Another process writes a run with this request key just now."""


def write_once(connection: BaseDatabaseWrapper, creation: Creation) -> Run:
    """Write a run that has a request key, or find the run that the same request has started.

    Raises ``BeingWritten`` where the database would wait for another's commit: two that wait for
    each other's keys would hold up all else that they commit, until one is refused.
    """
    alias, run = connection.alias, creation.state.run
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            key = f"{run.principal} {run.request_key}"
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(hashtext('mashin_runs'), hashtext(%s))", [key]
            )
            if not cursor.fetchone()[0]:
                raise BeingWritten()
    same = Run.objects.using(alias).filter(principal=run.principal, request_key=run.request_key)
    creation.stored, before = None, same.first()
    if before is None:
        try:
            with transaction.atomic(using=alias):
                write(connection, [creation])
            return run
        except IntegrityError:  # somebody was quicker
            before = same.get()
    if (before.machine, before.input) != (run.machine, run.input):
        raise Refusal(
            Code.CONFLICT, "This idempotency key was used for another run: take a new one."
        )
    creation.stored = before
    return before


_RUN_COLUMNS = tuple(field.attname for field in Run._meta.concrete_fields)
_NODE_COLUMNS = tuple(field.attname for field in Node._meta.concrete_fields if field.name != "id")


# -- machines at a revision -----------------------------------------------------------------------

_compiled: OrderedDict[int, GovernedMachine] = OrderedDict()


def machine_at(name: str, revision: int) -> GovernedMachine:
    """The machine as it was at a revision; raises ``Refusal`` when it is gone."""
    current = registry.snapshot.machines.get(name)
    if current is not None and current.revision == revision:
        return governed(current)
    rows = MachineRevision.objects.filter(machine__name=name, revision=revision)
    id = rows.values_list("pk", flat=True).first()
    if id is None:
        raise _gone(name, revision)
    found = _compiled.get(id)  # by its row: another machine may have been given the name
    if found is None:
        definition = MachineDefinition.model_validate(rows.get(pk=id).definition)
        found = GovernedMachine(CompiledMachine.of(definition, revision=revision))
        _compiled[id] = found
        while len(_compiled) > MOST_COMPILED:
            _compiled.popitem(last=False)
    return found


def _gone(name: str, revision: int) -> Refusal:
    return Refusal(Code.NOT_FOUND, f'The machine "{name}", revision {revision}, is gone.')


# -- read -----------------------------------------------------------------------------------------


def load(id: str, alias: str | None = None) -> RunState | None:
    """A run with all that belongs to it, as it is now; None when it is gone."""
    alias = alias or database()
    run = Run.objects.using(alias).filter(pk=id).first()
    if run is None:
        return None
    nodes = list(Node.objects.using(alias).filter(run=run).order_by("position"))
    for node in nodes:
        node.run = run
    gates = list(Gate.objects.using(alias).filter(run=run))
    machine = machine_at(run.machine, run.revision)
    steps = machine.nodes
    own = {node.name: node.step for node in nodes if node.step is not None}
    if own:
        steps = {**steps, **{name: NodeStep(parsed(step)) for name, step in own.items()}}
    if any(node.name not in steps for node in nodes):  # another machine has its name by now
        raise _gone(run.machine, run.revision)
    return RunState(run, nodes, gates, machine, steps)


def parsed(step: dict[str, Any]) -> Step:
    """A step's definition as an object; pydantic's ``ValidationError`` for what is none."""
    from pydantic import TypeAdapter

    return TypeAdapter[Step](Step).validate_python(step)


def find(key: str) -> Run:
    """The run with this id, or the newest run of the machine with this name."""
    runs = Run.objects.using(database()).select_related("room")
    found = runs.filter(pk=key).first() or runs.filter(machine=key).first()
    if found is None:
        raise Refusal(Code.NOT_FOUND, f'There is no run "{key[:100]}".', subject="run")
    return found


def find_of(machine: str, id: str | None = None) -> Run:
    """The machine's run with this id, without one its newest."""
    runs = Run.objects.using(database()).select_related("room").filter(machine=machine)
    found = runs.first() if id is None else runs.filter(pk=id).first()
    if found is None:
        named = f' "{id[:100]}"' if id else ""
        raise Refusal(Code.NOT_FOUND, f"This machine has no run{named}.", subject="run")
    return found


@contextmanager
def one_moment(alias: str) -> Iterator[None]:
    """Reads that belong together see the same state of the database."""
    connection = connections[alias]
    with transaction.atomic(using=alias):
        if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
