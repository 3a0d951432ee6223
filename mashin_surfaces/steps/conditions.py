"""Steps of the list that may be left out: by ``when``, by a gate's choice, or because they are
``optional`` and failed. What they give is null, and the others go on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..exceptions import Refusal
from ..machines.definition import Gate, MachineDefinition, Step
from ..machines.expressions import parse_expression
from ..machines.run_graph import Needs
from .evaluation import compile_node
from .evaluation.values import is_true
from .run import Run

logger = logging.getLogger(__name__)

#: Why a step is left out, as the log of a run says it too.
CONDITION_NOT_MET: Final = "condition_not_met"
NOT_CHOSEN: Final = "branch_not_chosen"
FAILED: Final = "failed"

LeftOut = Callable[[Run], bool]


def conditions_of(definition: MachineDefinition, needs: Needs) -> dict[str, LeftOut]:
    """For each step that may be left out before it starts: whether it is, noted in the run."""
    steps = definition.implements.steps
    targets = {
        step.name: {
            target: frozenset(option.id for option in step.options if option.branch_to == target)
            for target in {option.branch_to for option in step.options if option.branch_to}
        }
        for step in steps
        if isinstance(step, Gate)
    }
    has_branches = any(targets.values())
    conditions: dict[str, LeftOut] = {}
    for step in steps:
        if step.when is not None or has_branches:
            leading = {
                need: targets[need][step.name]
                for need in needs[step.name]
                if step.name in targets.get(need, ())
            }
            conditions[step.name] = _condition(step, needs[step.name], leading)
    return conditions


def _condition(
    step: Step, needs: tuple[str, ...], leading: Mapping[str, frozenset[str]]
) -> LeftOut:
    """``leading``: gates before the step, and which of their options lead to it."""
    name = step.name
    when = None if step.when is None else compile_node(parse_expression(step.when))

    def is_chosen(run: Run) -> bool:
        outputs = run.scope.steps
        if any((outputs[gate] or {}).get("option") not in leading[gate] for gate in leading):
            return False
        return not needs or any(run.left_out.get(need) != NOT_CHOSEN for need in needs)

    def is_left_out(run: Run) -> bool:
        run.left_out.pop(name, None)  # of the result before, where an effect yields
        if not is_chosen(run):
            run.left_out[name] = NOT_CHOSEN
        elif when is not None and not is_true(run.evaluate(name, when)):
            run.left_out[name] = CONDITION_NOT_MET
        return name in run.left_out

    return is_left_out


def guarded(
    step: Step, block: Callable[[Run], Any], is_left_out: LeftOut | None
) -> Callable[[Run], Any]:
    """The compiled step with its condition, and what becomes of its failure."""
    if is_left_out is None and not step.optional:
        return block

    def give_up(run: Run, refusal: Refusal) -> None:
        if not step.optional:
            raise refusal
        logger.warning(
            'The optional step "%s" failed: %s',
            step.name,
            refusal.message,
            exc_info=refusal.__cause__,
        )
        run.left_out[step.name] = FAILED

    if not inspect.iscoroutinefunction(block):

        def guard(run: Run) -> Any:
            try:
                return None if is_left_out is not None and is_left_out(run) else block(run)
            except Refusal as refusal:
                return give_up(run, refusal)

        return guard

    async def guard_async(run: Run) -> Any:
        try:
            return None if is_left_out is not None and is_left_out(run) else await block(run)
        except Refusal as refusal:
            return give_up(run, refusal)

    return guard_async
