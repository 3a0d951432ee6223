"""A step list compiled once into one callable, and the running of it.

A program without effects is *pure*: it runs in one go, without the event loop. Steps put their
output into ``steps.<name>``; the last step's output is the program's. Where an effect yields the
program *streams*: it has an output for each result (``streams.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from ..exceptions import Code, Refusal
from ..machines.definition import (
    AskEffect,
    AskModel,
    Compute,
    Decide,
    MachineDefinition,
    Step,
    walk,
)
from ..machines.expressions import parse_expression
from .ask_effect import compile_ask_effect
from .ask_model import compile_ask_model
from .compute import compile_compute
from .evaluation import Scope, compile_node
from .evaluation.values import is_true
from .run import Run
from .streams import ListedStep, outputs_of

#: A compiled step, branch or step list: of the run, giving its output, or an awaitable of it.
Block = Callable[[Run], Any]


class Program:
    """A machine's steps, ready to run."""

    __slots__ = ("_asked", "_block", "_steps", "assumes", "is_pure")

    def __init__(self, definition: MachineDefinition) -> None:
        steps = definition.implements.steps
        asked = {
            step.name: compile_ask_effect(step) for step in steps if isinstance(step, AskEffect)
        }
        compiled = [
            (step.name, asked[step.name].ask if step.name in asked else _compile(step))
            for step in steps
        ]
        self._asked = tuple(asked.values())
        self._steps = tuple(
            ListedStep(name, block, inspect.iscoroutinefunction(block), asked.get(name))
            for name, block in compiled
        )
        self._block = _in_order(compiled)
        self.is_pure = not inspect.iscoroutinefunction(self._block)
        #: True when the machine has model calls: pages say that they are assumed.
        self.assumes = any(isinstance(step, AskModel) for step in walk(steps))

    @property
    def is_stream(self) -> bool:
        """Whether one of the steps in the list itself asks an effect that yields."""
        return any(asked.is_stream for asked in self._asked)

    def run_pure(self, run: Run) -> Any:
        """The last step's output, of a program that is pure."""
        return self._block(run)

    async def run(self, run: Run) -> Any:
        """The last step's output, of a program that streams the last one; raises ``Refusal``."""
        if self.is_pure:
            return self._block(run)
        if run.assumed is None and self.is_stream:
            return await self._last(run)
        return await self._block(run)

    def stream(self, run: Run) -> AsyncGenerator[Any, None]:
        """The last step's output for each result of the effects that yield; raises ``Refusal``.

        Close it (``contextlib.aclosing``) to close the effects. A program that does not stream
        has one output.
        """
        return outputs_of(self._steps, run)

    async def _last(self, run: Run) -> Any:
        last, is_empty = None, True
        async with aclosing(self.stream(run)) as outputs:
            async for output in outputs:
                last, is_empty = output, False
        if is_empty:
            raise Refusal(Code.EXECUTION_FAILED, "The machine ended without a result.")
        return last


def _sequence(steps: tuple[Step, ...]) -> Block:
    return _in_order([(step.name, _compile(step)) for step in steps])


def _in_order(compiled: list[tuple[str, Block]]) -> Block:
    """Run steps in order; asynchronous only when one of them is."""
    if not compiled:
        return lambda run: None
    if not any(inspect.iscoroutinefunction(block) for _, block in compiled):

        def run_all(run: Run) -> Any:
            outputs = run.scope.steps
            for name, block in compiled:
                output = outputs[name] = block(run)
            return output

        return run_all

    asynchronous = [(name, block, inspect.iscoroutinefunction(block)) for name, block in compiled]

    async def run_all_async(run: Run) -> Any:
        outputs = run.scope.steps
        for name, block, is_async in asynchronous:
            output = outputs[name] = await block(run) if is_async else block(run)
        return output

    return run_all_async


def _compile(step: Step) -> Block:
    compiler = _COMPILERS.get(type(step))
    if compiler is None:
        raise NotImplementedError(f"not supported yet: {step.kind}")  # refused at load
    return compiler(step)


def _compile_decide(step: Decide) -> Block:
    """First branch whose condition is true; null when none is."""
    name = step.name
    branches = [
        (
            None if branch.when is None else compile_node(parse_expression(branch.when)),
            _sequence(branch.steps) if branch.value is None else _value(name, branch.value),
        )
        for branch in step.branches
    ]

    def chosen(run: Run) -> Block | None:
        for when, block in branches:
            if when is None or is_true(run.evaluate(name, when)):
                return block
        return None

    if not any(inspect.iscoroutinefunction(block) for _, block in branches):

        def decide(run: Run) -> Any:
            block = chosen(run)
            return None if block is None else block(run)

        return decide

    async def decide_async(run: Run) -> Any:
        block = chosen(run)
        if block is None:
            return None
        output = block(run)
        return await output if inspect.isawaitable(output) else output

    return decide_async


def _value(name: str, expression: str) -> Block:
    compiled: Callable[[Scope], Any] = compile_node(parse_expression(expression))
    return lambda run: run.evaluate(name, compiled)


def _compile_ask_effect(step: AskEffect) -> Block:
    return compile_ask_effect(step).ask


_COMPILERS: Mapping[type[Any], Callable[[Any], Block]] = {
    AskEffect: _compile_ask_effect,
    AskModel: compile_ask_model,
    Compute: compile_compute,
    Decide: _compile_decide,
}
