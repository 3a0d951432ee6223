"""The syntax tree compiled into Python closures: one small function per node.

Each takes the scope and the frame (``frames.py``) and gives the node's value. Names are resolved
here, once; what is left for run time is the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any, Final

from ...machines.expression_nodes import (
    Arrow,
    Binary,
    Body,
    Call,
    Chain,
    Conditional,
    Entry,
    Index,
    ListLiteral,
    Literal,
    MapLiteral,
    Member,
    Name,
    NamePattern,
    Node,
    Pipe,
    Range,
    Spread,
    Template,
    Unary,
)
from . import calls, members, operations
from .builtin import Builtin
from .frames import SKIPPED, Closure, Frame, Layout, bind
from .namespaces import CONSTANTS, GLOBALS, NAMESPACES
from .operators import negate
from .scope import ENTRY_SIZE, ITEM_SIZE, EvaluationError, Scope, did_you_mean, quote
from .values import NUMBERS, Function, key_text, measure, need_map

_TOO_DEEP: Final = "The expression is nested too deep; give its parts names with let lines."
_MEASURED: Final = frozenset({list, dict, Function})


def compile_node(node: Node) -> Callable[[Scope], Any]:
    """The expression as a function of its scope, with a fresh budget at each call.

    It gives a JSON value (or a ``Decimal``) and raises only ``EvaluationError``.
    """
    layout = Layout()
    try:
        run = _compile(node, layout)
    except RecursionError:
        raise EvaluationError(_TOO_DEEP) from None
    size = layout.size

    def evaluate(scope: Scope) -> Any:
        scope.renew()
        try:
            value = run(scope, [None] * size if size else ())
            if type(value) in _MEASURED:
                measure(value)
        except RecursionError:
            raise EvaluationError(_TOO_DEEP) from None
        return value

    return evaluate


@singledispatch
def _compile(node: Node, layout: Layout) -> Closure:
    raise TypeError(f"{node!r} is no part of an expression")


def _fail(message: str) -> Closure:
    def run(scope: Scope, frame: Frame) -> Any:
        raise EvaluationError(message)

    return run


def _constant(value: Any) -> Closure:
    return lambda scope, frame: value


# -- literals -----------------------------------------------------------------------------------


@_compile.register
def _literal(node: Literal, layout: Layout) -> Closure:
    return _constant(node.value)


@_compile.register
def _template(node: Template, layout: Layout) -> Closure:
    return operations.join(
        [part if isinstance(part, str) else _compile(part, layout) for part in node.parts]
    )


@_compile.register
def _list(node: ListLiteral, layout: Layout) -> Closure:
    given = _arguments(node.items, layout)
    if not layout.in_function:
        return given
    size = len(node.items) * ITEM_SIZE

    def run(scope: Scope, frame: Frame) -> list[Any]:
        scope.grow(size)
        return given(scope, frame)

    return run


def _arguments(items: Sequence[Node | Spread], layout: Layout) -> calls.Arguments:
    return calls.arguments(
        [_compile(item.value if isinstance(item, Spread) else item, layout) for item in items],
        [isinstance(item, Spread) for item in items],
    )


@_compile.register
def _map(node: MapLiteral, layout: Layout) -> Closure:
    pairs = [
        (entry.key, _compile(entry.value, layout))
        for entry in node.entries
        if isinstance(entry, Entry) and isinstance(entry.key, str)
    ]
    if len(pairs) < len(node.entries):
        return _computed_map(node, layout)
    size = len(pairs) * ENTRY_SIZE if layout.in_function else 0

    def run(scope: Scope, frame: Frame) -> dict[str, Any]:
        if size:
            scope.grow(size)
        return {key: value(scope, frame) for key, value in pairs}

    return run


def _computed_map(node: MapLiteral, layout: Layout) -> Closure:
    parts: list[tuple[Closure | None, Closure]] = []
    for entry in node.entries:
        if isinstance(entry, Spread):
            parts.append((None, _compile(entry.value, layout)))
        else:
            key = (
                _constant(entry.key) if isinstance(entry.key, str) else _compile(entry.key, layout)
            )
            parts.append((key, _compile(entry.value, layout)))

    def run(scope: Scope, frame: Frame) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, closure in parts:
            value = closure(scope, frame)
            if key is not None:
                scope.grow(ENTRY_SIZE)
                made[key_text(key(scope, frame))] = value
            elif value is not None:
                scope.spend(len(need_map(value, '"..." in a map')))
                scope.grow(len(value) * ENTRY_SIZE)
                made.update(value)
        return made

    return run


# -- names and members --------------------------------------------------------------------------


@_compile.register
def _name(node: Name, layout: Layout) -> Closure:
    name = node.name
    if name in layout.places:
        place = layout.places[name]
        return lambda scope, frame: frame[place]
    if name in _ROOTS:
        return _ROOTS[name]
    if name in GLOBALS:
        builtin = GLOBALS[name]
        return lambda scope, frame: builtin.as_function(scope)
    if name in NAMESPACES:
        return _fail(f"{name} is a group of functions: write {name}.name(…).")
    return _step_or_unknown(name, tuple(layout.places))


def _error(scope: Scope, frame: Frame) -> Any:
    if scope.error is None:
        raise EvaluationError('"error" is known only to the steps of "on failure".')
    return scope.error


_ROOTS: Final[dict[str, Closure]] = {
    "input": lambda scope, frame: scope.input,
    "steps": lambda scope, frame: scope.steps,
    "state": lambda scope, frame: scope.state,
    "error": _error,
}


def _step_or_unknown(name: str, local: tuple[str, ...]) -> Closure:
    """A step's output may be named without ``steps.``, as older sources do."""

    def run(scope: Scope, frame: Frame) -> Any:
        if name in scope.steps:
            return scope.steps[name]
        hint = did_you_mean(name, [*local, *_ROOTS, *scope.steps, *GLOBALS, *NAMESPACES])
        raise EvaluationError(f"There is no {quote(name)} here.{hint}")

    return run


def _namespace(node: Node, layout: Layout) -> str | None:
    """The namespace that ``node`` names, if it does."""
    if isinstance(node, Name) and node.name in NAMESPACES and node.name not in layout.places:
        return node.name
    return None


@_compile.register(Member)
@_compile.register(Index)
@_compile.register(Call)
def _postfix(node: Member | Index | Call, layout: Layout) -> Closure:
    run = _link(node, layout)
    if not _has_optional(node):
        return run

    def run_chain(scope: Scope, frame: Frame) -> Any:
        value = run(scope, frame)
        return None if value is SKIPPED else value

    return run_chain


def _has_optional(node: Node) -> bool:
    while isinstance(node, Member | Index | Call):
        if isinstance(node, Call):
            node = node.function
        elif node.optional:
            return True
        else:
            node = node.target
    return False


def _link(node: Node, layout: Layout) -> Closure:
    """One link of a chain of members, indexes and calls: it may give ``SKIPPED``."""
    match node:
        case Member(target, name, optional):
            if space := _namespace(target, layout):
                return _namespace_member(space, name)
            if isinstance(target, Name) and not optional and name != members.LENGTH:
                root = None if target.name in layout.places else _ROOT_MEMBERS.get(target.name)
                if root is not None:
                    return root(name)
            return members.member(_link(target, layout), name, optional)
        case Index(target, place, optional):
            return members.index(_link(target, layout), _compile(place, layout), optional)
        case Call(function, given):
            return _call(function, _arguments(given, layout), layout)
    return _compile(node, layout)


#: The hot paths: ``input.name`` and its kin.
_ROOT_MEMBERS: Final[dict[str, Callable[[str], Closure]]] = {
    "input": lambda name: lambda scope, frame: scope.input.get(name),
    "steps": lambda name: lambda scope, frame: scope.steps.get(name),
    "state": lambda name: lambda scope, frame: scope.state.get(name),
}


def _namespace_member(space: str, name: str) -> Closure:
    if (space, name) in CONSTANTS:
        return _constant(CONSTANTS[space, name])
    builtin = _find(space, name)
    if isinstance(builtin, str):
        return _fail(builtin)
    return lambda scope, frame: builtin.as_function(scope)


def _find(space: str, name: str) -> Builtin | str:
    """A namespace's function, or what to say instead."""
    table = NAMESPACES[space]
    if name in table:
        return table[name]
    if (space, name) in CONSTANTS:
        return f"{space}.{name} is a number, not a function."
    constants = [word for group, word in CONSTANTS if group == space]
    return f"{space} has no {quote(name)}.{did_you_mean(name, [*table, *constants])}"


# -- calls --------------------------------------------------------------------------------------


def _call(function: Node, given: calls.Arguments, layout: Layout) -> Closure:
    match function:
        case Member(target, name, optional):
            if space := _namespace(target, layout):
                builtin = _find(space, name)
                if isinstance(builtin, str):
                    return _fail(builtin)
                return calls.call_builtin(builtin, given)
            return calls.call_method(_link(target, layout), name, given, optional)
        case Name(name) if name not in layout.places and name in GLOBALS:
            return calls.call_builtin(GLOBALS[name], given)
    return calls.call_value(_link(function, layout), given)


@_compile.register
def _pipe(node: Pipe, layout: Layout) -> Closure:
    """``left |> f(x)``: a call with ``left`` in front. A plain name that means nothing else here
    is a method of ``left``: ``list |> filter(…)``."""
    left, right = _compile(node.left, layout), node.right
    function, items = (right.function, right.arguments) if isinstance(right, Call) else (right, ())
    others = _arguments(items, layout)
    if isinstance(function, Name) and not (
        function.name in layout.places or function.name in GLOBALS
    ):
        return calls.call_method(left, function.name, others, optional=False)

    def given(scope: Scope, frame: Frame) -> list[Any]:
        return [left(scope, frame), *others(scope, frame)]

    call = _call(function, given, layout)

    def run(scope: Scope, frame: Frame) -> Any:
        value = call(scope, frame)
        return None if value is SKIPPED else value

    return run


@_compile.register
def _arrow(node: Arrow, layout: Layout) -> Closure:
    inner = Layout(layout)
    if all(isinstance(parameter, NamePattern) for parameter in node.parameters):
        bindings = None
        for parameter in node.parameters:
            bind(parameter, inner)
    else:
        bindings = [bind(parameter, inner) for parameter in node.parameters]
    body = _compile(node.body, inner)
    return calls.arrow(body, len(node.parameters), layout.size, inner.size, bindings)


@_compile.register
def _body(node: Body, layout: Layout) -> Closure:
    lets = []
    for line in node.lets:
        if isinstance(line.value, Arrow) and isinstance(line.pattern, NamePattern):
            binding = bind(line.pattern, layout)  # before its value: a function may call itself
            lets.append((_compile(line.value, layout), binding))
        else:
            value = _compile(line.value, layout)
            lets.append((value, bind(line.pattern, layout)))
    result = _compile(node.result, layout)

    def run(scope: Scope, frame: Frame) -> Any:
        own = frame if isinstance(frame, list) else list(frame)
        for value, binding in lets:
            binding(scope, own, value(scope, own))
        return result(scope, own)

    return run


# -- operators ----------------------------------------------------------------------------------


@_compile.register
def _unary(node: Unary, layout: Layout) -> Closure:
    if node.operator == "-" and isinstance(node.operand, Literal):
        value = node.operand.value
        if type(value) in NUMBERS:
            return _constant(negate(value))
    return operations.unary(node.operator, _compile(node.operand, layout))


@_compile.register
def _binary(node: Binary, layout: Layout) -> Closure:
    return operations.binary(
        node.operator, _compile(node.left, layout), _compile(node.right, layout)
    )


@_compile.register
def _chain(node: Chain, layout: Layout) -> Closure:
    operands = node.operands
    if node.operator != "+":
        return operations.logic(node.operator, [_compile(each, layout) for each in operands])
    if any(_is_text(operand) for operand in operands[:2]):  # then all of it is text
        return operations.join(
            [
                operand.value
                if isinstance(operand, Literal) and isinstance(operand.value, str)
                else _compile(operand, layout)
                for operand in operands
            ]
        )
    return operations.sum_of([_compile(operand, layout) for operand in operands])


def _is_text(node: Node) -> bool:
    return isinstance(node, Template) or (isinstance(node, Literal) and type(node.value) is str)


@_compile.register
def _conditional(node: Conditional, layout: Layout) -> Closure:
    return operations.choose(
        _compile(node.condition, layout),
        _compile(node.then, layout),
        _compile(node.otherwise, layout),
    )


@_compile.register
def _range(node: Range, layout: Layout) -> Closure:
    step = None if node.step is None else _compile(node.step, layout)
    return operations.interval(_compile(node.start, layout), _compile(node.end, layout), step)
