"""What the benchmarks' machines ask."""

from __future__ import annotations

from typing import TypedDict

from mashin_surfaces import apublish, effect


class Published(TypedDict):
    sequence: int


@effect("bench.publish")
async def publish(sequence: int, text: str, durable: bool) -> Published:
    """To everyone who follows the topic "all" of ``bench_room``."""
    value = {"sequence": sequence, "text": text}
    await apublish("bench_room", value, topic="all", durable=durable)
    return {"sequence": sequence}
