"""The doorbell: after a commit every process is told, through the channel layer, by text alone.

The layer may lose a message, double it or swap two: who listens (``hub.py``) can tell by the
offsets, and reads the log. So nothing here is tried twice; what fails is said once.

A bell goes to the hubs of this process directly, and through the layer to the others: to the group
of its room, or, when bells of many rooms wait, in one message to the group of all processes.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

import orjson
from channels.layers import InMemoryChannelLayer, get_channel_layer

from .events import Bell, Event, Note

logger = logging.getLogger(__name__)

#: The type of our messages; nothing dispatches on it, the layer wants one.
MESSAGE = "mashin.bell"
#: The group in which every process is: news that are of no room, bells of many.
NEWS = "mashin.news"
#: Groups that wait for the layer, messages of one of them, and events that became one message;
#: what is too much is left out: listeners read the log instead.
MOST_WAITING = 1024
MOST_OF_A_GROUP = 16
MOST_JOINED = 256
#: From so many rooms on whose bells wait at once, they go together: who follows none of them is
#: disturbed then, but by one message, where each would have been one for the server and for us.
MANY = 8
#: Characters of payloads that a bell carries at most; listeners read the log for more.
MOST_RUNG = 64 * 1024
#: Seconds that the layer may take for one message.
PATIENCE = 2.0

#: Whose bells come back to the one who rang.
ORIGIN = uuid4().hex
_OURS = (f'["{ORIGIN}"', f'{{"from":"{ORIGIN}"')


class Listener(Protocol):
    """A hub of this process."""

    loop: asyncio.AbstractEventLoop

    def heard(self, bells: Sequence[Bell]) -> None: ...
    def heard_news(self, topic: str) -> None: ...


class Listeners:
    """The hubs of this process, one for each running loop that has connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Replaced as a whole: all threads go through it.
        self.all: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        self._replace(listener, listener)

    def discard(self, listener: Listener) -> None:
        self._replace(listener)

    def _replace(self, old: Listener, *new: Listener) -> None:
        with self._lock:
            others = (each for each in self.all if each is not old and not each.loop.is_closed())
            self.all = (*others, *new)


listeners = Listeners()


def ring(bells: Sequence[Bell]) -> None:
    """Tell everybody; from any thread, never waits, never raises."""
    for listener in listeners.all:
        with suppress(RuntimeError):  # its loop is closed
            listener.loop.call_soon_threadsafe(listener.heard, bells)
    if reaches_others():
        _ringer.put([(bell.room, bell) for bell in bells if _is_for_others(bell)])


def _is_for_others(bell: Bell) -> bool:
    """Whether it says more than what is for members of this process."""
    is_news = bool(bell.events) or 0 < bell.first <= bell.last or not bell.notes
    return is_news or not all(note.is_local for note in bell.notes)


def tell(topic: str) -> None:
    """Tell every other process that something changed that is of no room (``definitions``)."""
    if reaches_others():
        _ringer.put([(NEWS, topic)])


def reaches_others() -> bool:
    """Whether there is a layer that other processes can hear."""
    layer = get_channel_layer()
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


def group_of(room: int) -> str:
    """The name of the layer's group for a room."""
    return f"mashin.room.{room}"


def encoded(message: Bell | str | Sequence[Bell]) -> str:
    """The text that goes through the layer: of a bell, of bells of many rooms, or of news."""
    if isinstance(message, str):
        value: Any = {"from": ORIGIN, "news": message}
    elif isinstance(message, Bell):
        value = [ORIGIN, *_plain(message)]
    else:
        value = {"from": ORIGIN, "bells": [_plain(bell) for bell in message]}
    return orjson.dumps(value, default=list).decode()  # events and notes are named tuples


def _plain(bell: Bell) -> list[Any]:
    return [*bell[:5], [note for note in bell.notes if not note.is_local]]


def decoded(text: str) -> Bell | str | None:
    """A bell, or the topic of news; None when nothing is left to do.

    That is so for what this process rang itself, and for bells of many rooms: the hub of the
    running loop has heard them when this returns.
    """
    if text.startswith(_OURS):
        return None
    value: Any = orjson.loads(text)
    if isinstance(value, list):
        return _bell(*value[1:])
    if "news" in value:
        return str(value["news"])
    bells = [_bell(*plain) for plain in value["bells"]]
    loop = asyncio.get_running_loop()
    for listener in listeners.all:
        if listener.loop is loop:
            listener.heard(bells)
    return None


def _bell(
    room: int, epoch: str, first: int, last: int, events: list[list[Any]], notes: list[list[Any]]
) -> Bell:
    return Bell(
        room,
        epoch,
        first,
        last,
        [Event._make([*event[:5], datetime.fromisoformat(event[5])]) for event in events],
        [Note._make(note) for note in notes],
    )


def _joined(before: Bell, after: Bell) -> Bell | None:
    """Two bells of a room as one, when the second goes on where the first ends."""
    is_next = before.epoch == after.epoch and after.first == before.last + 1
    if not (is_next and 0 < before.first <= before.last and after.first <= after.last):
        return None
    events: Sequence[Event] = ()
    if before.events and after.events:
        together = [*before.events, *after.events]
        size = sum(len(event.payload) for event in together)
        if len(together) <= MOST_JOINED and size <= MOST_RUNG:
            events = together
    notes = [*before.notes, *after.notes]
    return Bell(before.room, before.epoch, before.first, after.last, events, notes)


class Ringer:
    """Sends to the layer, in order, on the loop of a hub or, without one, on a thread's own.

    While the layer is slower than the commits, bells of a room become one message.
    """

    def __init__(self) -> None:
        #: The group whose message was refused, when the last one was.
        self.refused: str | None = None
        #: By the group's name, or the room whose group it is.
        self._waiting: OrderedDict[int | str, list[Bell | str]] = OrderedDict()
        self._lock = threading.Lock()
        self._own: asyncio.AbstractEventLoop | None = None
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_sending(self) -> bool:
        return bool(self._waiting) or not (self._sending is None or self._sending.done())

    def put(self, messages: Sequence[tuple[int | str, Bell | str]]) -> None:
        """Have bells, or names of news, sent to groups, or rooms' groups; from any thread."""
        with self._lock:
            for group, message in messages:
                waiting = self._waiting.get(group)
                if waiting is None:
                    self._waiting[group] = [message]
                else:
                    self._add(waiting, message)
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            loop = self._running_loop()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake, loop)

    @staticmethod
    def _add(waiting: list[Bell | str], message: Bell | str) -> None:
        before = waiting[-1]
        if isinstance(message, Bell) and isinstance(before, Bell):
            joined = _joined(before, message)
            if joined is not None:
                waiting[-1] = joined
                return
        waiting.append(message)
        if len(waiting) > MOST_OF_A_GROUP:
            del waiting[0]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        for listener in listeners.all:
            if listener.loop.is_running():
                return listener.loop
        if self._own is None or not self._own.is_running():
            self._own = asyncio.new_event_loop()
            started = threading.Event()
            threading.Thread(
                target=_run, args=(self._own, started), name="mashin-doorbell", daemon=True
            ).start()
            started.wait()
        return self._own

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        sending = self._sending
        if sending is None or sending.done() or sending.get_loop() is not loop:
            self._sending = loop.create_task(self._send())

    async def _send(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                together = self._taken_together() if len(self._waiting) >= MANY else []
                if together:
                    group, texts = NEWS, [encoded(together)]
                else:
                    key, messages = self._waiting.popitem(last=False)
                    group = group_of(key) if isinstance(key, int) else key
                    texts = [encoded(message) for message in messages]
            for text in texts:
                await self._send_one(group, text)

    def _taken_together(self) -> list[Bell]:
        """The bells of many rooms that go as one message; none when only few could.

        What stands in no log keeps to its room's group: nobody could put it in order again.
        """
        rooms: list[int] = []
        bells: list[Bell] = []
        size = 0
        for room, messages in self._waiting.items():
            if not isinstance(room, int):
                continue
            count = len(bells)
            for bell in messages:
                if isinstance(bell, str) or not bell.first:
                    del bells[count:]
                    break
                bells.append(bell)
                for event in bell.events:
                    size += len(event.payload)
            else:
                rooms.append(room)
            if size > MOST_RUNG:
                break
        if len(rooms) < MANY:
            return []
        for room in rooms:
            del self._waiting[room]
        return bells

    async def _send_one(self, group: str, text: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await get_channel_layer().group_send(group, {"type": MESSAGE, "text": text})
        except Exception as error:
            if self.refused is None:  # said once, not with every message
                logger.warning("The channel layer does not take messages: %r", error)
            self.refused = group
        else:
            if self.refused is not None:
                logger.warning("The channel layer takes messages again.")
            self.refused = None

    def try_again(self) -> None:
        """Send a bell of no room to the group whose message was refused, if there is one."""
        refused = self.refused
        if refused is not None:
            self.put([(refused, Bell(0, "", 0, 0))])

    def close(self) -> None:
        """Send what waits and end the thread of its own, if there is one."""
        with self._lock:
            own, self._own = self._own, None
        if own is None or not own.is_running():
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._flush(), own).result(PATIENCE)
        with suppress(RuntimeError):
            own.call_soon_threadsafe(own.stop)

    async def _flush(self) -> None:
        sending = self._sending
        if sending is not None and sending.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([sending])  # else it went, or goes, with the loop of a hub


def _run(loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(started.set)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
    loop.close()


_ringer = Ringer()


def is_ringing() -> bool:
    """Whether messages wait for the layer, or one is being sent."""
    return _ringer.is_sending


def is_down() -> bool:
    """Whether the layer refused the last message."""
    return _ringer.refused is not None


def try_again() -> None:
    """Find out whether the layer still refuses messages, when nobody has any to send."""
    _ringer.try_again()


def close() -> None:
    """Send what waits, and end the doorbell's own thread."""
    _ringer.close()


atexit.register(close)  # a command that publishes ends right afterwards
