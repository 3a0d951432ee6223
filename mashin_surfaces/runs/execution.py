"""One attempt of a node: its step runs on what the run gave so far, and something comes of it.

Nothing is written here, and nothing raises: an ``Outcome`` holds what came of it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from time import perf_counter
from typing import Any

from ..conf import settings
from ..exceptions import Code, Refusal
from ..machines.json_values import NotJsonError
from ..rooms.storable import storable
from ..steps.run import Run as StepRun
from ..steps.spending import Charge, collecting
from .models import Node
from .state import RunState

logger = logging.getLogger(__name__)

Error = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What an attempt came to: ``output``, or ``error`` (``{"code", "message"}``).

    ``inner``: outputs of the steps within it. ``seconds``: how long it ran.
    """

    node: str
    attempt: int
    output: Any = None
    inner: Mapping[str, Any] = field(default_factory=dict)
    error: Error | None = None
    charges: Sequence[Charge] = ()
    seconds: float = 0.0
    is_cancelled: bool = False
    #: Whether the process that made it died with it: nobody knows what it came to.
    is_lost: bool = False
    #: Whether it is to be taken off the executions that other processes were asked to make.
    is_remote: bool = False

    def metrics(self, node: Node) -> dict[str, Any]:
        """The NodeMetrics of the wire; duration and cost of this attempt."""
        found: dict[str, Any] = {
            "duration_ms": round(self.seconds * 1000, 3),
            "retries": len(node.attempts),
        }
        if self.charges:
            found |= {
                "input_tokens": sum(charge.input_tokens for charge in self.charges),
                "output_tokens": sum(charge.output_tokens for charge in self.charges),
                "cost_usd": float(sum((charge.amount for charge in self.charges), Decimal(0))),
            }
            found["tokens_used"] = found["input_tokens"] + found["output_tokens"]
            models = [charge.model for charge in self.charges if charge.model]
            if models:
                found["model_used"] = models[-1]
        return found


def run_pure(state: RunState, node: Node) -> Outcome:
    """The outcome of a node that only computes."""
    step, execution = state.steps[node.name], state.execution(node)
    outcome = Outcome(node.name, node.attempt)
    began = perf_counter()
    try:
        assert step.block is not None  # noqa: S101  what is pure has one
        _keep(outcome, step.block(execution), state, node, execution)
    except Exception as error:
        outcome.error = error_of(error, node.name)
    outcome.seconds = perf_counter() - began
    return outcome


async def execute(state: RunState, node: Node, charges: list[Charge] | None = None) -> Outcome:
    """The outcome of a node that may ask effects; never raises. ``charges``: where what it costs
    is written down as it goes."""
    step, execution = state.steps[node.name], state.execution(node)
    outcome = Outcome(node.name, node.attempt)
    began = perf_counter()
    limit = settings.RUNS.NODE_TIMEOUT
    with collecting(charges) as charged:
        try:
            async with asyncio.timeout(limit):
                assert step.block is not None  # noqa: S101  waiting steps are not executed
                value = step.block(execution)
                value = await value if inspect.isawaitable(value) else value
            _keep(outcome, value, state, node, execution)
        except asyncio.CancelledError:
            outcome = cancelled(node)
        except TimeoutError:
            message = f'The step "{node.name}" did not end within {limit:g} s.'
            outcome.error = {"code": Code.TIMEOUT.value, "message": message}
        except Exception as error:
            outcome.error = error_of(error, node.name)
    outcome.charges = charged
    outcome.seconds = perf_counter() - began
    return outcome


def cancelled(node: Node, charges: Sequence[Charge] = ()) -> Outcome:
    """The outcome of an attempt that was told to end."""
    error = {"code": Code.EXECUTION_FAILED.value, "message": "The execution was cancelled."}
    return Outcome(node.name, node.attempt, error=error, charges=charges, is_cancelled=True)


def _keep(outcome: Outcome, value: Any, state: RunState, node: Node, execution: StepRun) -> None:
    """What the step gave, and steps within it; raises what it can't be kept for."""
    try:
        outcome.output = storable(value)
        step = state.steps[node.name]
        if step.inner.name != node.name:
            execution.scope.steps[step.inner.name] = outcome.output
        if step.has_inner_outputs:
            known = state.nodes.keys()
            outcome.inner = {
                name: storable(given)
                for name, given in execution.scope.steps.items()
                if name not in known and name not in state.outputs
            }
    except NotJsonError as error:
        raise Refusal(
            Code.EXECUTION_FAILED, f'The step "{node.name}" gave what can\'t be kept: {error}'
        ) from error


def error_of(error: Exception, node: str) -> Error:
    """What is told of an error: its own words only when they are a refusal's."""
    if isinstance(error, Refusal):
        if error.__cause__ is not None:
            logger.warning("The step %r failed", node, exc_info=error.__cause__)
        return {"code": error.code.value, "message": error.message}
    logger.error("The step %r failed", node, exc_info=error)
    return {"code": Code.EXECUTION_FAILED.value, "message": f'The step "{node}" failed.'}
