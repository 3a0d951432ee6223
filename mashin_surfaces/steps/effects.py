"""Effects: the Python functions that a machine may ask, registered by name.

``@effect("metrics.latest")`` makes a function an effect; ``ask latest, from: "metrics.latest"``
calls it. Effects are found in ``machines.py`` of every installed app and in the modules that the
setting ``MODULES`` names. Whether a machine may ask one is governance's business, not this one's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar

from django.utils.module_loading import autodiscover_modules
from pydantic import TypeAdapter, ValidationError

from ..conf import settings
from ..exceptions import Code, Refusal
from .signatures import arguments_of, is_same_code, where_of

Kind = Literal["sync", "async", "stream"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Effect:
    """A registered function. ``stream``: an async generator, each yield is one result.

    ``idempotent``: whether it may run again when nobody knows if it has run.
    """

    name: str
    function: Callable[..., Any]
    kind: Kind
    arguments: TypeAdapter[dict[str, Any]]
    idempotent: bool = True

    def check(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments for the function, converted by its type hints.

        Raises ``Refusal`` (execution_failed) naming each argument that does not fit.
        """
        try:
            return self.arguments.validate_python(inputs)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            )
            raise Refusal(
                Code.EXECUTION_FAILED, f'The effect "{self.name}" does not take this: {wrong}.'
            ) from None


class EffectRegistry:
    """Name → effect. One per process; filled by the decorator, found by ``discover``."""

    def __init__(self) -> None:
        self._effects: dict[str, Effect] = {}
        self._modules: tuple[str, ...] | None = None

    def register(
        self, name: str, function: Callable[..., Any], *, idempotent: bool = True
    ) -> Effect:
        """Add a function; the same function again is fine, another under the name is not."""
        before = self._effects.get(name)
        if before is not None and not is_same_code(before.function, function):
            raise ValueError(
                f'Two effects are called "{name}": {where_of(before.function)} and '
                f"{where_of(function)}. Rename one of them."
            )
        made = Effect(name, function, _kind_of(function), arguments_of(function), idempotent)
        self._effects[name] = made
        return made

    def discover(self) -> None:
        """Import every module that may hold effects; cheap when it was done before."""
        modules = tuple(settings.MODULES)
        if modules == self._modules:
            return
        autodiscover_modules("machines")
        for module in modules:
            import_module(module)
        self._modules = modules

    def get(self, name: str) -> Effect | None:
        return self._effects.get(name)

    def names(self) -> set[str]:
        return set(self._effects)

    def generators(self) -> set[str]:
        """Names of the effects that yield."""
        return {name for name, effect in self._effects.items() if effect.kind == "stream"}


registry = EffectRegistry()


def effect(name: str, *, idempotent: bool = True) -> Callable[[F], F]:
    """Register a function as the effect ``name`` (sync, async, or an async generator).

    Arguments are checked against the type hints before the call. What it returns is the step's
    output: an object, when its fields are to be read as ``steps.<step>.<field>``. A synchronous
    function runs on a thread, an asynchronous one on the server's event loop: it must not block.

    ``idempotent=False``: doing it twice is wrong (a mail, a payment). When a process died while it
    ran, a run asks somebody before it is done again.
    """
    if callable(name) or not name:  # also: @effect without its name
        raise TypeError('Write the effect\'s name: @effect("weather.now").')

    def decorate(function: F) -> F:
        registry.register(name, function, idempotent=idempotent)
        return function

    return decorate


def _kind_of(function: Callable[..., Any]) -> Kind:
    if inspect.isasyncgenfunction(function):
        return "stream"
    if inspect.iscoroutinefunction(function):
        return "async"
    if inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{where_of(function)} is a generator; an effect that yields must be `async def`."
        )
    return "sync"
