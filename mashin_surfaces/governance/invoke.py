"""Running a machine from code: the same path as every door, recorded as kind ``code``."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync

from ..exceptions import Code, Refusal
from ..identity.principal import Principal
from ..machines.registry import registry
from .door import door_within, governed
from .govern import Caller, govern


async def ainvoke(machine: str, input: dict[str, Any], *, principal: Principal) -> dict[str, Any]:
    """The machine's output, as ``responds with`` declares it; raises ``Refusal``.

    ``principal``: in whose name (``identity.principal``); it needs ``machines:run:<machine>``.
    """
    compiled = (await registry.acurrent()).machines.get(machine)
    if compiled is None or not compiled.enabled:
        raise Refusal(Code.NOT_FOUND, f'There is no machine "{machine}".')
    door = door_within(governed(compiled), "code")
    answer = await govern(door, Caller(principal), input)
    if answer.refusal is not None:
        raise answer.refusal
    return answer.result or {}


def invoke(machine: str, input: dict[str, Any], *, principal: Principal) -> dict[str, Any]:
    """``ainvoke`` for synchronous code (a view, a command, a Celery task)."""
    return async_to_sync(ainvoke)(machine, input, principal=principal)
