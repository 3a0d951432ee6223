"""The machines and doors of now, compiled: one immutable snapshot, swapped as a whole.

Nothing here queries on the hot path. A watcher (``watch.py``) calls ``refresh`` when the epoch
``definitions`` moved; what did not change keeps its compiled object. What the doors do with it
is up to the packages above: they listen.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ..conf import settings
from ..threads import Threads
from .definition import MachineDefinition
from .models import Epoch, Machine, Surface
from .schemas import Schema
from .watch import watcher

logger = logging.getLogger(__name__)

DEFINITIONS = "definitions"

#: Where the definitions are read, for those on event loops.
definition_threads = Threads("mashin-definitions", lambda: 1)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CompiledMachine:
    """A machine at one revision, with its validators."""

    name: str
    title: str
    revision: int
    enabled: bool
    definition: MachineDefinition
    accepts: Schema
    responds: Schema
    #: Of its row: another machine may be given the name, and begins at the same revision.
    id: int = 0

    @classmethod
    def of(
        cls, definition: MachineDefinition, *, revision: int = 0, enabled: bool = True, id: int = 0
    ) -> CompiledMachine:
        return cls(
            name=definition.name,
            title=definition.title or definition.name,
            revision=revision,
            enabled=enabled,
            definition=definition,
            accepts=Schema.of(definition.accepts),
            responds=Schema.of(definition.responds, allow_any=not definition.responds),
            id=id,
        )


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class CompiledSurface:
    """A live door: a ``Surface`` row with its machine. ``options``: overrides already laid over."""

    kind: str
    protocol: str
    path: str
    machine: CompiledMachine
    options: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.path}"


#: (protocol, path)
Address = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``surfaces`` holds what is enabled, of machines that are enabled."""

    number: int
    machines: Mapping[str, CompiledMachine]
    surfaces: Mapping[Address, CompiledSurface]


EMPTY = Snapshot(-1, {}, {})


class Registry:
    """The current snapshot of one process."""

    def __init__(self) -> None:
        self._snapshot = EMPTY
        self._fresh_until = 0.0
        #: Under way, one for each loop.
        self._readings: dict[asyncio.AbstractEventLoop, asyncio.Task[Snapshot]] = {}
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Snapshot], None]] = []

    @property
    def snapshot(self) -> Snapshot:
        """What is compiled now; no query. ``EMPTY`` before the first ``refresh``."""
        return self._snapshot

    def fresh(self) -> Snapshot | None:
        """The snapshot, when it is at most ``WATCH_INTERVAL`` old; else None."""
        is_watched = watcher.watches(DEFINITIONS) and self._snapshot is not EMPTY
        if is_watched or monotonic() < self._fresh_until:
            return self._snapshot
        return None

    def listen(self, listener: Callable[[Snapshot], None]) -> None:
        """Call ``listener`` with every new snapshot, on the thread that refreshes."""
        self._listeners.append(listener)

    def refresh(self) -> Snapshot:
        """Read what changed since the last time (one query when nothing did)."""
        with self._lock:
            before, now = self._snapshot, monotonic()
            number = (
                Epoch.objects.filter(name=DEFINITIONS).values_list("number", flat=True).first()
            ) or 0
            if number == before.number:
                self._fresh_until = now + settings.WATCH_INTERVAL
                return before
            machines = self._machines(before)
            snapshot = Snapshot(number, machines, self._surfaces(before, machines))
            # Not before it is there: who asks meanwhile waits for it.
            self._snapshot, self._fresh_until = snapshot, now + settings.WATCH_INTERVAL
            for listener in self._listeners:  # under the lock: the newest is told last
                listener(snapshot)
            return snapshot

    def current(self) -> Snapshot:
        """The snapshot, read anew when it is not ``fresh``."""
        return self.fresh() or self.refresh()

    async def acurrent(self) -> Snapshot:
        """``current`` on an event loop: all who need it there wait for one reading."""
        snapshot = self.fresh()
        if snapshot is not None:
            return snapshot
        loop = asyncio.get_running_loop()
        reading = self._readings.get(loop)
        if reading is None:
            reading = self._readings[loop] = loop.create_task(definition_threads.run(self.refresh))
            reading.add_done_callback(lambda _: self._readings.pop(loop, None))
        return await asyncio.shield(reading)  # who is cancelled leaves the others theirs

    def forget(self) -> None:
        """Start over: for tests, whose databases come and go."""
        with self._lock:
            self._snapshot, self._fresh_until = EMPTY, 0.0

    @staticmethod
    def _machines(before: Snapshot) -> dict[str, CompiledMachine]:
        found: dict[str, CompiledMachine] = {}
        changed: list[str] = []
        for id, name, revision, enabled in Machine.objects.values_list(
            "pk", "name", "revision", "enabled"
        ):
            known = before.machines.get(name)
            if known and (known.id, known.revision, known.enabled) == (id, revision, enabled):
                found[name] = known
            else:
                changed.append(name)
        for machine in Machine.objects.filter(name__in=changed):
            try:
                found[machine.name] = CompiledMachine.of(
                    machine.parsed(),
                    revision=machine.revision,
                    enabled=machine.enabled,
                    id=machine.pk,
                )
            except Exception:  # one damaged row must not take the other machines down
                logger.exception("The machine %r can't be compiled and is left out.", machine.name)
        return found

    @staticmethod
    def _surfaces(
        before: Snapshot, machines: Mapping[str, CompiledMachine]
    ) -> dict[Address, CompiledSurface]:
        found: dict[Address, CompiledSurface] = {}
        rows = Surface.objects.filter(enabled=True, machine__enabled=True)
        for row in rows.select_related("machine"):
            machine = machines.get(row.machine.name)
            if machine is None:
                continue
            address = (row.protocol, row.path)
            options = row.effective_options()
            known = before.surfaces.get(address)
            if known and (known.kind, known.machine, known.options) == (row.kind, machine, options):
                found[address] = known
            else:
                found[address] = CompiledSurface(row.kind, row.protocol, row.path, machine, options)
        return found


registry = Registry()
