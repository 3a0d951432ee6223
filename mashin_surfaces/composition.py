"""Who hears of what: the connections between packages that do not import each other."""

from __future__ import annotations

from .identity import cache, revocation
from .machines.watch import bump, watcher
from .steps.effects import registry as effects
from .surfaces.recheck import recheck_connections

CREDENTIALS = "credentials"


def connect() -> None:
    """Called once, when the apps are ready; no query, no thread."""
    effects.discover()
    revocation.connect_signals()
    revocation.on_change.append(lambda: bump(CREDENTIALS))
    watcher.on_change(CREDENTIALS, cache.forget)
    watcher.on_change(CREDENTIALS, recheck_connections)
