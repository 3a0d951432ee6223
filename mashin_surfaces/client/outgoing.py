"""What a client has to say: calls that wait for an answer, and remarks that do not.

Bounded: who has too much to say waits for its turn. A call that is not answered when the
connection breaks is said again on the next one, with the same id, or fails as ``interrupted``.
What is sent on which socket is left to ``connection.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import ClientError, Interrupted


@dataclass(slots=True, eq=False)
class Call:
    """Something that is answered. ``spell``: its frame, as it reads at the moment it is sent.

    ``is_repeatable``: the server does it once, however often it is said. ``is_streamed``: what is
    waited for comes as events before the answer.
    """

    id: str
    spell: Callable[[], str]
    is_repeatable: bool = True
    is_streamed: bool = False
    times_sent: int = 0
    answer: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Outgoing:
    """One client's way out. ``most``: calls that are on their way at once; more wait."""

    def __init__(self, most: int, called: Callable[[], None]) -> None:
        self._turns = asyncio.Semaphore(most)
        self._called = called
        self._calls: dict[str, Call] = {}
        self._queue: deque[Call | str] = deque()
        self._is_held = True
        self._ended: ClientError | None = None
        self._changed = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits for an answer alone."""
        return any(not call.is_streamed for call in self._calls.values())

    async def ask(
        self,
        id: str,
        spell: Callable[[], str],
        *,
        is_repeatable: bool = True,
        is_streamed: bool = False,
    ) -> Any:
        """The answer.

        Raises ``ClientError``: what the server answered, or that no answer can come.
        """
        async with self._turns:
            while (before := self._calls.get(id)) is not None:  # somebody asks just the same
                await asyncio.wait([before.answer])
                await asyncio.sleep(0)
            if self._ended is not None:
                raise self._ended
            call = Call(id, spell, is_repeatable, is_streamed)
            self._calls[id] = call
            self._queue.append(call)
            self._changed.set()
            self._called()
            try:
                return await call.answer
            finally:
                self._calls.pop(id, None)

    def say(self, text: str) -> None:
        """Send what has no answer, if the connection is there: who joins anew says it anyway."""
        if not self._is_held:
            self._queue.append(text)
            self._changed.set()

    async def next(self) -> str:
        """The next frame to send."""
        while self._is_held or not self._queue:
            self._changed.clear()
            await self._changed.wait()
        item = self._queue.popleft()
        if isinstance(item, str):
            return item
        item.times_sent += 1
        if item.answer.done():
            return ""
        try:
            return item.spell()
        except Exception as error:  # this call's defect, and nobody else's
            item.answer.set_exception(error)
            return ""

    def go(self) -> None:
        """The other side listens: send what waits."""
        self._is_held = False
        self._changed.set()

    def hold(self) -> None:
        """The connection broke: everything that is not answered is to be said again."""
        self._is_held = True
        for call in tuple(self._calls.values()):
            if call.times_sent and not call.is_repeatable:
                message = "The connection broke before the answer came: it may have been done."
                self.fail(call.id, Interrupted("interrupted", message))
        self._queue = deque(call for call in self._calls.values() if not call.answer.done())

    def find(self, id: str) -> Call | None:
        """The call with this id, when it still waits."""
        return self._calls.get(id)

    def answer(self, id: str, value: Any) -> None:
        """Tell who asked; nobody, when it has been told already."""
        call = self._calls.get(id)
        if call is not None and not call.answer.done():
            call.answer.set_result(value)

    def fail(self, id: str, error: ClientError) -> None:
        """Tell who asked that it was refused."""
        call = self._calls.get(id)
        if call is not None and not call.answer.done():
            call.answer.set_exception(error)

    def fail_sent(self, error: ClientError) -> None:
        """Give up what has been sent and is not answered."""
        for call in tuple(self._calls.values()):
            if call.times_sent:
                self.fail(call.id, error)

    def fail_all(self, error: ClientError) -> None:
        """Give up everything that is not answered."""
        for id in tuple(self._calls):
            self.fail(id, error)

    def end(self, error: ClientError) -> None:
        """Nothing more is sent."""
        self._ended = error
        self.fail_all(error)
