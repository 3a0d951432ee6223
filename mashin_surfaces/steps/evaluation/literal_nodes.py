"""Closures of literals: constants, templates, lists and maps."""

from __future__ import annotations

from typing import Any

from ...machines.expression_nodes import (
    Entry,
    ListLiteral,
    Literal,
    MapLiteral,
    Spread,
    Template,
)
from . import operations
from .dispatch import compile_arguments, compile_part, constant
from .frames import Closure, Frame, Layout
from .scope import ENTRY_SIZE, ITEM_SIZE, Scope
from .values import key_text, need_map


@compile_part.register
def _literal(node: Literal, layout: Layout) -> Closure:
    return constant(node.value)


@compile_part.register
def _template(node: Template, layout: Layout) -> Closure:
    return operations.join(
        [part if isinstance(part, str) else compile_part(part, layout) for part in node.parts]
    )


@compile_part.register
def _list(node: ListLiteral, layout: Layout) -> Closure:
    given = compile_arguments(node.items, layout)
    if not layout.in_function:
        return given
    size = len(node.items) * ITEM_SIZE

    def run(scope: Scope, frame: Frame) -> list[Any]:
        scope.grow(size)
        return given(scope, frame)

    return run


@compile_part.register
def _map(node: MapLiteral, layout: Layout) -> Closure:
    pairs = [
        (entry.key, compile_part(entry.value, layout))
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
            parts.append((None, compile_part(entry.value, layout)))
        else:
            key = (
                constant(entry.key)
                if isinstance(entry.key, str)
                else compile_part(entry.key, layout)
            )
            parts.append((key, compile_part(entry.value, layout)))

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
