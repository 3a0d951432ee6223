"""A step list in which an effect yields: what comes after it runs with each of its results.

Only steps that stand in the list itself stream. What a result is worth to others (validation,
rows, pushes) is left to governance.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

from .ask_effect import AskedEffect
from .conditions import LeftOut
from .run import Run


class ListedStep(NamedTuple):
    """A compiled step of the list; ``effect`` where it asks one, and then ``is_left_out`` where
    it has a condition."""

    name: str
    block: Callable[[Run], Any]
    is_async: bool
    effect: AskedEffect | None
    is_left_out: LeftOut | None


async def outputs_of(
    steps: tuple[ListedStep, ...], run: Run, output: Any = None
) -> AsyncGenerator[Any, None]:
    """The last step's output (``output`` where there is no step), for each result of an effect
    that yields; for each of each where several do."""
    outputs = run.scope.steps
    for index, step in enumerate(steps):
        if step.effect is not None and step.effect.is_stream:
            if step.is_left_out is not None and step.is_left_out(run):
                output = outputs[step.name] = None
                continue
            before, rest = dict(outputs), steps[index + 1 :]
            async with aclosing(step.effect.results(run)) as results:
                async for result in results:
                    # As it was: nothing that came of the result before may be seen.
                    outputs.clear()
                    outputs.update(before)
                    outputs[step.name] = result
                    run.scope.pass_time()
                    async with aclosing(outputs_of(rest, run, result)) as made:
                        async for each in made:
                            yield each
            return
        output = outputs[step.name] = await step.block(run) if step.is_async else step.block(run)
    yield output
