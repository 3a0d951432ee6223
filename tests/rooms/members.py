"""Members of rooms as tests see them: what they get, in order, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from mashin_surfaces.rooms.events import Event
from mashin_surfaces.rooms.outbox import Outbox

#: Seconds within which anything happens.
PATIENCE = 30.0


class Reset(NamedTuple):
    """The member was told that its log was cleared."""

    epoch: str
    offset: int


class Closed(NamedTuple):
    """The member was told that nothing more comes."""

    is_gone: bool


class Listening:
    """A member that takes everything; ``got`` has texts, resets and the end, as they came."""

    merge: Callable[[Sequence[Event]], Sequence[Event]] | None = None

    def __init__(self, *names: str, spelling: Hashable = "plain") -> None:
        self.names: Sequence[str] = names
        self.spelling = spelling
        self.got: list[str | Reset | Closed] = []
        self._came = asyncio.Event()
        self.outbox = Outbox(self._take, None, self._overflow)

    def encode(self, event: Event) -> str | None:
        return f"{event.offset}:{event.payload}"

    def may_replay(self) -> bool:
        return True

    def was_reset(self, epoch: str, offset: int) -> None:
        self._note(Reset(epoch, offset))

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        assert reason.endswith(("closed.", "again."))
        self._note(Closed(is_gone))

    async def _take(self, text: str) -> None:
        self._note(text)

    def _overflow(self) -> None:
        raise AssertionError("it takes everything at once")

    def _note(self, what: str | Reset | Closed) -> None:
        self.got.append(what)
        self._came.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns when it holds, which is looked at whenever something came."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def has_got(self, *expected: str | Reset | Closed) -> None:
        """Returns when as many things came; they must be these."""
        await self.until(lambda: len(self.got) >= len(expected))
        assert self.got == list(expected)
