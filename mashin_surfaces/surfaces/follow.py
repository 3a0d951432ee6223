"""Following a topic over HTTP: server-sent events, for clients that have no websocket.

``GET …?subscribe=cpu`` with ``Accept: text/event-stream``. Each event's ``id`` is its offset, so
that a browser that connects again says by ``Last-Event-ID`` what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import perf_counter_ns, time
from typing import Any

from ..exceptions import Code, Refusal
from ..governance.door import Door
from ..governance.govern import Answer, Caller, note_soon
from ..identity.principal import Principal
from ..machines.schemas import dumps
from ..rooms.live import Joined
from ..rooms.outbox import Outbox
from .event_stream import event_text
from .recheck import recheck
from .routes import Route
from .subscriptions import Subscriptions


class Events:
    """The spelling of a topic as server-sent events."""

    @staticmethod
    def subscribed(topic: str, joined: Joined) -> str:
        facts = {"topic": topic, **joined._asdict()}
        return event_text(dumps(facts), event="subscribed", id=str(joined.offset)).decode()

    @staticmethod
    def pushed(topic: str, offset: int, body: str) -> str:
        return event_text(body.encode(), id=str(offset) if offset else "").decode()

    @staticmethod
    def reset(topic: str, offset: int, epoch: str) -> str | None:
        facts = {"topic": topic, "offset": offset, "epoch": epoch}
        return event_text(dumps(facts), event="reset", id=str(offset)).decode()

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> str:
        body = dumps({"error": refusal.as_dict(request_id)})
        return event_text(body, event="error").decode()


class Follower:
    """One response, as its topic sees it (``subscriptions.Subscriber``, ``routes.Connection``)."""

    def __init__(self, route: Route, door: Door, caller: Caller, request_id: str) -> None:
        self.route = route
        self.caller = caller
        self.topics = Subscriptions(self)
        self._door = door
        self._request_id = request_id
        self._began = perf_counter_ns()
        self._loop = asyncio.get_running_loop()
        #: What the client may take next; the outbox waits behind it, with its bounds.
        self._next: asyncio.Queue[str] = asyncio.Queue(1)
        self._expiry: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[str] = self._loop.create_future()
        self.outbox = Outbox(self._next.put, None, self._overflow)

    async def events(self, topic: str, since: int | None) -> AsyncGenerator[str | Answer, None]:
        """The events as text; or the answer that refuses, alone."""
        self.route.connections.add(self)
        self._wind_up()
        doubt = self._loop.create_task(recheck(self)) if self.caller.is_doubted else None
        try:
            answer = await self.topics.add(
                topic,
                Events(),
                lambda joined: self.outbox.push(Events.subscribed(topic, joined)),
                since=since,
                request_id=self._request_id,
            )
            if answer.refusal is not None:
                yield answer
                return
            while not self._end.done():
                taking = self._loop.create_task(self._next.get())
                try:
                    await asyncio.wait((taking, self._end), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    is_over = taking.cancel()  # False when it is done
                if is_over:
                    break
                yield taking.result()
            yield self._end.result()
        finally:
            if doubt is not None:
                doubt.cancel()
            if self._expiry is not None:
                self._expiry.cancel()
            self.route.connections.discard(self)
            self.outbox.close()
            facts: dict[str, Any] = {"unsubscribe": topic}
            note_soon(self._door, self.caller, "unsubscribe", self._began, facts)
            await self.topics.close()

    def end(self, refusal: Refusal) -> None:
        """Say why, and end the response: the client connects again, if that is any use."""
        if not self._end.done():
            self._end.set_result(Events.error(refusal, self._request_id))

    # -- what may end it ------------------------------------------------------------------------

    def cut_off(self, reason: str) -> None:
        self.end(Refusal(Code.BUSY, reason))

    def _overflow(self) -> None:
        self.end(Refusal(Code.BUSY, "You are too slow for what you follow: connect again."))

    def _wind_up(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        expires_at = self.caller.principal.credential.expires_at
        if expires_at is not None and not self._end.done():
            self._expiry = self._loop.call_later(max(0.0, expires_at - time()), self._expire)

    def _expire(self) -> None:
        self.end(Refusal(Code.UNAUTHENTICATED, "The credential is no longer valid."))

    def surface_changed(self) -> None:
        self._loop.call_soon_threadsafe(self._look)

    def principal_changed(self, before: Principal, now: Principal | None) -> None:
        self._loop.call_soon_threadsafe(self._take_principal, now)

    def _take_principal(self, now: Principal | None) -> None:
        if now is None:
            self._expire()
        else:
            self.caller = Caller(now, self.caller.client)
            self._wind_up()
            self._look()

    def _look(self) -> None:
        """Whether surface and principal still allow it."""
        door = self.route.door
        if door is None:
            self.end(Refusal(Code.NOT_FOUND, "This surface is gone."))
        elif not door.admits(self.caller.principal):
            self.end(Refusal(Code.FORBIDDEN, door.wants))


def last_event_id(text: str | None) -> int | None:
    """The offset after which to go on; None when the header is not there, or not ours."""
    if text is not None and text.isascii() and text.isdecimal():
        with suppress(ValueError):  # thousands of digits
            return int(text)
    return None


def follow(
    route: Route, caller: Caller, topic: str, since: int | None, request_id: str
) -> AsyncGenerator[str | Answer, None]:
    """The events of a topic as text, from ``subscribed`` on; or an answer that refuses, alone.

    Raises ``Refusal`` (not_found) when the surface is gone.
    """
    door = route.door
    if door is None:
        raise Refusal(Code.NOT_FOUND, "This surface is gone.")
    return Follower(route, door, caller, request_id).events(topic, since)
