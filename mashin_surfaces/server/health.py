"""Is the process alive, and can it serve? Views for load balancers and orchestrators.

A part that must work registers a check in ``CHECKS``; wiring the URLs is left to the project.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)

#: Seconds that all checks together may take.
DEADLINE = 2.0


def check_database() -> None:
    """The default database answers, on a connection that nobody else has."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


#: What must work for ``readyz``, by name: functions that raise when it does not. They run on
#: threads of their own, at the same time, and at most one of a name at once.
CHECKS: dict[str, Callable[[], None]] = {"database": check_database}

#: What may be in trouble while everything is served all the same, by name: functions that say what
#: is wrong, or None. They must not wait for anything.
WARNINGS: dict[str, Callable[[], str | None]] = {}

# Apart from all other threads: what is to be judged may have filled those.
_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="health")
_running: dict[str, asyncio.Future[None]] = {}


@require_safe
@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    """200 ``{"status": "ok"}`` as long as the process answers at all."""
    return JsonResponse({"status": "ok"})


@dataclass(frozen=True, slots=True)
class Readiness:
    """``checks``: "ok", "late" or the kind of an error by the name of what must work; ``warnings``:
    sentences by the name of what is slower than it should be, and served all the same."""

    checks: dict[str, str]
    warnings: dict[str, str]

    @property
    def is_ready(self) -> bool:
        return all(result == "ok" for result in self.checks.values())


async def readiness() -> Readiness:
    """How this process stands, within ``DEADLINE``. The text of an error goes to the log."""
    deadline = time.monotonic() + DEADLINE
    started = {name: _started(name, check) for name, check in CHECKS.items()}
    results = {name: await _result(name, future, deadline) for name, future in started.items()}
    warnings = {name: said for name, look in WARNINGS.items() if (said := look()) is not None}
    return Readiness(results, warnings)


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """200, or 503 when a check fails or is late.

    ``{"status": "ok" | "unavailable", "checks": {name: "ok" | "OperationalError" | "late"},
    "warnings": {name: "…"}}``: the kind of an error, while its text, which may name hosts and
    users, goes to the log. ``warnings``: what is slower than it should be, and served all the same.
    """
    found = await readiness()
    status = "ok" if found.is_ready else "unavailable"
    body: dict[str, object] = {"status": status, "checks": found.checks}
    if found.warnings:
        body["warnings"] = found.warnings
    return JsonResponse(body, status=200 if found.is_ready else 503)


def _started(name: str, check: Callable[[], None]) -> asyncio.Future[None]:
    """The check on its thread; one that hangs since an earlier request is not started again."""
    loop = asyncio.get_running_loop()
    running = _running.get(name)
    if running is None or running.done() or running.get_loop() is not loop:
        running = _running[name] = loop.run_in_executor(_threads, check)
    return running


async def _result(name: str, future: asyncio.Future[None], deadline: float) -> str:
    remaining = max(0.0, deadline - time.monotonic())
    done, _ = await asyncio.wait([future], timeout=remaining)
    if not done:
        return "late"
    if (error := future.exception()) is None:
        return "ok"
    logger.warning("The check %r fails: %s", name, error)
    return type(error).__name__
