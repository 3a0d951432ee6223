"""The doors of panels: what somebody must hold to create, read, trigger, resume, delete.

A panel is no surface: its doors are made from its id. ``panels:trigger`` is good for every panel,
``panels:trigger:<id>`` (the id may be a glob) for some.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from django.core.signals import setting_changed

from ..conf import settings
from ..governance.door import Door, GovernedMachine
from ..governance.limits import RateLimit
from ..machines.definition import MachineDefinition
from ..machines.quantities import parse_rate
from ..machines.registry import CompiledMachine

Verb = Literal["create", "read", "trigger", "resume", "delete"]
#: What the ledger has as the machine of a panel that has none.
NO_MACHINE = "panel"


@lru_cache(maxsize=1024)
def panel_door(verb: Verb, panel: str = "", machine: str = "") -> Door:
    """The door for one verb; ``panel`` "": those that are of no panel."""
    path = f"{settings.PANELS.PREFIX}/panels" + (f"/{panel}" if panel else "")
    return Door(
        kind="panel",
        path=path,
        label=f"panel:{panel}" if panel else "panels",
        machine=_nameless(machine or NO_MACHINE),
        accepted=frozenset(settings.PANELS.AUTH),
        wanted=(f"panels:{verb}:{panel}" if panel else f"panels:{verb}",),
        grant=("panels",) if "none" in settings.PANELS.AUTH else (),
        rate=_rate(),
        options={
            "idle_timeout": settings.PANELS.IDLE_TIMEOUT,
            "max_message": settings.PANELS.MAX_MESSAGE,
        },
    )


@lru_cache(maxsize=1)
def _rate() -> RateLimit | None:
    """One for all panels: a principal has it once."""
    return RateLimit(parse_rate(settings.PANELS.RATE)) if settings.PANELS.RATE else None


@lru_cache(maxsize=1024)
def _nameless(name: str) -> GovernedMachine:
    """A machine of which only the name counts: its input is the tool's business."""
    return GovernedMachine(CompiledMachine.of(MachineDefinition(name=name)))


def _forget(*, setting: str, **_: object) -> None:
    if setting == "MASHIN_SURFACES":
        panel_door.cache_clear()
        _rate.cache_clear()


setting_changed.connect(_forget, dispatch_uid=__name__)
