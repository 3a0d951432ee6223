"""Closures of calls: methods, functions of namespaces, functions as values, arrow functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .builtin import Builtin, unknown_method
from .frames import SKIPPED, Binding, Closure, Frame
from .methods import METHODS
from .scope import MAX_CALLS, EvaluationError, Scope, quote
from .values import Function, a_kind, need_list

#: The values of a call's arguments.
Arguments: TypeAlias = Callable[[Scope, Frame], list[Any]]


def arguments(closures: Sequence[Closure], spread: Sequence[bool]) -> Arguments:
    """``spread``: which of the arguments is written ``...list``."""
    if not any(spread):
        return lambda scope, frame: [closure(scope, frame) for closure in closures]

    def evaluate(scope: Scope, frame: Frame) -> list[Any]:
        values: list[Any] = []
        for closure, is_spread in zip(closures, spread, strict=True):
            value = closure(scope, frame)
            if is_spread:
                scope.grow_list(len(need_list(value, '"..."')))
                values.extend(value)
            else:
                values.append(value)
        return values

    return evaluate


def call_builtin(builtin: Builtin, given: Arguments) -> Closure:
    return lambda scope, frame: builtin.call(scope, given(scope, frame))


def call_method(target: Closure, name: str, given: Arguments, optional: bool) -> Closure:
    def call(scope: Scope, frame: Frame) -> Any:
        value = target(scope, frame)
        if value is SKIPPED or (value is None and optional):
            return SKIPPED
        if type(value) is dict and type(value.get(name)) is Function:
            return call_function(value[name], given(scope, frame))
        methods = METHODS.get(type(value))
        if methods is None:
            if value is None:
                raise EvaluationError(
                    f"{quote(name)} is asked of null. Write ?. where a value may be missing."
                )
            raise EvaluationError(f"{a_kind(value).capitalize()} has no method {quote(name)}.")
        method = methods.get(name)
        if method is None:
            raise unknown_method(value, name, methods)
        return method.call(scope, [value, *given(scope, frame)], hidden=1)

    return call


def call_value(function: Closure, given: Arguments) -> Closure:
    def call(scope: Scope, frame: Frame) -> Any:
        value = function(scope, frame)
        if value is SKIPPED:
            return SKIPPED
        return call_function(value, given(scope, frame))

    return call


def call_function(function: Any, values: list[Any]) -> Any:
    if type(function) is not Function:
        raise EvaluationError(f"Only functions are called, not {a_kind(function)}.")
    return function.taking(len(values))(*values)


def arrow(
    body: Closure, arity: int, outer_size: int, size: int, bindings: Sequence[Binding] | None
) -> Closure:
    """An arrow function. Its frame: what is around it, its values, and with ``bindings`` (one
    per parameter) the places that its patterns fill."""

    def make(scope: Scope, frame: Frame) -> Function:
        def apply(*values: Any) -> Any:
            scope.operations -= 1
            if scope.operations < 0:
                scope.spend(0)
            scope.calls -= 1
            if scope.calls < 0:
                raise EvaluationError(f"Functions call one another more than {MAX_CALLS} deep.")
            if bindings is None:
                result = body(scope, (*frame[:outer_size], *values) if outer_size else values)
            else:
                own = [*frame[:outer_size], *[None] * (size - outer_size)]
                for binding, value in zip(bindings, values, strict=True):
                    binding(scope, own, value)
                result = body(scope, own)
            scope.calls += 1
            return result

        return Function(apply, arity)

    return make
