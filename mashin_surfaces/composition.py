"""Who hears of what: the connections between packages that do not import each other."""

from __future__ import annotations

from .identity import cache, revocation
from .ledger.record import check_writer
from .machines.watch import bump_if_migrated, watcher
from .server.health import CHECKS
from .steps.effects import registry as effects
from .surfaces.recheck import recheck_connections

CREDENTIALS = "credentials"


def connect() -> None:
    """Called once, when the apps are ready; no query, no thread."""
    effects.discover()
    revocation.connect_signals()
    revocation.on_change.append(lambda: bump_if_migrated(CREDENTIALS))
    watcher.on_change(CREDENTIALS, cache.forget)
    watcher.on_change(CREDENTIALS, recheck_connections)
    CHECKS["ledger"] = check_writer
