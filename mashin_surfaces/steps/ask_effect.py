"""``ask NAME, from: "effect"``: a registered Python function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..commit import CommitFailed
from ..exceptions import Code, Refusal
from ..machines.definition import AskEffect
from ..machines.expressions import parse_expression
from ..machines.schemas import NotJsonError, Schema, json_ready
from .effects import Effect, registry
from .evaluation import compile_node
from .run import Run
from .threads import effect_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AskedEffect:
    """The step, compiled: ``ask`` gives what the effect returns, ``results`` all that it yields."""

    source: str
    ask: Callable[[Run], Awaitable[Any]]
    results: Callable[[Run], AsyncGenerator[Any, None]]

    @property
    def is_stream(self) -> bool:
        """Whether the effect, as it is registered now, yields."""
        effect = registry.get(self.source)
        return effect is not None and effect.kind == "stream"


def compile_ask_effect(step: AskEffect) -> AskedEffect:
    """The step as functions of the run. The effect is looked up when it is asked: a machine may be
    loaded by a process that does not have the module."""
    name, source, assuming = step.name, step.source, step.assuming
    inputs = {
        key: compile_node(parse_expression(expression)) for key, expression in step.inputs.items()
    }
    returns = Schema.of(step.returns) if step.returns else None

    def arguments(run: Run) -> tuple[Effect, dict[str, Any]]:
        effect = registry.get(source)
        if effect is None:
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'The step "{name}" asks "{source}", and no such effect is registered here.',
            )
        values = {key: run.evaluate(name, expression) for key, expression in inputs.items()}
        return effect, effect.check(values)

    def checked(output: Any) -> Any:
        return plain(name, output) if returns is None else promised(name, returns, output)

    async def ask(run: Run) -> Any:
        run.ask(name, source)
        if run.assumed is not None:
            output = run.assume(name, assuming)
            return output if returns is None else promised(name, returns, output)
        return checked(await call(name, *arguments(run)))

    def results(run: Run) -> AsyncGenerator[Any, None]:
        run.ask(name, source)
        return results_of(name, *arguments(run), checked)

    return AskedEffect(source, ask, results)


async def call(step: str, effect: Effect, arguments: dict[str, Any]) -> Any:
    """What the effect returns; what it raises becomes a ``Refusal`` with a safe message."""
    try:
        if effect.kind == "async":
            return await effect.function(**arguments)
        if effect.kind == "sync":
            return await effect_threads.run(effect.function, **arguments)
    except Refusal:
        raise
    except CommitFailed:  # it published, and the database is away: the writer has said why
        raise _not_committed(step) from None
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise failed(step, effect) from error
    except Exception as error:
        raise failed(step, effect) from error
    raise Refusal(
        Code.EXECUTION_FAILED,
        f'The effect "{effect.name}" yields its results: the step "{step}" can\'t ask it inside a '
        "decide. Ask it in a step before, and decide about each result.",
    )


async def results_of(
    step: str, effect: Effect, arguments: dict[str, Any], checked: Callable[[Any], Any]
) -> AsyncGenerator[Any, None]:
    """What an effect that yields gives, one by one; it is closed whatever ends this.

    What it raises becomes a ``Refusal`` as in ``call``. What it raises while it is closed is only
    logged: nobody waits for it any more.
    """
    yielding: AsyncGenerator[Any, None] = effect.function(**arguments)
    try:
        async for output in yielding:
            yield checked(output)
            await asyncio.sleep(0)  # one that never waits must not hold the loop
    except Refusal:
        raise
    except CommitFailed:
        raise _not_committed(step) from None
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise failed(step, effect) from error
    except Exception as error:
        raise failed(step, effect) from error
    finally:
        try:
            await yielding.aclose()
        except Exception:
            logger.warning('The effect "%s" failed while it was closed', effect.name, exc_info=True)


def is_cancelled() -> bool:
    """Whether somebody wants this task to end, and it is not only that the effect awaited something
    that others have cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _not_committed(step: str) -> Refusal:
    return Refusal(
        Code.LEDGER_UNAVAILABLE,
        f'The step "{step}" can\'t be committed now; try again.',
        retry_after=1,
    )


def failed(step: str, effect: Effect) -> Refusal:
    """The effect's own words may hold secrets: they go to the log with the traceback."""
    return Refusal(
        Code.EXECUTION_FAILED, f'The step "{step}" failed in the effect "{effect.name}".'
    )


def plain(step: str, output: Any) -> Any:
    """The output as JSON has it; raises ``Refusal`` when it has no place there."""
    try:
        return json_ready(output)
    except NotJsonError as error:
        raise Refusal(
            Code.EXECUTION_FAILED, f'The step "{step}" got something that is no JSON: {error}'
        ) from error


def promised(step: str, returns: Schema, output: Any) -> dict[str, Any]:
    """The output as ``returns`` declares it; raises ``Refusal`` when it is something else."""
    try:
        return returns.check_output(output)
    except Refusal as refusal:
        raise Refusal(
            Code.EXECUTION_FAILED,
            f'The step "{step}" did not get what its `returns` declares.',
            details=refusal.details,
        ) from refusal
