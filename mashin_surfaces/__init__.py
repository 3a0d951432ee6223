"""Machines, declared once, reachable over websocket, API and page.

The public API: ``effect``, ``tool``, ``charge``, and each as ``a…`` for a running event loop, too,
``invoke``, ``publish``, ``start_run``, ``decide``; and the package ``client``. Everything else may
change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .governance.invoke import ainvoke, invoke
    from .rooms.topics import apublish, publish
    from .runs.calls import adecide, astart_run, decide, start_run
    from .steps.effects import effect
    from .steps.spending import charge
    from .steps.tools import tool

__all__ = [
    "adecide", "ainvoke", "apublish", "astart_run", "charge", "decide", "effect", "invoke",
    "publish", "start_run", "tool",
]  # fmt: skip
__version__ = "0.1.0"

_HOMES = {
    "adecide": "runs.calls",
    "ainvoke": "governance.invoke",
    "apublish": "rooms.topics",
    "astart_run": "runs.calls",
    "charge": "steps.spending",
    "decide": "runs.calls",
    "effect": "steps.effects",
    "invoke": "governance.invoke",
    "publish": "rooms.topics",
    "start_run": "runs.calls",
    "tool": "steps.tools",
}


def __getattr__(name: str) -> Any:
    """Import late: the package must be importable before Django's apps are ready."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
