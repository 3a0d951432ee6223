"""The syntax tree compiled into Python closures: one small function per node.

Each takes the scope and the frame (``frames.py``) and gives the node's value. Names are resolved
while compiling; what is left for run time is the work. Here are functions and operators; the
other nodes are in ``literal_nodes`` and ``chain_nodes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...machines.expression_nodes import (
    Arrow,
    Binary,
    Body,
    Chain,
    Conditional,
    Entry,
    Literal,
    MapLiteral,
    NamePattern,
    Node,
    Range,
    Template,
    Unary,
)
from . import calls, chain_nodes, literal_nodes, operations
from .dispatch import compile_part, constant
from .frames import Closure, Frame, Layout, bind
from .operators import negate
from .scope import EvaluationError, Scope
from .values import NUMBERS, Function, measure

#: Importing these makes their nodes known.
NODES: Final = (chain_nodes, literal_nodes)
_TOO_DEEP: Final = "The expression is nested too deep; give its parts names with let lines."
_MEASURED: Final = frozenset({list, dict, Function})


def compile_node(node: Node) -> Callable[[Scope], Any]:
    """The expression as a function of its scope, with a fresh budget at each call.

    It gives a JSON value (or a ``Decimal``) and raises only ``EvaluationError``.
    """
    layout = Layout()
    try:
        run = compile_part(node, layout)
    except RecursionError:
        raise EvaluationError(_TOO_DEEP) from None
    size = layout.size
    is_measured = not _is_small(node)

    def evaluate(scope: Scope) -> Any:
        scope.renew()
        try:
            value = run(scope, [None] * size if size else ())
            if is_measured and type(value) in _MEASURED:
                measure(value)
        except RecursionError:
            raise EvaluationError(_TOO_DEEP) from None
        return value

    return evaluate


def _is_small(node: Node) -> bool:
    """Whether the value needs no measuring: one level of values that are counted when made."""
    if isinstance(node, MapLiteral):
        return all(
            isinstance(entry, Entry) and isinstance(entry.key, str) and _is_scalar(entry.value)
            for entry in node.entries
        )
    return _is_scalar(node)


def _is_scalar(node: Node) -> bool:
    """Whether the value is surely a text, a number, a boolean or null."""
    if isinstance(node, Chain):
        return node.operator == "+"
    return isinstance(node, Literal | Template | Unary | Binary)


@compile_part.register
def _arrow(node: Arrow, layout: Layout) -> Closure:
    inner = Layout(layout)
    if all(isinstance(parameter, NamePattern) for parameter in node.parameters):
        bindings = None
        for parameter in node.parameters:
            bind(parameter, inner)
    else:
        bindings = [bind(parameter, inner) for parameter in node.parameters]
    body = compile_part(node.body, inner)
    return calls.arrow(body, len(node.parameters), layout.size, inner.size, bindings)


@compile_part.register
def _body(node: Body, layout: Layout) -> Closure:
    lets = []
    for line in node.lets:
        if isinstance(line.value, Arrow) and isinstance(line.pattern, NamePattern):
            binding = bind(line.pattern, layout)  # before its value: a function may call itself
            lets.append((compile_part(line.value, layout), binding))
        else:
            value = compile_part(line.value, layout)
            lets.append((value, bind(line.pattern, layout)))
    result = compile_part(node.result, layout)

    def run(scope: Scope, frame: Frame) -> Any:
        own = frame if isinstance(frame, list) else list(frame)
        for value, binding in lets:
            binding(scope, own, value(scope, own))
        return result(scope, own)

    return run


# -- operators ----------------------------------------------------------------------------------


@compile_part.register
def _unary(node: Unary, layout: Layout) -> Closure:
    if node.operator == "-" and isinstance(node.operand, Literal):
        value = node.operand.value
        if type(value) in NUMBERS:
            return constant(negate(value))
    return operations.unary(node.operator, compile_part(node.operand, layout))


@compile_part.register
def _binary(node: Binary, layout: Layout) -> Closure:
    return operations.binary(
        node.operator, compile_part(node.left, layout), compile_part(node.right, layout)
    )


@compile_part.register
def _chain(node: Chain, layout: Layout) -> Closure:
    operands = node.operands
    if node.operator != "+":
        return operations.logic(node.operator, [compile_part(each, layout) for each in operands])
    if any(_is_text(operand) for operand in operands[:2]):  # then all of it is text
        return operations.join(
            [
                operand.value
                if isinstance(operand, Literal) and isinstance(operand.value, str)
                else compile_part(operand, layout)
                for operand in operands
            ]
        )
    return operations.sum_of([compile_part(operand, layout) for operand in operands])


def _is_text(node: Node) -> bool:
    return isinstance(node, Template) or (isinstance(node, Literal) and type(node.value) is str)


@compile_part.register
def _conditional(node: Conditional, layout: Layout) -> Closure:
    return operations.choose(
        compile_part(node.condition, layout),
        compile_part(node.then, layout),
        compile_part(node.otherwise, layout),
    )


@compile_part.register
def _range(node: Range, layout: Layout) -> Closure:
    step = None if node.step is None else compile_part(node.step, layout)
    return operations.interval(
        compile_part(node.start, layout), compile_part(node.end, layout), step
    )
