"""200 agents on one namespace, ten events a second each, for a minute."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.incubators.conftest import Hive
from tests.incubators.crowd import (
    CROWD,
    check_nothing_is_lost,
    look_on,
    publish_by_the_clock,
    resident,
)

logger = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(240)]

SECONDS = 60.0
#: Bytes by which the server may grow from the tenth second on, in which 100,000 events pass.
MOST_GROWTH = 50 * 1024 * 1024


async def sampled(hive: Hive) -> list[int]:
    """The server's memory every 10 seconds, until it is cancelled."""
    found = []
    try:
        while True:
            await asyncio.sleep(10)
            found.append(resident(hive))
    except asyncio.CancelledError:
        return found


async def test_a_minute_of_a_crowd_loses_nothing_and_is_counted_to_the_event(
    hive: Hive, token: str
) -> None:
    """120,000 events by the clock. A machine that can't keep up has said fewer in that minute, and
    what it has said is complete all the same."""
    namespace = hive.fresh()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(150), AsyncExitStack() as stack:
        enter = stack.enter_async_context
        looking = asyncio.ensure_future(look_on(hive, namespace, token))
        agents = [
            await enter(hive.agent(namespace, token, agentId=f"a{number}", types="-"))
            for number in range(CROWD)
        ]
        for agent in agents:
            await agent.until("dance_tools")
        memory = asyncio.ensure_future(sampled(hive))
        began = loop.time()
        published = await asyncio.gather(
            *(
                publish_by_the_clock(agent, number, began, SECONDS)
                for number, agent in enumerate(agents)
            )
        )
        took = loop.time() - began
        memory.cancel()
        await hive.http("POST", f"/api/{namespace}/events", {"type": "end"}, token=token)
        heard = await looking
    logger.info("%d events in %.1f s", sum(map(len, published)), took)
    check_nothing_is_lost(heard, published)
    counted = (await hive.http("GET", f"/api/{namespace}/metrics", token=token)).json()
    by_type = Counter(f"load.t{each.number % 10}" for each in heard)
    assert counted["eventCounts"] == {**by_type, "end": 1}
    held = await memory
    assert max(held) - held[0] < MOST_GROWTH, held
