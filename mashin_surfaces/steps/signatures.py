"""What a registered function takes, as a validator made from its type hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import NotRequired, Required, TypedDict  # noqa: UP035  pydantic wants these on 3.11


def arguments_of(function: Callable[..., Any], *, skip: int = 0) -> TypeAdapter[dict[str, Any]]:
    """A validator from a dict of values to keyword arguments, converted by the type hints.

    ``skip``: leading parameters that the caller gives itself. Raises ``TypeError`` for a parameter
    that can't be given by name.
    """
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    extra: Literal["forbid", "allow"] = "forbid"
    parameters = list(inspect.signature(function).parameters.items())[skip:]
    for name, parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TypeError(
                f"{where_of(function)}: the parameter {name!r} can't be given by name, "
                "an effect's parameters must be."
            )
        else:
            hint = hints.get(name, Any)
            has_default = parameter.default is not parameter.empty
            fields[name] = NotRequired[hint] if has_default else Required[hint]
    make_type: Any = TypedDict  # a type made at run time: no checker can follow
    shape = make_type("shape", fields)
    shape.__pydantic_config__ = ConfigDict(extra=extra, arbitrary_types_allowed=True)
    return TypeAdapter(shape)


def is_same_code(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """True when a module was imported again, not when two functions share a name."""
    return where_of(one) == where_of(other)


def where_of(function: Callable[..., Any]) -> str:
    """``module.qualname``, for messages."""
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
