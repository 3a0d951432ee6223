"""Tools: the Python functions that panels and incubators offer, registered by name.

``@tool("name")`` on ``def f(ctx, **args)``, sync or async. Found where effects are found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter

from .signatures import arguments_of, is_same_code, where_of

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Tool:
    """A registered function; ``arguments`` checks what comes after ``ctx``."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    arguments: TypeAdapter[dict[str, Any]]


_tools: dict[str, Tool] = {}


def tool(name: str) -> Callable[[F], F]:
    """Register a function as the tool ``name``. Its first parameter is the context."""
    if callable(name) or not name:  # also: @tool without its name
        raise TypeError('Write the tool\'s name: @tool("counter.increment").')

    def decorate(function: F) -> F:
        before = _tools.get(name)
        if before is not None and not is_same_code(before.function, function):
            raise ValueError(
                f'Two tools are called "{name}": {where_of(before.function)} and '
                f"{where_of(function)}. Rename one of them."
            )
        is_async = inspect.iscoroutinefunction(function)
        _tools[name] = Tool(name, function, is_async, arguments_of(function, skip=1))
        return function

    return decorate


def names() -> set[str]:
    """The names of all registered tools."""
    return set(_tools)


def get_tool(name: str) -> Tool | None:
    """The tool of that name, None when there is none."""
    return _tools.get(name)
