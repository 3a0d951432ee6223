"""The topics that one connection follows: joined, fed, replayed, and left again.

What a frame says is the dialect's; what is sent when is the hub's. Here a subscription is
governed, counted and put away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from django.db import DatabaseError

from ..commit import CommitFailed
from ..conf import settings
from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller
from ..governance.subscription import govern_subscription
from ..ledger.chain import new_id
from ..rooms import presence
from ..rooms.appending import RoomIsGone
from ..rooms.events import Event
from ..rooms.hub import hub
from ..rooms.live import Joined, Place
from ..rooms.outbox import Outbox
from ..rooms.topics import aroom_of_topic, check_topic, forget_room
from . import feeds
from .routes import Route, routes

logger = logging.getLogger(__name__)


class Spelling(Protocol):
    """How a topic's events read on this connection."""

    @staticmethod
    def pushed(topic: str, offset: int, body: str) -> str: ...
    @staticmethod
    def reset(topic: str, offset: int, epoch: str) -> str | None: ...


class Subscriber(Protocol):
    """The connection, as its subscriptions see it."""

    route: Route
    caller: Caller
    outbox: Outbox

    def cut_off(self, reason: str) -> None:
        """Close the connection: it can't be given what it is subscribed to."""


class Subscription:
    """A topic's member (``rooms.live.Member``)."""

    names: Sequence[str] = ()
    merge: Callable[[Sequence[Event]], Sequence[Event]] | None = None  # each result counts

    def __init__(
        self, subscriber: Subscriber, machine: str, topic: str, room: int, spelling: Spelling
    ) -> None:
        self.machine = machine
        self.topic = topic
        self.room = room
        self.spelling: Hashable = spelling.pushed
        self.outbox = subscriber.outbox
        self.place: Place | None = None
        self.is_fed = False
        self._subscriber = subscriber
        self._words = spelling

    def encode(self, event: Event) -> str:
        return self._words.pushed(self.topic, event.offset, event.payload)

    def may_replay(self) -> bool:
        door = self._subscriber.route.door
        return door is not None and door.admits(self._subscriber.caller.principal)

    def was_reset(self, epoch: str, offset: int) -> None:
        text = self._words.reset(self.topic, offset, epoch)
        if text is not None:
            self.outbox.push(text)

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        forget_room(self.machine, self.topic)
        self._subscriber.cut_off(reason)


class Subscriptions:
    """All topics of a connection, by name."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._connection = new_id()
        self._subscriber = subscriber
        self._topics: dict[str, Subscription] = {}
        self._changing = asyncio.Lock()  # one change at a time: a topic may be asked for twice
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._topics)

    async def add(
        self,
        topic: str,
        spelling: Spelling,
        welcome: Callable[[Joined], None],
        *,
        since: int | None = None,
        epoch: str | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Follow a topic; ``welcome`` is called before its first event comes.

        Following it again begins anew, behind ``since``. A refusal is in the answer.
        """
        async with self._changing:
            subscriber, door = self._subscriber, self._subscriber.route.door
            if door is None:
                return Answer("", None, Refusal(Code.NOT_FOUND, "This surface is gone."))
            source = routes.topics_of(subscriber.route)
            answer, value = await govern_subscription(
                door,
                subscriber.caller,
                topic,
                field=_field(source),
                refusal=self._refusal_of(topic),
                request_id=request_id,
            )
            if answer.refusal is not None:
                return answer
            await self._remove(topic)
            subscription: Subscription | None = None
            try:
                room = await aroom_of_topic(door.name, topic)
                subscription = self._topics[topic] = Subscription(
                    subscriber, door.name, topic, room, spelling
                )
                feed = self._feed(source, subscription, value)
                # One of the last events is of now, when somebody runs the feed already.
                back = 0 if feed is None else int(await feed.is_under_way())
                await presence.enter(room, self._connection, subscriber.caller.principal.name)
                subscription.place = await hub().join(
                    room, subscription, welcome, since=since, epoch=epoch, back=back
                )
                if feed is not None:
                    feed.begin()
            except (DatabaseError, CommitFailed, LookupError, RoomIsGone) as error:
                logger.warning("%r can't be followed: %s", topic, error)
                await self._put_away(subscription)
                forget_room(door.name, topic)
                refusal = Refusal(
                    Code.LEDGER_UNAVAILABLE,
                    "The topic can't be read now; try again.",
                    retry_after=1,
                )
                return Answer(answer.request_id, None, refusal)
            if self._is_closed:  # the connection went while we were waiting
                await self._put_away(subscription)
            return answer

    async def remove(self, topic: str) -> None:
        """Follow a topic no longer; nothing happens when it was not followed."""
        async with self._changing:
            await self._remove(topic)

    async def recheck(self) -> bool:
        """Look at surface and caller as they are now; False when nothing may be followed here
        any more: then nothing is."""
        async with self._changing:
            door = self._subscriber.route.door
            may_follow = door is not None and door.admits(self._subscriber.caller.principal)
            for topic, subscription in tuple(self._topics.items()):
                if door is None or not may_follow or door.name != subscription.machine:
                    await self._remove(topic)
                    may_follow = False
                elif self._is_to_be_fed() != subscription.is_fed:
                    await self._refeed(door, subscription)
        return may_follow

    async def close(self) -> None:
        """The connection is gone."""
        self._is_closed = True
        gone = list(self._topics.values())
        self._topics.clear()
        for subscription in gone:  # all at once: whoever ends us may lose patience with the rest
            self._detach(subscription)
        await asyncio.gather(*map(self._put_away, gone))

    def _is_to_be_fed(self) -> bool:
        source = routes.topics_of(self._subscriber.route).door
        return source is not None and feeds.feeds_topics(source)

    def _refusal_of(self, topic: str) -> Refusal | None:
        try:
            check_topic(topic)
        except Refusal as refusal:
            return refusal
        if topic not in self._topics and len(self) >= settings.MAX_TOPICS:
            return Refusal(
                Code.BUSY, f"One connection follows {settings.MAX_TOPICS} topics at most."
            )
        return None

    def _feed(
        self, source: Route, subscription: Subscription, value: dict[str, Any]
    ) -> feeds.Feed | None:
        """Have the topic fed, where a surface feeds it."""
        if source.door is None or not feeds.feeds_topics(source.door):
            return None
        subscription.is_fed = True
        return feeds.listen(source, subscription.room, subscription.topic, value)

    async def _refeed(self, door: Door, subscription: Subscription) -> None:
        """Whether a surface feeds the topics has changed."""
        if subscription.is_fed:
            feeds.leave(subscription.room)
            subscription.is_fed = False
            return
        caller, source = self._subscriber.caller, routes.topics_of(self._subscriber.route)
        answer, value = await govern_subscription(
            door, caller, subscription.topic, field=_field(source)
        )
        if self._topics.get(subscription.topic) is not subscription:
            return  # it was left while we asked
        feed = self._feed(source, subscription, value) if answer.refusal is None else None
        if feed is not None:
            feed.begin()

    async def _remove(self, topic: str) -> None:
        await self._put_away(self._topics.get(topic))

    def _detach(self, subscription: Subscription) -> None:
        """Out of its room and its feed, once; a join under way may yet bring it back."""
        place, subscription.place = subscription.place, None
        if place is not None:
            hub().leave(place)
        if subscription.is_fed:
            subscription.is_fed = False
            feeds.leave(subscription.room)

    async def _put_away(self, subscription: Subscription | None) -> None:
        if subscription is None:
            return
        if self._topics.get(subscription.topic) is subscription:
            del self._topics[subscription.topic]
        self._detach(subscription)
        with suppress(CommitFailed, DatabaseError):  # it counts no longer than this process beats
            await presence.leave(subscription.room, self._connection)


def _field(source: Route) -> str | None:
    """The field of which the machine's topics are values; None: any name is one."""
    return None if source.door is None else source.door.options.get("subscribe")
