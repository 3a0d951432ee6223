"""Who hears of what: the connections between packages that do not import each other."""

from __future__ import annotations

from .commit import close_writers
from .governance.starting import starting
from .identity import cache, revocation
from .identity import threads as identity_threads
from .incubators import clock as bus_clock
from .incubators import metrics as bus_metrics
from .ledger.record import check_writer
from .machines.registry import definition_threads
from .machines.watch import bump_if_migrated, on_bump, watcher
from .rooms import doorbell, hub, retention
from .rooms.log import room_threads
from .runs import engine as runs
from .runs.starting import RunStarter
from .server.health import CHECKS, WARNINGS
from .steps.effects import registry as effects
from .steps.threads import effect_threads
from .surfaces.recheck import recheck_connections
from .surfaces.routes import routes
from .timers import process
from .timers.clock import clock

CREDENTIALS = "credentials"


def end_threads() -> None:
    """End every thread of ours with its connections, written what waits; they start again.

    For who ends, or drops the database afterwards.
    """
    clock.stop()
    watcher.stop()
    doorbell.close()
    room_threads.close()
    definition_threads.close()
    close_writers()
    identity_threads.close()
    effect_threads.close()


def connect() -> None:
    """Called once, when the apps are ready; no query, no thread."""
    effects.discover()
    starting.starter = RunStarter()
    revocation.connect_signals()
    revocation.on_change.append(lambda: bump_if_migrated(CREDENTIALS))
    watcher.on_change(CREDENTIALS, cache.forget)
    watcher.on_change(CREDENTIALS, recheck_connections)
    clock.every("rooms", retention.EVERY, retention.trim_due)
    retention.before_trim["incubator"] = bus_metrics.keep
    clock.every("claims", bus_clock.CLAIMS_EVERY, bus_clock.expire_claims)
    clock.every("incubators", bus_clock.KEEP_EVERY, bus_clock.keep)
    on_bump.append(doorbell.tell)
    hub.on_news.append(lambda epoch: watcher.wake())
    hub.on_news.append(runs.heard)
    process.served.connections = routes.count
    CHECKS["ledger"] = check_writer
    WARNINGS["rooms"] = hub.trouble
    WARNINGS["runs"] = runs.trouble
