"""Tools that the panels' tests use. Loaded through MASHIN_MODULES."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from typing import Any

from mashin_surfaces import tool

_gates: dict[str, asyncio.Event] = {}


@tool("panel.add")
def add(ctx: Any, by: int = 1, key: str = "count") -> int:
    ctx.state[key] = ctx.state.get(key, 0) + by
    ctx.emit("added", {"by": by})
    return int(ctx.state[key])


@tool("panel.increment")
async def increment(ctx: Any) -> int:
    """Reads, lets others run, and writes: where an update could be lost."""
    before = ctx.state.get("count", 0)
    await asyncio.sleep(0)
    ctx.state["count"] = before + 1
    return int(before + 1)


@tool("panel.burst")
async def burst(ctx: Any, number: int, events: int) -> int:
    """As many events as it is told; with an odd number also a change."""
    if number % 2:
        ctx.state["last"] = number
    for each in range(events):
        ctx.emit(f"burst.{each}", {"number": number})
    return number


@tool("panel.change")
def change(ctx: Any, sets: dict[str, Any] | None = None, deletes: list[str] | None = None) -> None:
    for key, value in (sets or {}).items():
        ctx.state[key] = value
    for key in deletes or []:
        ctx.state.pop(key, None)


@tool("panel.odd")
def odd(ctx: Any) -> None:
    """A value that JSON has no type for."""
    ctx.state["price"] = Decimal("1.10")


@tool("panel.append")
def append(ctx: Any, value: Any) -> int:
    """Changes a list where it is."""
    ctx.state.setdefault("items", [])
    ctx.state["items"].append(value)
    return len(ctx.state["items"])


@tool("panel.fail")
def fail(ctx: Any, how: str = "raise") -> Any:
    ctx.state["count"] = -1
    ctx.state["items"] = ["never"]
    ctx.emit("never")
    if how == "raise":
        raise RuntimeError("secret detail 4711")
    if how == "return":
        return object()
    if how == "state":
        ctx.state["bad"] = {1, 2}
    elif how == "huge":
        ctx.state["bad"] = 10**40
    elif how == "nul":
        ctx.state["bad"] = ["a\x00b"]
    return None


@tool("panel.many")
def many(ctx: Any, changes: int = 0, events: int = 0, size: int = 0) -> None:
    for number in range(changes):
        ctx.state[f"k{number}"] = number
    for number in range(events):
        ctx.emit("many", number)
    if size:
        ctx.state["big"] = "x" * size


@tool("panel.hold")
async def hold(ctx: Any, gate: str) -> str:
    """Says that it has begun, and waits until ``panel.release`` names its gate."""
    ctx.state["held"] = gate
    event = _gates.setdefault(gate, asyncio.Event())
    ctx.progress("began", {"gate": gate})
    await event.wait()
    return gate


@tool("panel.release")
async def release(ctx: Any, gate: str) -> None:
    _gates.setdefault(gate, asyncio.Event()).set()


@tool("panel.ask")
async def ask(ctx: Any, question: str, seconds: float = 3600.0) -> Any:
    ctx.state["asked"] = ctx.state.get("asked", 0) + 1
    ctx.emit("asked", question)
    answer = await ctx.suspend("person", "ask", [question], seconds)
    ctx.state["answer"] = answer
    ctx.emit("answered", answer)
    return answer


@tool("panel.ask_twice")
async def ask_twice(ctx: Any) -> list[Any]:
    first = await ctx.suspend("person", "ask", ["first"])
    ctx.state["first"] = first
    second = await ctx.suspend("person", "ask", ["second"])
    ctx.state["second"] = second
    return [first, second]


@tool("panel.fired")
async def fired(ctx: Any, **payload: Any) -> None:
    """What a trigger fires: leaves the process that ran it."""
    ctx.emit("fired", {"process": os.getpid(), **payload})


@tool("panel.ask_hold")
async def ask_hold(ctx: Any, gate: str) -> Any:
    """Waits for a person, and then for its gate."""
    answer = await ctx.suspend("person", "ask", [gate])
    ctx.state["answer"] = answer
    ctx.progress("answered")
    await _gates.setdefault(gate, asyncio.Event()).wait()
    return answer
