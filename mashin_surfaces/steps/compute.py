"""``compute NAME``: a pure expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..machines.definition import Compute
from ..machines.expressions import parse_body
from .evaluation import compile_node
from .run import Run


def compile_compute(step: Compute) -> Callable[[Run], Any]:
    """The step as a function of the run."""
    name = step.name
    body = compile_node(parse_body(step.body))

    def compute(run: Run) -> Any:
        return run.evaluate(name, body)

    return compute
