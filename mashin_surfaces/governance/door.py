"""A door: one surface of one machine with all that governs it, compiled for the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ..conf import settings
from ..identity.principal import Principal
from ..machines.definition import DEFAULT_AUTH
from ..machines.quantities import parse_rate
from ..machines.registry import CompiledMachine, CompiledSurface
from ..steps.nodes import NodeStep, nodes_of
from ..steps.program import Program
from .limits import Concurrency, RateLimit
from .permissions import PermissionSet


class GovernedMachine:
    """What all doors of a machine share: its program, permissions and limits."""

    __slots__ = ("compiled", "concurrency", "nodes", "permissions", "program", "rate", "timeout")

    def __init__(self, compiled: CompiledMachine) -> None:
        limits = compiled.definition.ensures.limits
        self.compiled = compiled
        self.program = Program(compiled.definition)
        self.permissions = PermissionSet(compiled.definition.ensures.permissions)
        self.rate = RateLimit(parse_rate(limits.rate)) if limits.rate else None
        self.concurrency = Concurrency(limits.concurrency) if limits.concurrency else None
        self.timeout = limits.timeout or settings.TIMEOUT
        #: The steps as nodes of a run, by name.
        self.nodes: Mapping[str, NodeStep] = nodes_of(compiled.definition.implements.steps)


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """A surface as ``govern()`` sees it.

    ``accepted``: kinds of credentials; ``wanted``: scopes; ``grant``: what the anonymous hold.
    """

    kind: str
    path: str
    label: str
    machine: GovernedMachine
    accepted: frozenset[str]
    wanted: tuple[str, ...]
    grant: tuple[str, ...]
    rate: RateLimit | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    surface: CompiledSurface | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.machine.compiled.name

    @property
    def wants(self) -> str:
        """What someone is told who does not hold its scopes."""
        return f"This needs the scope {' and '.join(self.wanted)}."

    def admits(self, principal: Principal) -> bool:
        """Whether the principal holds every scope that the surface wants."""
        return all(map(principal.holds, self.wanted))


def door_within(machine: GovernedMachine, kind: str, path: str = "") -> Door:
    """A door that nobody comes to from outside: code that runs a machine, a feed."""
    name = machine.compiled.name
    return Door(
        kind=kind,
        path=path,
        label=f"{kind}:{path or name}",
        machine=machine,
        accepted=frozenset(),
        wanted=(run_scope(name),),
        grant=(run_scope(name),),
    )


_machines: WeakKeyDictionary[CompiledMachine, GovernedMachine] = WeakKeyDictionary()


def governed(compiled: CompiledMachine) -> GovernedMachine:
    """The machine with its program; made once per compiled machine."""
    made = _machines.get(compiled)
    if made is None:
        # Two threads may come at once: their limits must be the same ones.
        made = _machines.setdefault(compiled, GovernedMachine(compiled))
    return made


def run_scope(machine: str) -> str:
    """The scope that running a machine takes when its surface names no other."""
    return f"machines:run:{machine}"


def door_of(surface: CompiledSurface) -> Door:
    """The door of a live surface."""
    options, name = surface.options, surface.machine.name
    auth = options.get("auth")
    grant = options.get("grant")
    rate = options.get("rate")
    wanted = granted = run_scope(name)
    if options.get("dialect") == "dag":  # nothing is started there: it shows what runs
        wanted, granted = f"runs:view:{name}", "runs:view"
    return Door(
        kind=surface.kind,
        path=surface.path,
        label=surface.label,
        machine=governed(surface.machine),
        accepted=frozenset(auth or (("session",) if surface.kind == "page" else DEFAULT_AUTH)),
        wanted=tuple(options.get("scopes") or (wanted,)),
        grant=(granted,) if grant is None else tuple(grant),
        rate=RateLimit(parse_rate(rate)) if rate else None,
        options=options,
        surface=surface,
    )
