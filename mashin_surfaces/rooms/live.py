"""One room as a process follows it: what is told, in which order, and what is done about holes.

Offsets tell what is new, known, or missing. What is missing is read from the log: here when it is
little, by each member for itself when it is much. The layer and the poll are ``hub.py``'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from django.db import Error as DatabaseTrouble

from .events import Bell, Event, Note, RoomHead
from .log import alook, aread
from .models import Room
from .outbox import Outbox

#: Seconds that a hole may be filled by a message that was overtaken, before the log is read.
HOLE_PATIENCE = 0.05
#: How often the layer is asked to let us into a room's group, before the log is read without.
FOLLOW_TRIES = 4
#: From so many missing events on every member reads the log for itself, at its own pace.
FAR = 64
#: Events that are read at once to fill a hole: more than one request ever appends.
MOST_FILLED = 256
#: The last events of a room that are kept at hand, by number and characters.
RECENT = 256
RECENT_CHARACTERS = 256 * 1024
#: Bells that wait for one that was overtaken.
MOST_EARLY = 64
#: A replay's first read is short, so that it begins soon; later ones hold about so much.
FIRST_CHUNK = 32
LARGEST_CHUNK = 500
CHUNK_CHARACTERS = 512 * 1024


class Member(Protocol):
    """A connection's place in a room.

    ``spelling``: members with the same one get the same texts; ``encode`` makes them, None for
    what is not for them. ``merge``: makes fewer events of some that follow each other, for a
    member that is slow; None: it gets each of them, and is cut off when it is too slow for that.
    """

    names: Sequence[str]
    outbox: Outbox
    merge: Callable[[Sequence[Event]], Sequence[Event]] | None

    @property
    def spelling(self) -> Hashable: ...

    def encode(self, event: Event) -> str | None: ...

    def may_replay(self) -> bool:
        """Whether this member may still see what was; asked before every part of a replay."""

    def was_reset(self, epoch: str, offset: int) -> None:
        """The log was cleared; what comes next comes after ``offset``: nothing up to there can be
        had any more."""

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        """There is nothing more to come: the room is gone, or can't be followed any more."""


class Joined(NamedTuple):
    """Where a member begins: events after ``offset`` follow. ``recovered``: all it asked for."""

    offset: int
    epoch: str
    recovered: bool


class Place:
    """A member in a room of the hub. ``task``: its replay, while there is one. ``is_gone``: it
    left, or was cut off."""

    __slots__ = ("is_gone", "member", "merges", "notes", "position", "room", "task")

    def __init__(self, room: LiveRoom, member: Member, position: int) -> None:
        self.room = room
        self.member = member
        self.merges = member.merge is not None
        self.notes: list[Note] = []
        self.position = position
        self.task: asyncio.Task[None] | None = None
        self.is_gone = False


class Process(Protocol):
    """What a room needs of the hub."""

    loop: asyncio.AbstractEventLoop

    async def follow(self, id: int) -> bool: ...
    def say(self, trouble: str) -> None: ...


class LiveRoom:
    """One room as this process follows it. ``last``: the offset of the last event told here."""

    def __init__(self, hub: Process, id: int) -> None:
        self.hub = hub
        self.id = id
        self.epoch = ""
        self.floor = 0
        self.last = 0
        self.wanted = 0  # the highest offset that is known to be there
        self.places: set[Place] = set()
        self.names: dict[str, set[Place]] = {}
        self.notes: list[Note] = []  # those whose turn has not come
        self.live: dict[Hashable, dict[Place, Outbox]] = {}
        self.recent: deque[Event] = deque()
        self.recent_characters = 0
        self.early: dict[int, Bell] = {}
        self.opening: asyncio.Task[None] | None = None
        self.waiting = 0  # those who join and wait for the opening
        self.filling: asyncio.Task[None] | None = None
        self.is_stale = False  # another epoch was heard of: the database knows
        self.is_doubted = False  # what should be in the log was not
        self.epochs: set[str] = set()  # those that were heard of during the opening
        self.echo = ""  # what the layer is to give us back once we are in the group
        self.followed = asyncio.Event()  # the layer gives us what is rung from now on

    # -- what is heard ----------------------------------------------------------------------------

    def heard(self, bell: Bell) -> None:
        """A bell of this room: new, known, too early, or of another epoch."""
        if bell.notes:
            self.notes += [note for note in bell.notes if note.to in self.names]
        self._take(bell)
        if self.notes and self.opening is None:
            self._tell_notes(self.last)

    def _take(self, bell: Bell) -> None:
        if not bell.first:  # it stands in no log
            self.tell(bell.events)
        elif self.opening is not None:
            self.epochs.add(bell.epoch)
            self._keep(bell)
        elif bell.epoch != self.epoch:
            self.is_stale = True
            self.fill(0.0)
        elif bell.last > self.last:
            if bell.first <= self.last + 1 and bell.events:
                self.deliver(bell.events)
                self._take_early()
            else:
                self._keep(bell)
                self.fill(HOLE_PATIENCE if bell.events else 0.0)

    def _keep(self, bell: Bell) -> None:
        """Until its turn comes; without place for it, the log has it."""
        self.wanted = max(self.wanted, bell.last)
        if bell.events and len(self.early) < MOST_EARLY:
            self.early[bell.first] = bell

    async def open(self) -> None:
        """Join first, then look: what comes in between is heard of, or seen."""
        for _ in range(FOLLOW_TRIES):  # the echo may itself have been too early for the group
            if self.followed.is_set() or not await self.hub.follow(self.id):
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(HOLE_PATIENCE):
                    await self.followed.wait()
        # The layer is slow: then is_followed looks again, or the poll does.
        is_too_early = not self.followed.is_set()
        head = (await alook([self.id])).get(self.id)
        if head is None:
            raise LookupError(f"There is no room {self.id}.")
        self.epoch, self.floor, self.last = head.epoch, head.floor, head.head
        self.wanted = max(self.wanted, self.last)
        self.opening = None
        self.is_stale = bool(self.epochs - {self.epoch})  # it was cleared behind our look
        self.is_stale |= is_too_early and self.followed.is_set()
        self._take_early()
        if self.is_stale or self.last < self.wanted:
            self.fill(0.0 if self.is_stale else HOLE_PATIENCE)

    def is_followed(self) -> None:
        """The layer gives us what is rung from now on; what was rung before may have gone past."""
        self.followed.set()
        if self.opening is None:
            self.is_stale = True
            self.fill(0.0)

    def _take_early(self) -> None:
        """Those that came too early, and whose turn it is now."""
        while self.early:
            bell = self.early.pop(min(self.early))
            if bell.last <= self.last or bell.epoch != self.epoch:
                continue
            if bell.first > self.last + 1:
                self.early[bell.first] = bell
                return
            self.deliver(bell.events)

    def deliver(self, events: Sequence[Event]) -> None:
        """Tell the members what is new of these, which follow each other."""
        if events[0].offset <= self.last:
            events = [event for event in events if event.offset > self.last]
            if not events:
                return
        self.is_doubted = False
        self.last = events[-1].offset
        self.wanted = max(self.wanted, self.last)
        self._remember(events)
        self.tell(events)

    def tell(self, events: Sequence[Event]) -> None:
        """Each event to every member that follows live: encoded once for each spelling."""
        for event in events:
            for places in tuple(self.live.values()):
                outboxes = tuple(places.items())
                text = outboxes[0][0].member.encode(event)
                if text is not None:
                    for place, outbox in outboxes:
                        if place.merges and not outbox.is_idle:
                            self._let_wait(place, event)
                        else:
                            outbox.push(text)
            if self.notes and event.offset:
                self._tell_notes(event.offset)

    def _tell_notes(self, offset: int) -> None:
        """Those that stand behind an event up to ``offset``, to those whom they are for."""
        due = [note for note in self.notes if note.after <= offset]
        if due:
            self.notes = [note for note in self.notes if note.after > offset]
            for note in due:
                for place in tuple(self.names.get(note.to, ())):
                    if place.task is not None:  # behind what it has yet to get
                        place.notes.append(note)
                    elif not place.is_gone:
                        place.member.outbox.push(note.text)

    def _let_wait(self, place: Place, event: Event) -> None:
        """A member that takes several events as one gets them when it has taken those before."""
        if event.offset:
            self.live[place.member.spelling].pop(place)
            self._drop_empty(place.member.spelling)
            place.position = event.offset - 1
            self.replay(place)

    def _drop_empty(self, spelling: Hashable) -> None:
        if not self.live.get(spelling, True):
            del self.live[spelling]

    def _remember(self, events: Sequence[Event]) -> None:
        recent = self.recent
        for event in events:
            recent.append(event)
            self.recent_characters += len(event.payload)
        while len(recent) > RECENT or self.recent_characters > RECENT_CHARACTERS:
            self.recent_characters -= len(recent.popleft().payload)

    # -- what is missing --------------------------------------------------------------------------

    def fill(self, patience: float) -> None:
        """Have the log read, soon."""
        if self.filling is None:
            self.filling = self.hub.loop.create_task(self._fill(patience))

    async def _fill(self, patience: float) -> None:
        try:
            if patience:
                await asyncio.sleep(patience)
            while self.is_stale or self.last < self.wanted:
                if self.is_stale:
                    await self._look_again()
                elif self.wanted - self.last > FAR:
                    self._fall_behind()
                else:
                    events = await aread(self.id, self.last, MOST_FILLED)
                    self._fill_with(_whole(events))
        except DatabaseTrouble as error:
            self.hub.say(f"The log can't be read: {error}")  # the next poll tries again
        finally:
            self.filling = None

    def _fill_with(self, events: list[Event]) -> None:
        events = [event for event in events if event.offset > self.last]
        if events and events[0].offset == self.last + 1:
            self.deliver(events)
            self._take_early()
        elif self.last < self.wanted and not self.is_doubted:
            self.is_doubted = self.is_stale = True  # cleared or trimmed under us
        elif self.last < self.wanted:  # neither: the log itself is broken
            self.is_doubted = False
            self._close("Events are missing in the log: connect again.")
            self.last = events[0].offset - 1 if events else self.wanted

    async def _look_again(self) -> None:
        """What the database says: the same, another epoch, closed, gone."""
        self.is_stale, self.wanted = False, self.last  # what is heard meanwhile stays wanted
        head = (await alook([self.id])).get(self.id)
        if head is None or head.status == Room.Status.CLOSED:
            self._close("This room is closed.", is_gone=True)
            self.wanted = self.last
            return
        self.floor = head.floor
        if head.epoch != self.epoch:
            self._begin_epoch(head)
        elif self.last < head.floor:  # missed here, and trimmed meanwhile: nobody can have it
            self._close("Events were trimmed before they could be sent: connect again.")
            self.last, self.is_doubted = head.floor, False
        self.wanted = max(self.wanted, self.last, head.head)

    def _close(self, reason: str, is_gone: bool = False) -> None:
        for place in tuple(self.places):
            self._cut_off(place, reason, is_gone)

    def _cut_off(self, place: Place, reason: str, is_gone: bool = False) -> None:
        """From now on it is told nothing: its end takes a while, and there must be no hole."""
        if not place.is_gone:
            place.is_gone = True
            if place.task is not None and place.task is not asyncio.current_task():
                place.task.cancel()
            self.live.get(place.member.spelling, {}).pop(place, None)
            self._drop_empty(place.member.spelling)
            place.member.was_closed(reason, is_gone)

    def compare(self, head: RoomHead | None) -> None:
        """Hold what was read a moment ago against what is known; may have the log read."""
        if head is None or head.epoch != self.epoch or head.status == Room.Status.CLOSED:
            self.is_stale = True  # or what was read is: only the fill can tell
            self.fill(0.0)
        else:
            self.floor = max(self.floor, head.floor)
            if head.head > self.last:
                self.wanted = max(self.wanted, head.head)
                self.fill(0.0)

    def _begin_epoch(self, head: RoomHead) -> None:
        """The log was cleared: everybody is told, and goes on behind its floor. What was trimmed
        of the new epoch by now counts as cleared: connecting again would not bring it, either."""
        self.epoch, self.last, self.wanted = head.epoch, head.floor, head.floor
        self.is_doubted = False
        self.recent.clear()
        self.recent_characters = 0
        self.early.clear()
        for place in [each for each in self.places if not each.is_gone]:
            if place.task is not None:
                place.task.cancel()
                place.task = None
            place.position = self.last
            place.member.was_reset(self.epoch, self.last)
            self.attach(place)
        self._tell_notes(self.last)  # what they stood behind is gone, they are still awaited

    def _fall_behind(self) -> None:
        """Too much is missing to push it: each member reads the log, as fast as it can take it."""
        behind = self.last
        self.last = self.wanted
        self.recent.clear()
        self.recent_characters = 0
        self.early.clear()
        places = [place for outboxes in self.live.values() for place in outboxes]
        self.live.clear()
        for place in places:
            place.position = behind
            self.replay(place)
        self._tell_notes(self.last)  # behind what each has yet to read

    async def catch_up(self) -> None:
        """Look at the database now, and tell what was not heard of; a poll for who can't wait."""
        self.compare((await alook([self.id])).get(self.id))
        while self.filling is not None:
            await asyncio.wait([self.filling])

    # -- members ----------------------------------------------------------------------------------

    def can_resume(self, since: int) -> bool:
        """Whether what came after ``since`` is at hand, so that the log need not be looked at: it
        may go further than was heard here, or have been trimmed."""
        is_at_hand = bool(self.recent) and self.recent[0].offset <= since + 1
        return since == self.last or (since < self.last and is_at_hand)

    def beginning(self, since: int | None, epoch: str | None, back: int) -> Joined:
        """Where a member begins that asks for what came after ``since``, if it does."""
        is_known = epoch is None or epoch == self.epoch
        if since is not None and is_known and self.floor <= since <= self.last:
            return Joined(since, self.epoch, True)
        return Joined(max(self.floor, self.last - back), self.epoch, False)

    def attach(self, place: Place) -> None:
        """From now on it follows live."""
        member = place.member
        if not place.is_gone:
            notes, place.notes = place.notes, []
            for note in notes:
                member.outbox.push(note.text)
            self.live.setdefault(member.spelling, {})[place] = member.outbox

    def enter(self, place: Place) -> None:
        """It is here; what it gets, ``attach`` and ``replay`` decide."""
        self.places.add(place)
        for name in place.member.names:
            self.names.setdefault(name, set()).add(place)

    def respell(self, place: Place, change: Callable[[], None]) -> None:
        """Let ``change`` give the member another spelling."""
        spelling = place.member.spelling
        outbox = self.live.get(spelling, {}).pop(place, None)
        self._drop_empty(spelling)
        change()
        if outbox is not None:
            self.live.setdefault(place.member.spelling, {})[place] = outbox

    def detach(self, place: Place) -> None:
        """It is gone."""
        place.is_gone = True
        self.places.discard(place)
        for name in place.member.names:
            self.names[name].discard(place)
            if not self.names[name]:
                del self.names[name]
        if place.task is not None:
            place.task.cancel()
        self.live.get(place.member.spelling, {}).pop(place, None)
        self._drop_empty(place.member.spelling)

    def replay(self, place: Place) -> None:
        """Send what came after the place's position, then follow live."""
        place.task = self.hub.loop.create_task(self._replay(place))

    async def _replay(self, place: Place) -> None:
        member, limit = place.member, FIRST_CHUNK
        try:
            while place.position < self.last:
                if not member.may_replay():
                    return
                if place.merges:
                    await member.outbox.sent()
                events = self._at_hand(place.position)
                if events is None:
                    events = await aread(self.id, place.position, limit)
                    limit = _next_limit(events)
                if not events or events[0].offset != place.position + 1:
                    if not await self._is_cleared():  # else it is told with all others
                        reason = "Events were trimmed while they were sent: connect again."
                        self._cut_off(place, reason)
                    return
                events = [event for event in events if event.offset <= self.last]
                for event in events if member.merge is None else member.merge(events):
                    text = member.encode(event)
                    if text is not None:
                        await member.outbox.send(text)
                    while place.notes and place.notes[0].after <= event.offset:
                        await member.outbox.send(place.notes.pop(0).text)
                place.position = events[-1].offset
            place.task = None
            self.attach(place)
        except DatabaseTrouble as error:
            self.hub.say(f"The log can't be read: {error}")
            self._cut_off(place, "The log can't be read now: connect again.")

    async def _is_cleared(self) -> bool:
        """Whether there is another epoch, of which nobody was told yet; then all are, soon."""
        head = (await alook([self.id])).get(self.id)
        if head is not None and head.epoch == self.epoch:
            return False
        self.is_stale = True
        self.fill(0.0)
        return True

    def _at_hand(self, position: int) -> list[Event] | None:
        """What follows a position, without a query; None when it is too long ago."""
        recent = self.recent
        if not recent or recent[0].offset > position + 1:
            return None
        return [event for event in recent if event.offset > position]


def _whole(events: list[Event]) -> list[Event]:
    """Without the last request's events, when some of them may not have been read."""
    if len(events) == MOST_FILLED and events[-1].request_id != events[0].request_id:
        while events[-1].request_id == events[-2].request_id:
            events.pop()
        events.pop()
    return events


def _next_limit(events: Sequence[Event]) -> int:
    """How many events like these make a chunk."""
    characters = sum(len(event.payload) for event in events)
    average = max(1, characters // max(1, len(events)))
    return max(1, min(LARGEST_CHUNK, CHUNK_CHARACTERS // average))
