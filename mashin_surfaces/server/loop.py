"""The event loop under the server: uvloop where it is installed, asyncio's own elsewhere.

Twisted takes its reactor from whoever imports it first, so this module is imported before
``daphne.server``. It changes nothing when a reactor is there already.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new loop: uvloop's where it is installed. ``ASGI_THREADS`` sizes its pool of threads."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    if threads := os.environ.get("ASGI_THREADS"):
        loop.set_default_executor(ThreadPoolExecutor(max_workers=int(threads)))
    return loop


def install() -> None:
    """Put Twisted's asyncio reactor on such a loop, unless a reactor is installed."""
    if "twisted.internet.reactor" not in sys.modules:
        from twisted.internet import asyncioreactor

        asyncioreactor.install(new_event_loop())  # type: ignore[no-untyped-call]


install()
