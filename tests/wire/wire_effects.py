"""Effects that the wire tests' machines ask. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from mashin_surfaces import effect


@effect("wire.repeat")
async def repeat(text: str, times: int = 1) -> dict[str, Any]:
    return {"text": text * times}


@effect("wire.thread")
def thread() -> dict[str, Any]:
    return {"name": threading.current_thread().name}


@effect("wire.fail")
def fail(message: str) -> dict[str, Any]:
    raise RuntimeError(message)


@effect("wire.sleep")
async def sleep(seconds: float) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return {"value": 2}


@effect("wire.wrong")
def wrong() -> dict[str, Any]:
    return {"value": "not a number"}
