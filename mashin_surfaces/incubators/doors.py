"""The rights in an incubator: ``bus:observe``, ``bus:publish``, ``bus:act``, ``bus:control`` and
``bus:reset``, for every namespace, or with ``:<namespace>`` (a glob) for some."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from django.core.signals import setting_changed

from ..conf import settings
from ..governance.door import Door, GovernedMachine
from ..machines.definition import MachineDefinition
from ..machines.registry import CompiledMachine

Verb = Literal["observe", "publish", "act", "control", "reset"]
#: What an anonymous principal holds where the surface says nothing.
ANONYMOUS = ("bus:observe", "bus:publish", "bus:act")


@lru_cache(maxsize=4096)
def bus_door(verb: Verb, namespace: str, machine: str = "") -> Door:
    """The door for one verb in one namespace."""
    return Door(
        kind="incubator",
        path=f"{settings.INCUBATORS.PREFIX}/{namespace}",
        label=f"incubator:{namespace}",
        machine=_nameless(machine or "incubator"),
        accepted=frozenset(settings.INCUBATORS.AUTH),
        wanted=(f"bus:{verb}:{namespace}",),
        grant=ANONYMOUS if "none" in settings.INCUBATORS.AUTH else (),
    )


def grant_of(surface: Door) -> tuple[str, ...]:
    """What the anonymous hold who come over a surface of incubators."""
    return surface.grant if "grant" in surface.options else ANONYMOUS


def entrances(surface: Door, namespace: str) -> tuple[Door, ...]:
    """Where who comes over a surface must be admitted: the surface names scopes, or does not."""
    observe = bus_door("observe", namespace)
    return (surface, observe) if surface.options.get("scopes") else (observe,)


def owner_of(surface: Door) -> str:
    """The machine that a namespace belongs to which is made over a surface: the one that has its
    tools, "" when it has none."""
    return surface.name if surface.machine.compiled.definition.tools else ""


@lru_cache(maxsize=1024)
def _nameless(name: str) -> GovernedMachine:
    """A machine of which only the name counts: a tool's input is the tool's business."""
    return GovernedMachine(CompiledMachine.of(MachineDefinition(name=name)))


def _forget(*, setting: str, **_: object) -> None:
    if setting == "MASHIN_SURFACES":
        bus_door.cache_clear()


setting_changed.connect(_forget, dispatch_uid=__name__)
