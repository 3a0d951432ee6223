"""The hub: what this process hears of its rooms, and the way from there to every member.

bell ─► in order? ─► encode once for each spelling ─► every member's outbox
          └─ a hole ─► read the log

A room is joined once in the layer, however many members it has here. Offsets tell what is new,
known, or missing; every ``POLL`` seconds the heads are compared with the database, so that a bell
that was lost, or a layer that is down, delays an event and loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from channels.layers import get_channel_layer
from django.db import Error as DatabaseTrouble

from ..loops import PerLoop
from . import doorbell
from .events import Bell
from .live import Joined, LiveRoom, Member, Place
from .log import alook

logger = logging.getLogger(__name__)

#: Seconds between two comparisons of the heads with the database.
POLL = 2.0
#: Rooms whose heads are asked for by one query.
MOST_ASKED = 500


#: Called with what another process told that is of no room (``doorbell.tell``).
on_news: list[Callable[[str], None]] = []


class Hub:
    """All rooms of one process that have members on one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        #: Why pushes are slower than they should be; None when they are not.
        self.trouble: str | None = None
        self._rooms: dict[int, LiveRoom] = {}
        self._unheard: set[int] = set()
        self._unconfirmed: dict[str, LiveRoom] = {}
        self._channel: str | None = None
        self._polling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._echo = ""
        self._has_echoed = True
        self._said: str | None = None

    def start(self) -> None:
        """Listen from now on; on the loop."""
        if self._polling is None:
            doorbell.listeners.add(self)
            self._polling = self.loop.create_task(self._poll())
            if doorbell.reaches_others():
                self._listening = self.loop.create_task(self._listen())

    async def close(self) -> None:
        """End its tasks; for who ends the loop."""
        doorbell.listeners.discard(self)
        tasks = [*self._tasks, self._polling, self._listening]
        self._polling = self._listening = None
        for room in self._rooms.values():
            tasks += [room.filling, room.opening, *(place.task for place in room.places)]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    # -- members ----------------------------------------------------------------------------------

    async def join(
        self,
        id: int,
        member: Member,
        welcome: Callable[[Joined], None],
        *,
        since: int | None = None,
        epoch: str | None = None,
        back: int = 0,
    ) -> Place:
        """Put a member into a room, behind ``since``, or, without, behind the last event but
        ``back``. ``welcome`` is called first, then come the events.

        Raises ``DatabaseError`` when nobody can say where the room stands.
        """
        self.start()
        room = await self._opened(id)
        is_known = epoch is None or epoch == room.epoch
        can_resume = room.can_resume(room.last - back)
        if not (is_known and can_resume and (since is None or room.can_resume(since))):
            await self._catch_up(room)
        joined = room.beginning(since, epoch, back)
        place = Place(room, member, joined.offset)
        room.enter(place)
        welcome(joined)
        if place.position < room.last:
            room.replay(place)
        else:
            room.attach(place)
        return place

    def leave(self, place: Place) -> None:
        """Take a member out; a room without members is not followed any more."""
        place.room.detach(place)
        self._drop_if_empty(place.room)

    def _drop_if_empty(self, room: LiveRoom) -> None:
        if room.places or room.waiting or self._rooms.get(room.id) is not room:
            return
        del self._rooms[room.id]
        self._unheard.discard(room.id)
        self._unconfirmed.pop(room.echo, None)
        if room.filling is not None:
            room.filling.cancel()
        if self._channel is not None:
            forgetting = self.loop.create_task(self._forget(room.id))
            self._tasks.add(forgetting)
            forgetting.add_done_callback(self._tasks.discard)

    async def _opened(self, id: int) -> LiveRoom:
        """The room, opened by whoever comes first; others wait for the same opening."""
        room = self._rooms.get(id)
        if room is None:
            room = self._rooms[id] = LiveRoom(self, id)
            room.opening = self.loop.create_task(room.open())
        if (opening := room.opening) is not None:
            room.waiting += 1
            try:
                await asyncio.shield(opening)
            except BaseException:
                room.waiting -= 1
                has_failed = room.opening is opening and opening.done()
                if has_failed and self._rooms.get(id) is room:
                    del self._rooms[id]  # it failed: the next one tries again
                self._drop_if_empty(room)
                raise
            room.waiting -= 1
        return room

    async def _catch_up(self, room: LiveRoom) -> None:
        """Who comes from another process may know of more than was heard here, or ask for what
        was trimmed since the last poll."""
        room.waiting += 1  # it must not go meanwhile
        try:
            await room.catch_up()
        except BaseException:
            room.waiting -= 1
            self._drop_if_empty(room)
            raise
        room.waiting -= 1

    # -- the layer --------------------------------------------------------------------------------

    def heard(self, bells: Sequence[Bell]) -> None:
        """Bells of this process, after its commits."""
        for bell in bells:
            room = self._rooms.get(bell.room)
            if room is not None:
                room.heard(bell)

    def heard_news(self, topic: str) -> None:
        for listener in on_news:
            listener(topic)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                async with asyncio.timeout(doorbell.PATIENCE):
                    channel = await layer.new_channel()
                    await layer.group_add(doorbell.NEWS, channel)
                self._channel = channel
                self._unheard.update(self._rooms)
                await self._follow_unheard()
                while self._channel == channel:
                    self._heard_message(await layer.receive(channel))
            except Exception as error:
                self._channel = None
                self._unconfirmed.clear()
                self.say(f"The channel layer can't be heard: {error!r}")
                await asyncio.sleep(1.0)

    def _heard_message(self, message: dict[str, Any]) -> None:
        text = message["text"]
        if text == self._echo:
            self._has_echoed = True
            return
        room = self._unconfirmed.pop(text, None)
        if room is not None:
            if self._rooms.get(room.id) is room:
                room.is_followed()
            return
        try:
            news = doorbell.decoded(text)
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("A message in the channel layer is not ours: %r", error)
            return
        if isinstance(news, str):
            self.heard_news(news)
        elif news is not None:
            self.heard([news])

    async def follow(self, id: int) -> bool:
        """Ask to join the room's group; when that can't be done now, the poll tries again.

        The layer does not tell when we are in it, and what is published before goes past us. So
        we send the group a bell that says nothing: once we hear it, the room ``is_followed``.
        """
        room = self._rooms.get(id)
        if room is None:
            self._unheard.discard(id)
            return False
        channel = self._channel
        if channel is None:
            self._unheard.add(id)
            return False
        self._unconfirmed.pop(room.echo, None)
        group, room.echo = doorbell.group_of(id), doorbell.encoded(Bell(id, uuid4().hex, 0, 0))
        try:
            async with asyncio.timeout(doorbell.PATIENCE):
                await get_channel_layer().group_add(group, channel)
                self._unconfirmed[room.echo] = room
                message = {"type": doorbell.MESSAGE, "text": room.echo}
                await get_channel_layer().group_send(group, message)
        except Exception as error:
            self._unheard.add(id)
            self.say(f"The channel layer does not let us join: {error!r}")
            return False
        if self._channel != channel:  # it was given up meanwhile
            self._unheard.add(id)
            return False
        self._unheard.discard(id)
        return True

    async def _follow_unheard(self) -> None:
        """Join the groups of rooms that could not be joined before; as long as that goes."""
        for id in tuple(self._unheard):
            await self.follow(id)
            if id in self._unheard:
                return

    async def _forget(self, id: int) -> None:
        with suppress(Exception):  # it is only politeness
            async with asyncio.timeout(doorbell.PATIENCE):
                if id not in self._rooms and self._channel is not None:
                    group = doorbell.group_of(id)
                    await get_channel_layer().group_discard(group, self._channel)
        if id in self._rooms:  # somebody came meanwhile
            await self.follow(id)

    # -- the fallback -----------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Compare with the database, and see whether the layer still speaks with us."""
        while True:
            await asyncio.sleep(POLL)
            trouble = None
            if doorbell.reaches_others():
                trouble = await self._try_layer()
            try:
                await self._compare()
            except DatabaseTrouble as error:
                trouble = f"The rooms can't be read: {error}"
            if trouble is None:
                if self._said is not None:
                    logger.warning("Pushes are as fast as they should be again.")
                self._said = None
            else:
                self.say(trouble)
            self.trouble = trouble

    async def _compare(self) -> None:
        rooms = [room for room in self._rooms.values() if room.opening is None]
        for start in range(0, len(rooms), MOST_ASKED):
            part = rooms[start : start + MOST_ASKED]
            heads = await alook([room.id for room in part])
            for room in part:
                if self._rooms.get(room.id) is room:
                    room.compare(heads.get(room.id))

    async def _try_layer(self) -> str | None:
        """Send a message to ourselves; without its echo by the next time, listen anew."""
        await self._follow_unheard()
        if self._channel is None:
            return "The channel layer can't be heard; rooms are polled."
        if not self._has_echoed:
            await self._listen_anew()
            return "The channel layer has gone silent; rooms are polled."
        self._echo, self._has_echoed = uuid4().hex, False
        try:
            async with asyncio.timeout(doorbell.PATIENCE):
                message = {"type": doorbell.MESSAGE, "text": self._echo}
                await get_channel_layer().send(self._channel, message)
        except Exception as error:
            return f"The channel layer does not take messages; rooms are polled: {error!r}"
        if doorbell.is_down():
            doorbell.try_again()
            return "The channel layer refuses messages; rooms are polled."
        return None

    async def _listen_anew(self) -> None:
        self._channel, self._has_echoed = None, True
        self._unconfirmed.clear()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        self._listening = self.loop.create_task(self._listen())

    def say(self, trouble: str) -> None:
        """Log what is wrong, once while it lasts."""
        self.trouble = trouble
        if self._said is None:
            logger.warning("%s", trouble)
        self._said = trouble


_hubs = PerLoop(Hub)


def trouble() -> str | None:
    """Why pushes of this process are slower than they should be; None when they are not."""
    return next((each.trouble for each in _hubs.everywhere() if each.trouble), None)


def hub() -> Hub:
    """The hub of the running loop, made when it is first asked for."""
    return _hubs.here()
