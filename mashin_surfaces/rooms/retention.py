"""What logs keep: by count and by age of each kind of room (the setting ``ROOMS``).

Events go from the oldest on, many at a time, each batch in a short transaction that moves the
room's ``floor`` with them: there is never a hole, and a reader sees at ``floor`` what is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from ..conf import RetentionSettings, settings
from ..timers.clock import clock
from ..timers.moments import before, exclusive
from .log import database
from .models import Room, RoomEvent, RoomMember

#: Events of one batch.
BATCH = 5_000
#: Seconds between two trims by the clock.
EVERY = 300.0
#: Seconds after its birth from which a topic without events and members goes.
IDLE = 86_400.0
#: Rooms that are looked for, or taken away, at a time.
PAGE = 500

#: Called with the events and rooms that went since the last call; False ends the trim.
Progress = Callable[[int, int], object]


#: Called with a room of a kind before its log is trimmed: what has to be read for the last time.
before_trim: dict[str, Callable[[int], object]] = {}


class Trimmed(NamedTuple):
    """What went: events of logs, and whole rooms."""

    events: int
    rooms: int


class _Ended(Exception):
    """Whoever watches the progress has had enough."""


def trim(
    kind: str | None = None,
    *,
    rooms: Iterable[int] | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Trimmed:
    """Take away what the setting ``ROOMS`` does not keep; of one kind, or of these rooms alone.

    Raises the database's errors; what went before stays gone.
    """
    gone = [0, 0]

    def note(events: int, rooms: int) -> None:
        gone[0] += events
        gone[1] += rooms
        if progress is not None and progress(events, rooms) is False:
            raise _Ended()

    chosen = None if rooms is None else list(rooms)
    try:
        for each in _kinds(kind):
            for page in _pages(_overfull(each, chosen)):
                for room in page:
                    _trim_room(room, each, batch, note)
        if kind in {None, Room.Kind.TOPIC} and chosen is None:
            for page in _pages(_idle()):
                note(0, _drop(page))
    except _Ended:
        pass
    return Trimmed(*gone)


def trim_due() -> None:
    """For the clock: ``trim``, as long as it is this process's work."""
    trim(progress=lambda _events, _rooms: clock.go_on())


def would_trim(kind: str | None = None) -> Trimmed:
    """What ``trim`` would take away now; it reads what is too old."""
    events = 0
    rooms = _idle().count() if kind in {None, Room.Kind.TOPIC} else 0
    for each in _kinds(kind):
        for page in _pages(_overfull(each)):
            emptied = []
            for room in Room.objects.using(database()).filter(pk__in=page).only("floor", "head"):
                floor = _floor(room, room.head, each)
                events += floor - room.floor
                if floor == room.head:
                    emptied.append(room.pk)
            if each == Room.Kind.TOPIC:
                rooms += _lonely().filter(pk__in=emptied).count()
    return Trimmed(events, rooms)


# -- events ---------------------------------------------------------------------------------------


def _trim_room(room: int, kind: str, batch: int, note: Callable[[int, int], None]) -> None:
    """Batch after batch, until the room keeps what it should."""
    if kind in before_trim:
        before_trim[kind](room)
    while True:
        begun = time.monotonic()
        with exclusive(database()) as connection:
            events, is_done = _trim_batch(connection.alias, room, kind, batch)
        note(events, 0)
        if is_done:
            return
        if connections[database()].vendor == "sqlite":
            # There is one lock for all who write: whoever waits for it must get a turn.
            time.sleep(min(0.1, time.monotonic() - begun))


def _trim_batch(alias: str, id: int, kind: str, batch: int) -> tuple[int, bool]:
    """Take away up to ``batch`` events; how many, and whether that was all."""
    rooms = Room.objects.using(alias).filter(pk=id)
    # Not the key: members may come meanwhile.
    room = rooms.select_for_update(no_key=True).only("floor", "head").first()
    if room is None:
        return 0, True
    top = min(room.head, room.floor + batch)
    floor = _floor(room, top, kind)
    if floor > room.floor:
        RoomEvent.objects.using(alias).filter(
            room_id=id, offset__gt=room.floor, offset__lte=floor
        ).delete()
        rooms.update(floor=floor)
    return floor - room.floor, floor < top or top == room.head


def _floor(room: Room, top: int, kind: str) -> int:
    """Where the floor should be, as far as ``top`` at most."""
    rule = _rule(kind)
    by_count = room.floor if rule.COUNT is None else min(top, room.head - rule.COUNT)
    by_age = room.floor
    if rule.AGE is not None and by_count < top:
        events = RoomEvent.objects.using(database()).filter(
            room_id=room.pk, offset__gt=max(room.floor, by_count), offset__lte=top
        )
        young = events.filter(created_at__gte=before(rule.AGE)).order_by("offset")
        first = young.values_list("offset", flat=True).first()
        by_age = top if first is None else first - 1
    return max(room.floor, by_count, by_age)


def _overfull(kind: str, rooms: Iterable[int] | None = None) -> QuerySet[Room]:
    """The rooms of a kind that keep too much: too many, or one that is too old."""
    rule = _rule(kind)
    too_much = Q(pk__in=[])
    if rule.COUNT is not None:
        too_much |= Q(head__gt=F("floor") + rule.COUNT)
    if rule.AGE is not None:
        oldest = RoomEvent.objects.filter(
            room=OuterRef("pk"), offset=OuterRef("floor") + 1, created_at__lt=before(rule.AGE)
        )
        too_much |= Q(Exists(oldest))
    found = Room.objects.using(database()).filter(too_much, kind=kind, head__gt=F("floor"))
    return found if rooms is None else found.filter(pk__in=rooms)


# -- rooms ----------------------------------------------------------------------------------------


def _lonely() -> QuerySet[Room]:
    """Topics without members, older than a day."""
    return Room.objects.using(database()).filter(
        ~Exists(RoomMember.objects.filter(room=OuterRef("pk"))),
        kind=Room.Kind.TOPIC,
        created_at__lt=before(IDLE),
    )


def _idle() -> QuerySet[Room]:
    """Those of them that keep no events."""
    return _lonely().filter(head=F("floor"))


def _drop(page: list[int]) -> int:
    """Take these rooms away, those that are still idle; how many."""
    with exclusive(database()) as connection:
        rooms = Room.objects.using(connection.alias)
        locked = rooms.filter(pk__in=page).order_by().select_for_update(skip_locked=True)
        held = list(locked.values_list("pk", flat=True))
        # Looked at once more behind the lock: somebody may have entered before it.
        idle = list(_idle().filter(pk__in=held).values_list("pk", flat=True))
        rooms.filter(pk__in=idle).delete()
    return len(idle)


# -- both -----------------------------------------------------------------------------------------


def _kinds(kind: str | None) -> list[str]:
    return [each for each in Room.Kind.values if kind is None or each == kind]


def _rule(kind: str) -> RetentionSettings:
    rule: RetentionSettings = getattr(settings.ROOMS, kind)
    return rule


def _pages(rooms: QuerySet[Room]) -> Iterator[list[int]]:
    """Ids in order, a page at a time; what is found may change meanwhile."""
    last: Any = 0
    while page := list(
        rooms.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:PAGE]
    ):
        yield page
        last = page[-1]
