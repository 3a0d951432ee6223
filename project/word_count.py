"""Agents that divide the counting of a text's words: three processes on one bus, beside `make run`.

    .venv/bin/python -m project.word_count README.md

Each is a program of its own that knows the bus alone: no Django, no settings, no other agent. It
claims a piece, counts it, and calls the tool that takes the count. One that dies loses its claim
after ``--ttl`` seconds, and another one counts its piece. The tools are in ``machines.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from mashin_surfaces.client import (
    BusEvent,
    ClaimChanged,
    ClaimLost,
    ClientError,
    Gap,
    IncubatorClient,
    StateChanged,
)


async def work(bus: IncubatorClient, *, ttl: float, pace: float) -> None:
    """Count pieces until all are counted. ``pace``: seconds for each, so that there is something
    to see; ``ttl``: seconds after which others may have what a dead agent has claimed."""
    news = bus.events(StateChanged, ClaimChanged, Gap)
    while not is_done(bus):
        if not await count_any(bus, ttl=ttl, pace=pace):
            await anext(news)  # somebody has counted one, or a claim is free again


def is_done(bus: IncubatorClient) -> bool:
    return "total" in bus.state


async def count_any(bus: IncubatorClient, *, ttl: float, pace: float) -> bool:
    """Count a piece that nobody has counted or claimed; False when there is none."""
    counts: Sequence[int | None] = bus.state.get("counts", ())
    left = [piece for piece, words in enumerate(counts) if words is None]
    random.shuffle(left)  # not all the same first
    for piece in left:
        try:
            async with bus.claim(f"piece/{piece}", ttl=ttl) as claim:
                if bus.state["counts"][piece] is None:
                    await bus.publish("piece.begun", {"piece": piece, "fence": claim.fence})
                    await asyncio.sleep(pace)
                    words = len(str(bus.state[f"piece.{piece}"]).split())
                    await bus.call("deliver", {"piece": piece, "words": words})
            return True
        except ClaimLost:  # it took longer than the claim lasts: look again what is left
            return True
        except ClientError as error:
            if error.code != "claimed":
                raise
    return False


async def agent(name: str, url: str, namespace: str, *, ttl: float, pace: float) -> None:
    """One agent, from its arrival until the total is there."""
    async with IncubatorClient(url, namespace=namespace, agent_id=name) as bus:
        await work(bus, ttl=ttl, pace=pace)


async def lead(options: argparse.Namespace) -> int:
    """Start a job and its agents; tell what happens, and return the total."""
    url, namespace = options.url, options.namespace
    async with IncubatorClient(url, namespace=namespace, agent_id="lead") as bus:
        told = bus.events(BusEvent)
        text = options.text.read_text(encoding="utf-8")
        await bus.call("start", {"text": text, "pieces": options.pieces})
        agents = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "project.word_count", "--agent", f"worker-{number}",
                "--url", url, "--namespace", namespace,
                "--ttl", str(options.ttl), "--pace", str(options.pace),
            )
            for number in range(1, options.agents + 1)
        ]  # fmt: skip
        try:
            async for event in told:
                print(f"{event.agent_id}: {event.type} {event.data}", flush=True)
                if event.type == "job.done":
                    return int(event.data["words"])
        finally:
            for process in agents:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
    raise AssertionError("The bus ends when it is left.")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="project.word_count", description=__doc__)
    parser.add_argument("text", nargs="?", type=Path, default=Path("README.md"))
    parser.add_argument("--url", default="ws://127.0.0.1:9000/ws")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--pieces", type=int, default=12)
    parser.add_argument("--ttl", type=float, default=5.0)
    parser.add_argument("--pace", type=float, default=0.5)
    parser.add_argument("--agent", metavar="NAME", help="be one agent of a job that runs")
    options = parser.parse_args(words)
    if options.agent is None:
        print(f"{asyncio.run(lead(options))} words")
    else:
        asyncio.run(
            agent(options.agent, options.url, options.namespace, ttl=options.ttl, pace=options.pace)
        )


if __name__ == "__main__":
    main()
