"""Effects and tools of the client's tests. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mashin_surfaces import effect, tool


@effect("client.ticks")
async def ticks(count: int, ends: bool) -> AsyncIterator[dict[str, Any]]:
    """1 … ``count``; what does not end waits for nothing."""
    for n in range(1, count + 1):
        yield {"value": n}
    if not ends:
        await asyncio.Event().wait()


@tool("client.add")
def add(ctx: Any, by: int = 1) -> int:
    """Counts."""
    ctx.state["count"] = ctx.state.get("count", 0) + by
    ctx.emit("added", {"by": by})
    return int(ctx.state["count"])


@tool("client.ask")
async def ask(ctx: Any, question: str) -> Any:
    """What a person answers."""
    answer = await ctx.suspend("person", "ask", [question])
    ctx.state["answer"] = answer
    return answer


@tool("client.fail")
def fail(ctx: Any) -> None:
    """Never works."""
    raise ValueError("broken")
