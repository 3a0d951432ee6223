"""The tools of the tests' incubators."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from mashin_surfaces import charge, tool


@tool("bus.increment")
async def increment(ctx: Any, by: int = 1) -> int:
    """Reads, lets others run, writes: an update is lost unless calls run one at a time."""
    before = ctx.state.get("count", 0)
    await asyncio.sleep(0)
    ctx.state["count"] = before + by
    ctx.emit("incremented", {"by": by})
    return int(before + by)


@tool("bus.break")
def break_halfway(ctx: Any) -> None:
    """Stages much, and fails."""
    ctx.state["half"] = True
    ctx.bus.publish("never", {})
    ctx.claim("thing")
    raise ValueError("broken halfway")


@tool("bus.take")
def take(ctx: Any, resource: str) -> dict[str, Any]:
    """Claims for whoever calls."""
    return {"taken": ctx.claim(resource), "agent": ctx.agent}


@tool("bus.spend")
def spend(ctx: Any, amount: float) -> str:
    """Costs something."""
    charge(amount, model="test", input_tokens=10, output_tokens=5)
    return "spent"


@tool("bus.answer")
def answer(ctx: Any) -> str:
    """Publishes what another agent waits for."""
    ctx.publish("turn.player_2", {"move": 1})
    return "published"


@tool("bus.write")
def write(ctx: Any, key: str, value: Any) -> None:
    """Writes one key."""
    ctx.state[key] = value


@tool("bus.make_move")
def make_move(ctx: Any, **squares: str) -> dict[str, Any]:
    """The seed's: a move of a game."""
    move = f"{squares['from']}-{squares['to']}"
    ctx.state["current_phase"] = "review"
    ctx.publish("moved", {"role": ctx.role})
    charge(0.45, model="test", input_tokens=15_000)
    return {"success": True, "move": move}


@tool("bus.spend_and_spoil")
def spend_and_spoil(ctx: Any, amount: float) -> None:
    """Costs something, and wants to keep what can't be kept."""
    charge(amount, model="test")
    ctx.state["half"] = True
    ctx.state["x" * 500] = True


#: What went in, and may go on, of the calls of ``meet``: by the name of their meeting.
_meetings: dict[str, set[asyncio.Event]] = {}


@tool("bus.meet")
async def meet(ctx: Any, name: str, others: int) -> int:
    """Ends when so many others are in it at the same moment in this process."""
    met = _meetings.setdefault(name, set())
    arrived = asyncio.Event()
    met.add(arrived)
    if len(met) > others:
        for each in met:
            each.set()
    await arrived.wait()
    ctx.publish("met", {"name": name})
    return len(met)


@tool("bus.await_file")
def await_file(ctx: Any, path: str, key: str, value: Any, amount: float = 0) -> str:
    """Says that it runs by a file, and writes a key when a second one is there."""
    Path(f"{path}.runs").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    charge(amount, model="test", input_tokens=10)
    ctx.state[key] = value
    return "written"
