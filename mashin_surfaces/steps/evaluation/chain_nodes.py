"""Closures of names and of what follows them: members, indexes, calls and pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...machines.expression_nodes import (
    Call,
    Index,
    Member,
    Name,
    Node,
    Pipe,
)
from . import calls, members
from .builtin import Builtin
from .dispatch import compile_arguments, compile_part, constant, fail
from .frames import SKIPPED, Closure, Frame, Layout
from .namespaces import CONSTANTS, GLOBALS, NAMESPACES
from .scope import EvaluationError, Scope, did_you_mean, quote


@compile_part.register
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
        return fail(f"{name} is a group of functions: write {name}.name(…).")
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


@compile_part.register(Member)
@compile_part.register(Index)
@compile_part.register(Call)
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
            return members.index(_link(target, layout), compile_part(place, layout), optional)
        case Call(function, given):
            return _call(function, compile_arguments(given, layout), layout)
    return compile_part(node, layout)


#: The hot paths: ``input.name`` and its kin.
_ROOT_MEMBERS: Final[dict[str, Callable[[str], Closure]]] = {
    "input": lambda name: lambda scope, frame: scope.input.get(name),
    "steps": lambda name: lambda scope, frame: scope.steps.get(name),
    "state": lambda name: lambda scope, frame: scope.state.get(name),
}


def _namespace_member(space: str, name: str) -> Closure:
    if (space, name) in CONSTANTS:
        return constant(CONSTANTS[space, name])
    builtin = _find(space, name)
    if isinstance(builtin, str):
        return fail(builtin)
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
                    return fail(builtin)
                return calls.call_builtin(builtin, given)
            return calls.call_method(_link(target, layout), name, given, optional)
        case Name(name) if name not in layout.places and name in GLOBALS:
            return calls.call_builtin(GLOBALS[name], given)
    return calls.call_value(_link(function, layout), given)


@compile_part.register
def _pipe(node: Pipe, layout: Layout) -> Closure:
    """``left |> f(x)``: a call with ``left`` in front. A plain name that means nothing else here
    is a method of ``left``: ``list |> filter(…)``."""
    left, right = compile_part(node.left, layout), node.right
    function, items = (right.function, right.arguments) if isinstance(right, Call) else (right, ())
    others = compile_arguments(items, layout)
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
