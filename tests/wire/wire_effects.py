"""Effects that the wire tests' machines ask. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from mashin_surfaces import apublish, effect


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


@effect("wire.ticks")
async def ticks(count: int, ending: str = "") -> AsyncIterator[dict[str, Any]]:
    """0 … count - 1, and then its ending."""
    for n in range(count):
        yield {"value": n}
    if ending == "fail":
        raise RuntimeError("secret detail 4711")
    if ending == "wait":
        print("wire.ticks waits", flush=True)
        await asyncio.Event().wait()


@effect("wire.publish")
async def publish(board: str, value: float, durable: bool = True) -> dict[str, Any]:
    return {"offset": await apublish("wire_board", {"value": value}, board, durable=durable)}


_counts: dict[str, int] = {}


@effect("wire.count")
def count(name: str) -> dict[str, Any]:
    """Counts in this process; what is called steady does not."""
    _counts[name] = _counts.get(name, 0) + 1
    return {"value": 0 if name == "steady" else _counts[name], "process": os.getpid()}
