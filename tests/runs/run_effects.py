"""The effects that the tests' runs ask; what they do is written down in ``done``."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

from mashin_surfaces import charge, effect

#: How often each effect was asked, by what it was called with.
done: Counter[str] = Counter()
#: Effects that wait here until the test lets them go on.
gates: dict[str, asyncio.Event] = {}
running: set[str] = set()
most_at_once = 0


def forget() -> None:
    """As if nothing had been done."""
    global most_at_once  # noqa: PLW0603  the tests' own book
    done.clear()
    gates.clear()
    running.clear()
    most_at_once = 0


def gate(name: str) -> asyncio.Event:
    """What the effect called so waits for."""
    return gates.setdefault(name, asyncio.Event())


async def has_begun(name: str) -> None:
    """Returns when the effect called so runs."""
    async with asyncio.timeout(60):
        while name not in running:  # noqa: ASYNC110  the effect knows nothing of tests that wait
            await asyncio.sleep(0.01)


@effect("run.note")
async def note(name: str = "note", value: Any = None) -> dict[str, Any]:
    """Does nothing but be done."""
    done[name] += 1
    return {"name": name, "value": value, "times": done[name]}


@effect("run.wait")
async def wait(name: str) -> dict[str, Any]:
    """Goes on when the test says so."""
    global most_at_once  # noqa: PLW0603  the tests' own book
    done[name] += 1
    running.add(name)
    most_at_once = max(most_at_once, len(running))
    try:
        await gate(name).wait()
    finally:
        running.discard(name)
    return {"name": name}


@effect("run.send", idempotent=False)
async def send(name: str = "send") -> dict[str, Any]:
    """Must not be done twice."""
    done[name] += 1
    if name in gates:
        await gates[name].wait()
    return {"sent": name}


@effect("run.fail")
def fail(name: str = "fail", times: int = 1_000) -> dict[str, Any]:
    """Fails so many times; on a thread."""
    done[name] += 1
    if done[name] <= times:
        raise RuntimeError("secret detail")
    return {"name": name, "thread": threading.current_thread().name}


@effect("run.spend")
async def spend(name: str, amount: float) -> dict[str, Any]:
    """Costs something."""
    done[name] += 1
    charge(amount, model="test", input_tokens=3, output_tokens=2)
    return {"spent": amount}


@effect("run.spend_and_wait")
async def spend_and_wait(name: str, amount: float, is_stubborn: bool) -> dict[str, Any]:
    """Costs something and goes on when the test says so; a stubborn one does not end before."""
    charge(amount)
    running.add(name)
    while True:
        try:
            await gate(name).wait()
        except asyncio.CancelledError:
            if is_stubborn:
                continue
            raise
        finally:
            running.discard(name)
        return {"name": name}


@effect("run.big")
def big(size: int) -> dict[str, Any]:
    """Gives much."""
    return {"text": "x" * size}


@effect("run.odd")
def odd() -> dict[str, Any]:
    """Gives what no database keeps."""
    return {"text": "\0"}
