"""The demo's numbers are the host's."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from project.machines import CpuMeter, CpuSample, MetricName, latest


@pytest.mark.parametrize("name", ["cpu_usage", "memory_usage", "disk_usage"])
async def test_a_share_is_a_percentage_read_just_now(name: MetricName) -> None:
    answer = await latest(name)
    assert 0 <= answer["value"] <= 100
    assert datetime.now(UTC) - answer["timestamp"] < timedelta(seconds=5)


async def test_the_memory_is_the_hosts() -> None:
    assert (await latest("memory_usage"))["value"] == pytest.approx(
        psutil.virtual_memory().percent, abs=10
    )


async def test_the_load_is_the_hosts() -> None:
    assert (await latest("load"))["value"] == pytest.approx(psutil.getloadavg()[0], abs=2)


def burn(seconds: float) -> None:
    """Keep one core busy for so much of its own time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


async def test_work_since_the_last_reading_is_seen() -> None:
    meter = CpuMeter()
    await asyncio.to_thread(burn, 1.0)
    one_core = 100 / (psutil.cpu_count() or 1)
    # One core's worth of work was done while at least that core was there.
    assert await meter.read() > one_core / 4


async def test_the_first_reading_waits_for_a_span_worth_measuring() -> None:
    meter = CpuMeter()
    start = CpuSample.now()
    value = await meter.read()
    assert time.monotonic() - start.at >= CpuMeter.SHORTEST * 0.9
    assert 0 <= value <= 100


async def test_a_reading_at_once_after_another_gives_the_same_without_waiting() -> None:
    meter = CpuMeter()
    first = await meter.read()
    begin = time.monotonic()
    again = [await meter.read() for _ in range(20)]
    if time.monotonic() - begin < CpuMeter.SHORTEST:  # a stalled machine proves nothing
        assert again == [first] * 20


async def test_readers_of_the_same_moment_share_one_measurement() -> None:
    meter = CpuMeter()
    values = await asyncio.gather(*(meter.read() for _ in range(10)))
    assert len(set(values)) == 1
