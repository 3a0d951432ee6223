"""A step list compiled once into one callable, and the running of it.

A program without effects is *pure*: it runs in one go, without the event loop. Steps put their
output into ``steps.<name>``; the last step's output is the program's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

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

#: A compiled step, branch or step list: of the run, giving its output, or an awaitable of it.
Block = Callable[[Run], Any]


class Program:
    """A machine's steps, ready to run."""

    __slots__ = ("_block", "assumes", "is_pure")

    def __init__(self, definition: MachineDefinition) -> None:
        steps = definition.implements.steps
        self._block = _sequence(steps)
        self.is_pure = not inspect.iscoroutinefunction(self._block)
        #: True when the machine has model calls: pages say that they are assumed.
        self.assumes = any(isinstance(step, AskModel) for step in walk(steps))

    def run_pure(self, run: Run) -> Any:
        """The last step's output, of a program that is pure."""
        return self._block(run)

    async def run(self, run: Run) -> Any:
        """The last step's output; raises ``Refusal``."""
        if self.is_pure:
            return self._block(run)
        return await self._block(run)


def _sequence(steps: tuple[Step, ...]) -> Block:
    """Run steps in order; asynchronous only when one of them is."""
    compiled = [(step.name, _compile(step)) for step in steps]
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


_COMPILERS: Mapping[type[Any], Callable[[Any], Block]] = {
    AskEffect: compile_ask_effect,
    AskModel: compile_ask_model,
    Compute: compile_compute,
    Decide: _compile_decide,
}
