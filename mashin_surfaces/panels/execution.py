"""One run of a tool: its function or its machine is called, and what came of it is put together.

Nothing is written here; ``runner.py`` commits an ``Execution`` or throws it away.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Literal

from ..exceptions import Code, Refusal
from ..governance.door import door_within, governed
from ..governance.govern import Caller, govern
from ..identity.principal import Principal
from ..identity.scopes import Scopes
from ..machines.registry import registry
from ..machines.schemas import NotJsonError, json_ready
from ..rooms.events import Mutation
from ..steps.ask_effect import is_cancelled
from ..steps.threads import effect_threads
from .context import Context, Suspended, SuspensionExpired, SuspensionFailed
from .definition import PanelTool

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Execution:
    """What a run came to. ``suspended``: what it waits for."""

    status: Literal["success", "suspended", "error"]
    value: Any = None
    mutations: list[Mutation] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    view_commands: list[dict[str, Any]] = field(default_factory=list)
    suspended: Suspended | None = None
    error: dict[str, Any] | None = None
    #: The code of the access row; None when it went well.
    code: Code | None = None
    microseconds: int = 0

    def as_result(self, suspension_id: str = "") -> dict[str, Any]:
        """The ExecutionResult of the wire."""
        result: dict[str, Any] = {"status": self.status}
        if self.status == "success":
            result["returnValue"] = self.value
        result |= {
            "stateMutations": self.mutations,
            "events": self.events,
            "viewCommands": self.view_commands,
        }
        if self.suspended is not None:
            result["suspension"] = {
                "suspensionId": suspension_id,
                "extensionName": self.suspended.extension,
                "method": self.suspended.method,
                "args": self.suspended.call,
            }
        if self.error is not None:
            result["error"] = self.error
        result["metrics"] = {
            "executionTimeUs": self.microseconds,
            "memoryUsedBytes": 0,
            "memoryPeakBytes": 0,
            "hostCalls": len(self.mutations) + len(self.events),
            "cacheHit": False,
        }
        return result


def failed(code: Code, word: str, message: str) -> Execution:
    """A run that ended in an error: nothing of it stays."""
    return Execution("error", error={"code": word, "message": message}, code=code)


async def execute(tool: PanelTool, context: Context, caller: Caller, limit: float) -> Execution:
    """Run the tool, for ``limit`` seconds at most; never raises but when it is cancelled."""
    started = perf_counter_ns()
    execution = await _execute(tool, context, caller, limit)
    execution.microseconds = (perf_counter_ns() - started) // 1000
    return execution


async def _execute(tool: PanelTool, context: Context, caller: Caller, limit: float) -> Execution:
    try:
        async with asyncio.timeout(limit):
            value = await _call(tool, context, caller)
        return _done(Execution("success", value=json_ready(value)), context)
    except Suspended as suspended:
        try:
            return _done(Execution("suspended", suspended=suspended), context)
        except (Refusal, NotJsonError) as error:
            return failed(Code.EXECUTION_FAILED, "EXECUTION_ERROR", str(error))
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        logger.exception("The tool %r failed", tool.name)
        return failed(Code.EXECUTION_FAILED, "EXECUTION_ERROR", f'The tool "{tool.name}" failed.')
    except TimeoutError:
        message = f"The tool did not end within {limit:g} s."
        return failed(Code.TIMEOUT, "TIMEOUT", message)
    except SuspensionExpired as error:
        return failed(Code.TIMEOUT, "TIMEOUT", str(error))
    except SuspensionFailed as error:
        return failed(Code.EXECUTION_FAILED, "EXECUTION_ERROR", str(error))
    except Refusal as refusal:
        return failed(refusal.code, refusal.code.value.upper(), refusal.message)
    except NotJsonError as error:
        return failed(Code.INVALID_OUTPUT, "SERIALIZATION_ERROR", f"It is no JSON: {error}")
    except Exception:
        # The error's own words may hold secrets: they go to the log with the traceback.
        logger.exception("The tool %r failed", tool.name)
        return failed(Code.EXECUTION_FAILED, "EXECUTION_ERROR", f'The tool "{tool.name}" failed.')


def _done(execution: Execution, context: Context) -> Execution:
    execution.mutations = context.state.mutations()
    execution.events = context.events
    execution.view_commands = context.view_commands
    return execution


async def _call(tool: PanelTool, context: Context, caller: Caller) -> Any:
    if tool.definition.machine:
        return await _run_machine(tool.definition.machine, context.args, caller)
    function = tool.function()
    arguments = function.arguments.validate_python(context.args)
    if function.is_async:
        return await function.function(context, **arguments)
    return await effect_threads.run(function.function, context, **arguments)


async def _run_machine(name: str, args: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """The machine's output; governed and recorded as an access of its own, in the caller's name."""
    compiled = registry.snapshot.machines.get(name)
    if compiled is None or not compiled.enabled:
        raise Refusal(Code.EXECUTION_FAILED, f'There is no machine "{name}".')
    door = door_within(governed(compiled), "tool")
    principal = Principal(caller.principal.name, caller.principal.credential, Scopes(door.grant))
    answer = await govern(door, Caller(principal, caller.client), args)
    if answer.refusal is not None:
        raise answer.refusal
    return answer.result or {}
