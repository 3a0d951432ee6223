"""What there is once for each loop."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

from mashin_surfaces.loops import PerLoop


class Thing:
    """As a hub or an engine, it knows its loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


def test_each_loop_has_its_own_and_keeps_it() -> None:
    things = PerLoop(Thing)

    async def twice() -> Thing:
        assert things.here() is things.here()
        return things.here()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(twice()), other.run(twice())
        assert (first.loop, second.loop) == (one.get_loop(), other.get_loop())
        assert things.everywhere() == (first, second)


def test_what_closed_loops_had_is_not_kept() -> None:
    things = PerLoop(Thing)

    async def here() -> ref[Thing]:
        return ref(things.here())

    seen = [asyncio.run(here()) for _ in range(20)]
    gc.collect()
    assert [each() for each in seen[:-1]] == [None] * 19
    assert len(things.everywhere()) == 1
