"""A step list compiled once into one callable, and the running of it.

A program without effects is *pure*: it runs in one go, without the event loop. Steps put their
output into ``steps.<name>``; the last step's output is the program's. Where an effect yields the
program *streams*: it has an output for each result (``streams.py``). A graph of steps runs one
after the other. The program of a *run* is only tested here, and compiled when it is: runs have an
engine of their own (``nodes.py``, ``runs/``).
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
    Gate,
    Launch,
    LaunchMany,
    MachineDefinition,
    Retry,
    Step,
    WaitFor,
    walk,
)
from ..machines.expressions import parse_expression
from ..machines.run_graph import ends_of, is_run, needs_of, steps_in_order, waits
from .ask_effect import compile_ask_effect
from .ask_model import compile_ask_model
from .compute import compile_compute
from .conditions import conditions_of, guarded
from .evaluation import Scope, compile_node
from .evaluation.values import is_true
from .retry import compile_retry
from .run import Run
from .streams import ListedStep, outputs_of
from .waiting import (
    compile_gate,
    compile_launch,
    compile_launch_many,
    compile_wait_for,
    refuse_outside_of_a_run,
)

#: A compiled step, branch or step list: of the run, giving its output, or an awaitable of it.
Block = Callable[[Run], Any]


class Program:
    """A machine's steps, ready to run."""

    __slots__ = (
        "_asked", "_block", "_definition", "_ends", "_is_compiled", "_is_synchronous", "_steps",
        "assumes", "is_awaited", "is_pure", "is_run",
    )  # fmt: skip

    def __init__(self, definition: MachineDefinition) -> None:
        self._definition = definition
        self._is_compiled = False
        self.is_run = is_run(definition)
        #: A run that only needs approvals: who asks for its output gets that.
        self.is_awaited = self.is_run and not waits(definition)
        #: True when the machine has model calls: pages say that they are assumed.
        self.assumes = any(isinstance(step, AskModel) for step in walk(steps_in_order(definition)))
        self.is_pure = False
        if not self.is_run:
            self._compile()
            self.is_pure = self._is_synchronous

    def _compile(self) -> None:
        if self._is_compiled:
            return
        needs = needs_of(self._definition)
        conditions = conditions_of(self._definition, needs)
        steps = steps_in_order(self._definition)
        asked = {
            step.name: compile_ask_effect(step) for step in steps if isinstance(step, AskEffect)
        }
        compiled = [
            (
                step.name,
                guarded(
                    step,
                    asked[step.name].ask if step.name in asked else compile_step(step),
                    conditions.get(step.name),
                ),
            )
            for step in steps
        ]
        self._asked = tuple(asked.values())
        self._steps = tuple(
            ListedStep(
                name,
                block,
                inspect.iscoroutinefunction(block),
                asked.get(name),
                conditions.get(name),
            )
            for name, block in compiled
        )
        self._block = _in_order(compiled)
        self._is_synchronous = not inspect.iscoroutinefunction(self._block)
        #: What may be the output, the first that is there; empty: always that of the last step.
        self._ends = tuple(reversed(ends_of(needs)))
        may_be_left_out = bool(conditions) or any(step.optional for step in steps)
        if not may_be_left_out and self._ends[:1] == tuple(step.name for step in steps[-1:]):
            self._ends = ()
        self._is_compiled = True

    @property
    def is_stream(self) -> bool:
        """Whether one of the steps in the list itself asks an effect that yields. A run has one
        output."""
        return not self.is_run and any(asked.is_stream for asked in self._asked)

    def run_pure(self, run: Run) -> Any:
        """The last step's output, of a program that is pure."""
        return self._output(run, self._block(run))

    async def run(self, run: Run) -> Any:
        """The last step's output, of a program that streams the last one; raises ``Refusal``."""
        self._begin(run)
        if self._is_synchronous:
            return self.run_pure(run)
        if run.assumed is None and self.is_stream:
            return await self._last(run)
        return self._output(run, await self._block(run))

    async def stream(self, run: Run) -> AsyncGenerator[Any, None]:
        """The last step's output for each result of the effects that yield; raises ``Refusal``.

        Close it (``contextlib.aclosing``) to close the effects. A program that does not stream
        has one output.
        """
        self._begin(run)
        async with aclosing(outputs_of(self._steps, run)) as outputs:
            async for output in outputs:
                yield self._output(run, output)

    def _begin(self, run: Run) -> None:
        if self.is_run:
            refuse_outside_of_a_run(run, "The machine")
            self._compile()

    def _output(self, run: Run, last: Any) -> Any:
        """The program's output, where ``last`` is that of the step that ran last."""
        if not self._ends:
            return last
        there = (run.scope.steps[name] for name in self._ends if name not in run.left_out)
        return next(there, {})

    async def _last(self, run: Run) -> Any:
        last, is_empty = None, True
        async with aclosing(self.stream(run)) as outputs:
            async for output in outputs:
                last, is_empty = output, False
        if is_empty:
            raise Refusal(Code.EXECUTION_FAILED, "The machine ended without a result.")
        return last


def _sequence(steps: tuple[Step, ...]) -> Block:
    return _in_order([(step.name, compile_step(step)) for step in steps])


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


def compile_step(step: Step) -> Block:
    """A step as a function of the run, whatever it says of when and how often it runs."""
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


def _compile_retry(step: Retry) -> Block:
    return compile_retry(step, _sequence((step.step,)))


_COMPILERS: Mapping[type[Any], Callable[[Any], Block]] = {
    AskEffect: _compile_ask_effect,
    AskModel: compile_ask_model,
    Compute: compile_compute,
    Decide: _compile_decide,
    Gate: compile_gate,
    Launch: compile_launch,
    LaunchMany: compile_launch_many,
    Retry: _compile_retry,
    WaitFor: compile_wait_for,
}
