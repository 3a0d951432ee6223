"""Effects and tools that the browser tests' machines have. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from mashin_surfaces import effect, tool


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


@tool("workshop.add")
def add(ctx: Any, by: int = 1, colour: Literal["red", "blue"] = "red") -> int:
    """Adds to the count."""
    ctx.state["count"] = ctx.state.get("count", 0) + by
    ctx.state["paint"] = {"colour": colour}
    ctx.emit("added", {"by": by})
    return int(ctx.state["count"])


@tool("workshop.ask")
async def ask(ctx: Any, question: str) -> Any:
    """Waits for a person."""
    answer = await ctx.suspend("person", "ask", [question])
    ctx.state["answer"] = answer
    return answer


@tool("workshop.anything")
def anything(ctx: Any, **given: Any) -> Any:
    """Takes what it gets, if that has a name."""
    if "name" not in given:
        raise ValueError("There is no name.")
    return given


@tool("hive.tell")
def tell(ctx: Any, first: int, count: int) -> None:
    """Publishes so many events, whose data are their numbers."""
    for n in range(first, first + count):
        ctx.publish(f"burst.{n % 10}", n)


@tool("seed.make_move")
def make_move(ctx: Any, **squares: str) -> dict[str, Any]:
    """The seed's: a move of a game."""
    ctx.state["current_phase"] = "review"
    return {"success": True, "move": f"{squares['from']}-{squares['to']}"}
