"""A client of a machine's websocket (``docs/websocket.md``), in the envelope ``mashin.v1``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from .client import Client, Frame, new_id, spelled
from .errors import ClientError
from .events import Gap, Reset
from .inbox import Inbox

#: What is asked first on each connection: answered, the client is let in.
WELCOME = "welcome"
#: Subscriptions that are asked for at once when a connection comes back.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Push:
    """A result that was published to a topic. ``offset``: None when it is in no log."""

    topic: str
    value: Any
    offset: int | None


@dataclass(frozen=True, slots=True)
class _Streamed:
    """One of several results of a question, or the end of them."""

    id: str
    value: Any = None
    is_last: bool = False
    error: ClientError | None = None


MachineEvent = Push | Gap | Reset


@dataclass(slots=True)
class _Topic:
    """How far a topic was followed."""

    name: str
    id: str
    offset: int | None
    epoch: str | None


class MachineClient(Client[MachineEvent]):
    """Asks a machine, and follows its topics.

        async with MachineClient("ws://127.0.0.1:9000/ws/greet") as greeter:
            (await greeter.ask({"name": "Ada"}))["greeting"]

    ``url``: of a websocket surface of the dialect ``machine``.
    """

    subprotocol = "mashin.v1"
    kinds = (Push, Gap, Reset)

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._topics: dict[str, _Topic] = {}
        self._streams: set[str] = set()
        self._to_join: deque[_Topic] = deque()
        self._joining: set[str] = set()

    async def ask(self, input: Mapping[str, Any], *, is_repeatable: bool = False) -> dict[str, Any]:
        """The machine's result; the first, when it gives several.

        A machine may do more than to answer, so a question is not asked again when the connection
        breaks: it fails as ``Interrupted``. With ``is_repeatable`` it is asked again.

        Raises ``ClientError``: what the server refuses it for.
        """
        id = new_id()
        text = spelled({"id": id, "input": dict(input)})
        result: dict[str, Any] = await self._ask(id, text, is_repeatable=is_repeatable)
        return result

    async def stream(self, input: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """All results of a machine that gives several, as they come.

        Raises ``ClientError``; ``Interrupted`` when the connection breaks before the last.
        """
        id = new_id()
        text = spelled({"id": id, "input": dict(input)})

        def is_mine(event: object) -> bool:
            return isinstance(event, _Streamed) and event.id == id

        def ended(asking: asyncio.Task[Any]) -> None:
            if not asking.cancelled():
                error = asking.exception()
                known = error if isinstance(error, ClientError) else None
                self._tell(_Streamed(id, is_last=True, error=known))

        results: Inbox[_Streamed] = self._inboxes.open(is_mine)
        self._streams.add(id)
        asking = asyncio.get_running_loop().create_task(
            self._outgoing.ask(id, lambda: text, is_repeatable=False, is_streamed=True)
        )
        asking.add_done_callback(ended)
        try:
            async for event in results:
                if event.error is not None:
                    raise event.error
                if event.is_last:
                    return
                yield event.value
        finally:
            self._streams.discard(id)
            asking.cancel()

    async def subscribe(
        self, topic: str, *, since: int | None = None, epoch: str | None = None
    ) -> None:
        """Follow a topic: its results come as events, those after ``since`` first.

        It is followed on when the connection comes back, and what was missed comes then; what can't
        be told any more is told as a ``Gap``. Raises ``ClientError``.
        """
        followed = _Topic(topic, new_id(), since, epoch)
        self._topics[topic] = followed
        try:
            await self._outgoing.ask(followed.id, lambda: _subscribe(followed))
        except ClientError:
            if self._topics.get(topic) is followed:
                del self._topics[topic]
            raise

    async def unsubscribe(self, topic: str) -> None:
        """Follow it no longer."""
        self._topics.pop(topic, None)
        id = new_id()
        await self._ask(id, spelled({"id": id, "unsubscribe": topic}))

    # -- for the connection ---------------------------------------------------------------------

    def query(self) -> Mapping[str, str]:
        return {}

    def joined(self) -> None:
        super().joined()
        self._outgoing.go()
        self._outgoing.say(spelled({"id": WELCOME, "type": "ping"}))
        again = (each for each in self._topics.values() if not self._outgoing.find(each.id))
        self._to_join = deque(again)
        self._joining.clear()
        self._join_next()

    def _join_next(self, joined: str = "") -> None:
        """Have as many on their way as may be; ``joined``: what a frame answers."""
        self._joining.discard(joined)
        while self._to_join and len(self._joining) < AT_ONCE:
            topic = self._to_join.popleft()
            if self._topics.get(topic.name) is topic:  # else it was left meanwhile
                self._joining.add(topic.id)
                self._outgoing.say(_subscribe(topic))

    def _hear(self, frame: Frame) -> None:
        id = frame.get("id")
        if "pong" in frame:
            self._welcomed()
        elif "push" in frame:
            self._pushed(frame)
        elif "reset" in frame and id is None:
            self._was_reset(frame)
        elif "subscribed" in frame:
            self._subscribed(frame)
        elif "error" in frame:
            error = ClientError.of(frame["error"])
            self._refused(str(id), error)
            if id is None:
                self._reason = error
        elif id in self._streams and "result" in frame:
            self._tell(_Streamed(str(id), frame["result"]))
        else:
            self._outgoing.answer(str(id), frame.get("result"))

    def _refused(self, id: str, error: ClientError) -> None:
        self._outgoing.fail(id, error)
        for topic in [each for each in self._topics.values() if each.id == id]:
            del self._topics[topic.name]  # it may not be followed any more
            self._reason = error
        self._join_next(id)

    def _subscribed(self, frame: Frame) -> None:
        self._outgoing.answer(frame["id"], None)  # also when it was left meanwhile
        self._join_next(frame["id"])
        topic = self._topics.get(frame["subscribed"])
        if topic is None or topic.id != frame["id"]:
            return
        if topic.offset is not None and not frame["recovered"]:
            self._tell(Gap(topic.offset, frame["offset"], frame["epoch"], topic.name))
        if topic.offset is None or not frame["recovered"]:
            topic.offset = frame["offset"]
        topic.epoch = frame["epoch"]

    def _pushed(self, frame: Frame) -> None:
        topic, offset = self._topics.get(frame["topic"]), frame.get("offset")
        if topic is None:
            return
        if offset is not None:
            if topic.offset is not None and offset <= topic.offset:
                return
            topic.offset = offset
        self._tell(Push(topic.name, frame["push"], offset))

    def _was_reset(self, frame: Frame) -> None:
        topic = self._topics.get(frame["topic"])
        if topic is not None:
            topic.offset, topic.epoch = frame["offset"], frame["epoch"]
            self._tell(Reset(frame["epoch"], topic=topic.name))


def _subscribe(topic: _Topic) -> str:
    frame = {"id": topic.id, "subscribe": topic.name}
    return spelled(frame, since=topic.offset, epoch=topic.epoch)
