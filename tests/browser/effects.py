"""Effects that the browser tests' machines ask. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mashin_surfaces import effect


@effect("browser.count")
async def count(to: int, ends: bool) -> AsyncIterator[dict[str, Any]]:
    """1 … ``to``; what does not end waits for nothing."""
    for n in range(1, to + 1):
        yield {"n": n}
    if not ends:
        await asyncio.Event().wait()


@effect("browser.label")
async def label() -> dict[str, Any]:
    """What a release is called."""
    return {"name": "release"}
