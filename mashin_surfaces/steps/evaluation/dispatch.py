"""Which function compiles which node; the nodes register themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from ...machines.expression_nodes import Node, Spread
from . import calls
from .frames import Closure, Frame, Layout
from .scope import EvaluationError, Scope


@singledispatch
def compile_part(node: Node, layout: Layout) -> Closure:
    """The closure of a node, with the places of local names that ``layout`` says."""
    raise TypeError(f"{node!r} is no part of an expression")


def fail(message: str) -> Closure:
    """A closure that says why there is no value."""

    def run(scope: Scope, frame: Frame) -> Any:
        raise EvaluationError(message)

    return run


def constant(value: Any) -> Closure:
    return lambda scope, frame: value


def compile_arguments(items: Sequence[Node | Spread], layout: Layout) -> calls.Arguments:
    return calls.arguments(
        [compile_part(item.value if isinstance(item, Spread) else item, layout) for item in items],
        [isinstance(item, Spread) for item in items],
    )
