"""``value.name`` and ``value[index]``: only what maps hold, ``length``, items and characters.

Python attributes are out of reach: nothing here looks at anything but the data.
"""

from __future__ import annotations

from typing import Any

from .frames import SKIPPED, Closure, Frame
from .methods import METHODS
from .scope import EvaluationError, Scope, did_you_mean, quote
from .values import a_kind, key_text, kind, need_integer

LENGTH = "length"


def member(target: Closure, name: str, optional: bool) -> Closure:
    def get(scope: Scope, frame: Frame) -> Any:
        value = target(scope, frame)
        if type(value) is dict and (name in value or name != LENGTH):
            return value.get(name)
        return _other_member(value, name, optional)

    return get


def _other_member(value: Any, name: str, optional: bool) -> Any:
    if value is SKIPPED:
        return SKIPPED
    if value is None:
        if optional:
            return SKIPPED
        raise EvaluationError(
            f"{quote(name)} is asked of null. Write ?. where a value may be missing."
        )
    if name == LENGTH and type(value) in (str, list, dict):
        return len(value)
    methods = METHODS.get(type(value), {})
    if name in methods:
        raise EvaluationError(f"{quote(name)} of {a_kind(value)} is a method: call it with ().")
    hint = did_you_mean(name, [*methods, LENGTH])
    raise EvaluationError(f"A {kind(value)} has no member {quote(name)}.{hint}")


def index(target: Closure, place: Closure, optional: bool) -> Closure:
    def get(scope: Scope, frame: Frame) -> Any:
        value = target(scope, frame)
        if value is SKIPPED or (value is None and optional):
            return SKIPPED
        return item_of(value, place(scope, frame))

    return get


def item_of(value: Any, place: Any) -> Any:
    """``value[place]``; null where there is nothing."""
    value_type = type(value)
    if value_type is dict:
        return value.get(key_text(place))
    if value_type is list or value_type is str:
        number = need_integer(place, "[…]")
        return value[number] if 0 <= number < len(value) else None
    if value is None:
        what = quote(place) if type(place) is str else "an item"
        raise EvaluationError(f"{what} is asked of null. Write ?.[…] where a value may be missing.")
    raise EvaluationError(f"[…] takes from a list, a map or a text, not from {a_kind(value)}.")
