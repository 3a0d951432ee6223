"""Machines, declared once, reachable over websocket, API and page.

The public API: ``effect``, ``tool``, ``charge``, ``invoke``, ``ainvoke``, ``publish``,
``apublish``. Everything else may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .governance.invoke import ainvoke, invoke
    from .rooms.topics import apublish, publish
    from .steps.effects import effect
    from .steps.spending import charge
    from .steps.tools import tool

__all__ = ["ainvoke", "apublish", "charge", "effect", "invoke", "publish", "tool"]
__version__ = "0.1.0"

_HOMES = {
    "ainvoke": "governance.invoke",
    "apublish": "rooms.topics",
    "charge": "steps.spending",
    "effect": "steps.effects",
    "invoke": "governance.invoke",
    "publish": "rooms.topics",
    "tool": "steps.tools",
}


def __getattr__(name: str) -> Any:
    """Import late: the package must be importable before Django's apps are ready."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
