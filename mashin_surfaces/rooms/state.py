"""Mutations of a room's state: pure, on plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .events import Mutation


def applied(state: dict[str, Any], mutations: Iterable[Mutation]) -> dict[str, Any]:
    """The state after the mutations, in order; the one that was given stays as it was.

    Raises ``ValueError`` for what is no mutation, and for a pointer whose parent is not there.
    Deleting what is not there is no error.
    """
    result = dict(state)
    for mutation in mutations:
        parts = parts_of(mutation["key"])
        parent = _parent(result, parts)
        match mutation:
            case {"op": "set", "value": value}:
                _set(parent, parts[-1], value)
            case {"op": "delete"}:
                _delete(parent, parts[-1])
            case _:
                raise ValueError(f"This is no mutation: {mutation!r}.")
    return result


def parts_of(key: str) -> list[str]:
    """The keys on the way to what a mutation names: a plain key, or a JSON Pointer (RFC 6901)."""
    if not key.startswith("/"):
        return [key]
    return [part.replace("~1", "/").replace("~0", "~") for part in key[1:].split("/")]


def _parent(state: dict[str, Any], parts: list[str]) -> Any:
    """The container of the last part; copied on the way, so that nobody else's value changes."""
    container: Any = state
    for part in parts[:-1]:
        try:
            place: Any = _index(container, part) if isinstance(container, list) else part
            child = container[place]
        except (KeyError, ValueError):
            raise ValueError(f"The state has nothing at {part!r}.") from None
        if not isinstance(child, dict | list):
            raise ValueError(f"{part!r} holds a plain value: nothing can stand under it.")
        child = container[place] = child.copy()
        container = child
    return container


def _set(parent: Any, part: str, value: Any) -> None:
    if isinstance(parent, dict):
        parent[part] = value
    elif part == "-":
        parent.append(value)
    else:
        parent[_index(parent, part)] = value


def _delete(parent: Any, part: str) -> None:
    if isinstance(parent, dict):
        parent.pop(part, None)
    elif _is_index(part):
        del parent[int(part) : int(part) + 1]
    elif part != "-":
        raise ValueError(f"The list has no item {part!r}.")


def _index(items: list[Any], part: str) -> int:
    if not _is_index(part) or int(part) >= len(items):
        raise ValueError(f"The list has no item {part!r}.")
    return int(part)


def _is_index(part: str) -> bool:
    """Whether it is a number as JSON Pointers spell it."""
    return part.isascii() and part.isdecimal() and (part == "0" or part[0] != "0")
