"""The effects of the demo machines: real numbers of the computer and the project behind them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from mashin_surfaces import apublish, effect, tool

MetricName = Literal["cpu_usage", "memory_usage", "disk_usage", "load"]
Service = Literal["web", "api", "worker"]
HOME = str(Path(__file__).resolve().parent)


@dataclass(frozen=True, slots=True)
class CpuSample:
    """Seconds that all cores have been busy, and have been there at all, since boot."""

    at: float
    busy: float
    total: float

    @classmethod
    def now(cls) -> CpuSample:
        times = psutil.cpu_times()._asdict()
        # Linux counts the time of guests within user and nice as well.
        total = sum(times.values()) - times.get("guest", 0) - times.get("guest_nice", 0)
        idle = times["idle"] + times.get("iowait", 0)
        return cls(time.monotonic(), total - idle, total)


class CpuMeter:
    """How busy the processor is, in percent, over the time since the reading before.

    The counters tick a hundred times a second, so a span is at least ``SHORTEST`` seconds: a
    reading that comes sooner gets the last value, and the first one waits that long. An average
    over more than ``LONGEST`` seconds is not "now": then a new span is begun, and waited for.
    """

    SHORTEST = 0.25
    LONGEST = 10.0

    def __init__(self) -> None:
        self._start = CpuSample.now()
        self._percent: float | None = None

    async def read(self) -> float:
        age = time.monotonic() - self._start.at
        if age > self.LONGEST:
            self._start, self._percent, age = CpuSample.now(), None, 0.0
        if age < self.SHORTEST and self._percent is None:
            await asyncio.sleep(self.SHORTEST - age)
        return self._measured()

    def _measured(self) -> float:
        """The value of the span that ends now, or of the last one when this one is too short."""
        end = CpuSample.now()
        span = end.total - self._start.total
        # Of those who waited for the same span, the first has measured it.
        too_short = end.at - self._start.at < self.SHORTEST * 0.9 and self._percent is not None
        if span > 0 and not too_short:
            busy = (end.busy - self._start.busy) / span
            self._percent = round(100 * min(max(busy, 0.0), 1.0), 1)
            self._start = end
        return self._percent or 0.0


cpu = CpuMeter()


@effect("metrics.latest")
async def latest(name: MetricName) -> dict[str, Any]:
    """``{"value": number, "timestamp": datetime}``: percent; ``load`` is the minute's average."""
    match name:
        case "cpu_usage":
            value = await cpu.read()
        case "memory_usage":
            value = psutil.virtual_memory().percent
        case "disk_usage":
            value = psutil.disk_usage(HOME).percent
        case "load":
            value = round(psutil.getloadavg()[0], 2)
    return {"value": value, "timestamp": datetime.now(UTC)}


@effect("release.changelog")
def changelog(version: str) -> dict[str, Any]:
    """``{"found": bool, "entries": int}``: whether CHANGELOG.md names the version, and how many
    lines stand under it, or else under what is not released yet."""
    text = (settings.BASE_DIR / "CHANGELOG.md").read_text()
    parts = {part.partition("]")[0]: part for part in text.split("\n## [")[1:]}
    part = parts.get(version, parts.get("Unreleased", ""))
    return {"found": version in parts, "entries": part.count("\n- ")}


@effect("release.disk")
def disk(wanted: float) -> dict[str, Any]:
    """``{"enough": bool, "free_gigabytes": number}``."""
    free = round(psutil.disk_usage(HOME).free / 1e9, 1)
    return {"enough": free >= wanted, "free_gigabytes": free}


@effect("release.migrations")
def migrations() -> dict[str, Any]:
    """``{"applied": bool, "waiting": int}``: the migrations that this database does not have."""
    executor = MigrationExecutor(connection)
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return {"applied": not waiting, "waiting": waiting}


@effect("release.publish", idempotent=False)
async def publish(version: str, approved_by: str) -> dict[str, Any]:
    """Tell everybody who follows the machine ``releases``: that can't be taken back."""
    now = datetime.now(UTC)
    await apublish("releases", {"version": version, "approved_by": approved_by, "at": now})
    return {"version": version, "released": True, "at": now}


@tool("deployments.deploy")
async def deploy(ctx: Any, service: Service, version: str) -> dict[str, Any]:
    """Asks a person, and then says on the panel what runs where."""
    answer = await ctx.suspend("person", "ask", [f"Deploy {service} {version}? Say yes or no."])
    is_wanted = str(answer).strip().lower() in {"yes", "y", "true"}
    if is_wanted:
        ctx.state["running"] = {**ctx.state.get("running", {}), service: version}
        ctx.state["deployments"] = ctx.state.get("deployments", 0) + 1
    ctx.emit("deployed" if is_wanted else "declined", {"service": service, "version": version})
    return {"service": service, "version": version, "deployed": is_wanted}


@tool("deployments.note")
def take_note(ctx: Any, text: str, is_urgent: bool = False) -> int:
    """Puts a note on the panel; how many there are."""
    ctx.state["notes"] = [*ctx.state.get("notes", [])[-9:], {"text": text, "urgent": is_urgent}]
    ctx.emit("noted", {"text": text})
    return len(ctx.state["notes"])


@tool("word_count.start")
def start_counting(ctx: Any, text: str, pieces: int = 12) -> int:
    """Cuts a text into at most so many pieces, each some of its words; how many there are."""
    words = text.split()
    size = max(1, -(-len(words) // max(1, pieces)))
    cut = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
    for key in [key for key in ctx.state if key == "total" or key.startswith("piece.")]:
        del ctx.state[key]
    for number, piece in enumerate(cut):
        ctx.state[f"piece.{number}"] = piece
    ctx.state["counts"] = [None] * len(cut)
    ctx.emit("job.started", {"pieces": len(cut)})
    return len(cut)


@tool("word_count.deliver")
def deliver_count(ctx: Any, piece: int, words: int) -> bool:
    """Takes a piece's count, once; whether all are there. Then their sum is the total."""
    counts = list(ctx.state.get("counts", []))
    if not 0 <= piece < len(counts):
        raise ValueError(f"There is no piece {piece}.")
    if counts[piece] is None:
        counts[piece] = words
        ctx.state["counts"] = counts
        ctx.emit("words.counted", {"piece": piece, "words": words})
        if None not in counts:
            ctx.state["total"] = sum(counts)
            ctx.emit("job.done", {"words": sum(counts)})
    return None not in counts
