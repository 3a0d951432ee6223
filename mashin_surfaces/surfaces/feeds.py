"""Feeds: a surface that says ``subscribe: field`` and ``every: "2s"`` runs its machine for each
topic that somebody listens to, and publishes what it answers.

In every process that has listeners a task tries to hold the topic's lease; the one that holds it
runs the machine. When its process dies, another one takes over once the lease has run out. A
machine that streams is run once instead, and each of its results is published.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any

from ..commit import CommitFailed
from ..exceptions import Refusal
from ..governance.door import Door, door_within
from ..governance.govern import Answer, Caller, govern, govern_stream
from ..identity.principal import Credential, Principal
from ..identity.scopes import Scopes
from ..loops import PerLoop
from ..machines.schemas import dumps
from ..rooms.appending import RoomIsGone
from ..rooms.events import NewEvent
from ..rooms.log import aappend
from ..rooms.topics import RESULT
from ..timers.holding import Holding
from .routes import Route, routes

logger = logging.getLogger(__name__)

#: The kind of the lease, and in whose name the machine runs.
LEASE = "feed"
PRINCIPAL = "feed"
#: Seconds between two tries to get the lease, and two looks whether it is still ours.
RETRY = 0.5


class Feed:
    """One topic's feed, as this process takes part in it."""

    def __init__(self, route: Route, room: int, topic: str, value: dict[str, Any]) -> None:
        self.listeners = 0
        self._route = route
        self._machine = "" if route.door is None else route.door.name
        self._room = room
        self._topic = topic
        self._value = value
        self._last: str | None = None
        self._holding = Holding(LEASE, str(room))
        self._tried = asyncio.Event()
        self._is_heard = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._take_part())

    async def is_under_way(self) -> bool:
        """Whether the last result in the log is of now: somebody runs the machine, and not only
        from this moment on."""
        await self._tried.wait()
        return self._last is not None or not self._holding.is_held

    def begin(self) -> None:
        """Somebody has joined the topic: what the machine answers from now on is heard."""
        self._is_heard.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _take_part(self) -> None:
        """Run the machine while we hold the lease; else see whether somebody stopped."""
        try:
            while True:
                is_ours = await self._holding.take()
                self._tried.set()
                if is_ours:
                    await self._feed_while_held()
                await asyncio.sleep(RETRY)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("The feed of %r failed and is given up.", self._topic)
        finally:
            self._tried.set()
            await self._holding.give_up()

    async def _feed_while_held(self) -> None:
        self._last = None  # the first result is news, whatever was before
        feeding = asyncio.get_running_loop().create_task(self._feed())
        try:
            while self._holding.is_held and not feeding.done():
                await asyncio.wait([feeding], timeout=RETRY)
            if feeding.done():
                feeding.result()
        finally:
            feeding.cancel()
            self._last = None

    async def _feed(self) -> None:
        """Run by the clock; what a slow run has missed is not made up for."""
        await self._is_heard.wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while (door := self._door()) is not None and feeds_topics(door):
            await self._run(door)
            every: float | None = door.options.get("every")
            if every is None:  # a stream that ended is not run again
                await asyncio.Event().wait()
                return
            due = max(due + every, loop.time())
            await asyncio.sleep(due - loop.time())

    def _door(self) -> Door | None:
        """The surface may have moved to another path since somebody began to listen."""
        if self._route.door is None:
            self._route = routes.source_of(self._machine) or self._route
        return self._route.door

    async def _run(self, door: Door) -> None:
        within = door_within(door.machine, "feed", door.path)
        caller = Caller(Principal(PRINCIPAL, Credential("none"), Scopes(within.grant)))
        if not door.machine.program.is_stream:
            answer = await govern(within, caller, self._value, coerced=True)
            await self._publish(door, answer)
            return
        async with aclosing(govern_stream(within, caller, self._value, coerced=True)) as answers:
            async for answer in answers:
                await self._publish(door, answer)

    async def _publish(self, door: Door, answer: Answer) -> None:
        """What changed, or everything; a refusal is in the ledger, and is no result."""
        if answer.result is None or not self._holding.is_held:
            return
        text = dumps(answer.result).decode()
        if text == self._last and door.options.get("push", "changes") == "changes":
            return
        event = NewEvent(RESULT, text, actor=PRINCIPAL, request_id=answer.request_id)
        try:
            await aappend(self._room, [event])
        except (CommitFailed, Refusal, RoomIsGone) as error:
            logger.warning("A result of the feed of %r is not published: %s", self._topic, error)
        else:
            self._last = text


def feeds_topics(door: Door) -> bool:
    """Whether the surface runs its machine for its topics."""
    if door.options.get("subscribe") is None:
        return False
    return door.options.get("every") is not None or door.machine.program.is_stream


_feeds: PerLoop[dict[int, Feed]] = PerLoop(dict)


def listen(route: Route, room: int, topic: str, value: dict[str, Any]) -> Feed:
    """Have a topic fed while somebody listens: ``begin`` it, and ``leave`` for each ``listen``."""
    feeds = _feeds.here()
    feed = feeds.get(room)
    if feed is None:
        feed = feeds[room] = Feed(route, room, topic, value)
    feed.listeners += 1
    return feed


def leave(room: int) -> None:
    """One listener less; without any the feed ends here."""
    feeds = _feeds.here()
    feed = feeds.get(room)
    if feed is not None:
        feed.listeners -= 1
        if not feed.listeners:
            del feeds[room]
            feed.stop()
