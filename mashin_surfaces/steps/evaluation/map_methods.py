"""Methods of maps; ``Object`` has the same with the map in front, and some more."""

from __future__ import annotations

from typing import Any, Final

from .builtin import Table, method
from .scope import Scope
from .values import key_text

MAP: Final[Table] = {}


@method(MAP, "keys")
def keys(scope: Scope, values: dict[str, Any]) -> list[str]:
    scope.grow_list(len(values))
    return list(values)


@method(MAP, "values")
def values_of(scope: Scope, values: dict[str, Any]) -> list[Any]:
    scope.grow_list(len(values))
    return list(values.values())


@method(MAP, "entries")
def entries(scope: Scope, values: dict[str, Any]) -> list[list[Any]]:
    """``[key, value]`` for each entry."""
    scope.grow_list(3 * len(values))
    return [[key, value] for key, value in values.items()]


@method(MAP, "has", 1)
def has(scope: Scope, values: dict[str, Any], key: Any) -> bool:
    return key_text(key) in values


@method(MAP, "get", 1, 2)
def get(scope: Scope, values: dict[str, Any], key: Any, otherwise: Any = None) -> Any:
    """The value at ``key``; ``otherwise`` when there is no such key."""
    return values.get(key_text(key), otherwise)
