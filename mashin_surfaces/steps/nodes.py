"""Steps as the nodes of a graph: each by itself, with what decides when it runs, and again.

Which node runs when, and what becomes of its output, is ``runs/``'s business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ..machines.definition import (
    Action,
    AskEffect,
    AskModel,
    Decide,
    Gate,
    Launch,
    LaunchMany,
    Retry,
    Step,
)
from ..machines.expressions import parse_expression, parse_template
from ..machines.run_graph import RUN_STEPS, effect_of
from .effects import registry as effects
from .evaluation import compile_node
from .evaluation.values import is_true
from .program import compile_step
from .retry import RetryRule
from .run import Run

#: Seconds between two attempts at most.
LONGEST_WAIT = 300.0


class NodeStep:
    """A step that runs alone. ``inner``: the step itself, or the one that a retry repeats.

    What it computes is compiled when it is first needed: half a millisecond for each, which
    nobody should wait for who starts a graph of thousands.
    """

    def __init__(self, definition: Step) -> None:
        self.definition = definition
        self.inner = definition.step if isinstance(definition, Retry) else definition
        self.retry = RetryRule.of(definition) if isinstance(definition, Retry) else RetryRule()

    @cached_property
    def block(self) -> Callable[[Run], Any] | None:
        """The step itself; None for one that waits."""
        return None if isinstance(self.inner, RUN_STEPS) else compile_step(self.inner)

    @cached_property
    def when(self) -> Callable[[Run], bool] | None:
        """Its condition."""
        return _condition(self.definition)

    @cached_property
    def expressions(self) -> Mapping[str, Callable[[Run], Any]]:
        """What is shown of it, or handed over, before it runs."""
        return _expressions(self.inner)

    @cached_property
    def is_async(self) -> bool:
        return self.block is not None and inspect.iscoroutinefunction(self.block)

    @property
    def kind(self) -> str:
        return self.inner.kind

    @property
    def is_pure(self) -> bool:
        """Whether it runs in one go, without the loop, and changes nothing outside."""
        return self.block is not None and not self.is_async

    @property
    def has_inner_outputs(self) -> bool:
        """Whether steps within it give outputs of their own names."""
        return isinstance(self.inner, Decide) or self.inner is not self.definition

    @property
    def effect(self) -> str:
        """The effect that it asks, as the permissions call it; "" for another kind of step."""
        return effect_of(self.inner)

    def may_repeat(self) -> bool:
        """Whether it may run again when its process died while it ran."""
        said = self.definition.retry_on_crash
        if said is None:
            said = self.inner.retry_on_crash
        if said is not None:
            return said
        return all(_is_idempotent(step) for step in _asking(self.inner))


def nodes_of(steps: tuple[Step, ...]) -> dict[str, NodeStep]:
    """The steps of a list by name."""
    return {step.name: NodeStep(step) for step in steps}


def compiled_node(step: Step) -> NodeStep:
    """One step of a list, compiled; raises ``ExpressionError`` for an expression that is none."""
    node = NodeStep(step)
    _ = node.block, node.when, node.expressions
    return node


def _condition(step: Step) -> Callable[[Run], bool] | None:
    if step.when is None:
        return None
    name, condition = step.name, compile_node(parse_expression(step.when))
    return lambda run: is_true(run.evaluate(name, condition))


def _expressions(step: Step) -> dict[str, Callable[[Run], Any]]:
    """What a waiting step, or one that somebody has to approve, is made of."""
    name = step.name
    texts: dict[str, Callable[[Any], Any]] = {}
    match step:
        case Gate():
            for part in ("title", "question", "context"):
                texts[part] = compile_node(parse_template(getattr(step, part)))
        case AskModel():
            for part in ("role", "task"):
                texts[part] = compile_node(parse_template(getattr(step, part)))
        case Launch() | AskEffect():
            for part, text in step.inputs.items():
                texts[part] = compile_node(parse_expression(text))
        case LaunchMany():
            texts["items"] = compile_node(parse_expression(step.items))
            if step.extra_input is not None:
                texts["extra_input"] = compile_node(parse_expression(step.extra_input))

    def evaluated(compiled: Callable[[Any], Any]) -> Callable[[Run], Any]:
        return lambda run: run.evaluate(name, compiled)

    return {part: evaluated(compiled) for part, compiled in texts.items()}


def _asking(step: Step) -> list[AskEffect | Action]:
    """The effects that a step asks, those within it too."""
    if isinstance(step, AskEffect | Action):
        return [step]
    if isinstance(step, Retry):
        return _asking(step.step)
    if isinstance(step, Decide):
        return [each for branch in step.branches for one in branch.steps for each in _asking(one)]
    return []


def _is_idempotent(step: AskEffect | Action) -> bool:
    if isinstance(step, Action):
        return False
    effect = effects.get(step.source)
    return effect is None or effect.idempotent
