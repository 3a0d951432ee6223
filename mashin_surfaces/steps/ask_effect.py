"""``ask NAME, from: "effect"``: a registered Python function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..exceptions import Code, Refusal
from ..machines.definition import AskEffect
from ..machines.expressions import parse_expression
from ..machines.schemas import NotJsonError, Schema, json_ready
from .effects import Effect, registry
from .evaluation import compile_node
from .run import Run
from .threads import effect_threads


def compile_ask_effect(step: AskEffect) -> Callable[[Run], Awaitable[Any]]:
    """The step as a coroutine function of the run. The effect is looked up when it is asked:
    a machine may be loaded by a process that does not have the module."""
    name, source, assuming = step.name, step.source, step.assuming
    inputs = {
        key: compile_node(parse_expression(expression)) for key, expression in step.inputs.items()
    }
    returns = Schema.of(step.returns) if step.returns else None

    async def ask(run: Run) -> Any:
        run.ask(name, source)
        if run.assumed is not None:
            output = run.assume(name, assuming)
            return output if returns is None else promised(name, returns, output)
        effect = registry.get(source)
        if effect is None:
            raise Refusal(
                Code.EXECUTION_FAILED,
                f'The step "{name}" asks "{source}", and no such effect is registered here.',
            )
        values = {key: run.evaluate(name, expression) for key, expression in inputs.items()}
        output = await call(name, effect, effect.check(values))
        return plain(name, output) if returns is None else promised(name, returns, output)

    return ask


async def call(step: str, effect: Effect, arguments: dict[str, Any]) -> Any:
    """What the effect returns; what it raises becomes a ``Refusal`` with a safe message."""
    try:
        if effect.kind == "async":
            return await effect.function(**arguments)
        if effect.kind == "sync":
            return await effect_threads.run(effect.function, **arguments)
    except Refusal:
        raise
    except Exception as error:
        # The error's own words may hold secrets: they go to the log with the traceback.
        raise Refusal(
            Code.EXECUTION_FAILED, f'The step "{step}" failed in the effect "{effect.name}".'
        ) from error
    raise Refusal(
        Code.EXECUTION_FAILED, f'not supported yet: "{effect.name}" yields (step "{step}").'
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
