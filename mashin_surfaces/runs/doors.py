"""The doors of runs: what somebody must hold to start, view, control and decide them.

``runs:view`` is good for every machine's runs, ``runs:view:<machine>`` (a glob) for some.
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

Verb = Literal["start", "view", "control", "decide"]


@lru_cache(maxsize=4096)
def run_door(verb: Verb, machine: str = "", run: str = "") -> Door:
    """The door for one verb at a machine's runs, or at one run; ``machine`` "": at no one's."""
    path = settings.RUNS.PREFIX + (f"/{run}" if run else "")
    return Door(
        kind="run",
        path=path,
        label=f"run:{run or machine}" if run or machine else "runs",
        machine=_nameless(machine or "run"),
        accepted=frozenset(settings.RUNS.AUTH),
        wanted=(f"runs:{verb}:{machine}" if machine else f"runs:{verb}",),
        grant=("runs:view",) if "none" in settings.RUNS.AUTH else (),
        rate=_rate(),
        options={
            "idle_timeout": settings.RUNS.IDLE_TIMEOUT,
            "max_message": settings.RUNS.MAX_MESSAGE,
        },
    )


@lru_cache(maxsize=1)
def _rate() -> RateLimit | None:
    """One for all runs: a principal has it once."""
    return RateLimit(parse_rate(settings.RUNS.RATE)) if settings.RUNS.RATE else None


@lru_cache(maxsize=1024)
def _nameless(name: str) -> GovernedMachine:
    """A machine of which only the name counts: its input was checked elsewhere."""
    return GovernedMachine(CompiledMachine.of(MachineDefinition(name=name)))


def _forget(*, setting: str, **_: object) -> None:
    if setting == "MASHIN_SURFACES":
        run_door.cache_clear()
        _rate.cache_clear()


setting_changed.connect(_forget, dispatch_uid=__name__)
