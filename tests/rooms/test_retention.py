"""What logs keep: the youngest, without a hole, by count and by age of their kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from mashin_surfaces.conf import settings as our_settings
from mashin_surfaces.rooms import log, retention
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.models import Room, RoomEvent, RoomMember
from mashin_surfaces.rooms.retention import Trimmed, trim, would_trim
from mashin_surfaces.timers.clock import Clock
from mashin_surfaces.timers.models import ServerProcess

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86_400.0
NOW = datetime.now(UTC)


def make_room(ages: list[float], kind: str = "topic", key: str = "one", born: float = 0) -> Room:
    """A room with an event for each of these ages in days, the oldest first."""
    room = Room.objects.create(kind=kind, key=key, epoch=uuid4().hex, head=len(ages))
    Room.objects.filter(pk=room.pk).update(created_at=NOW - timedelta(days=born))
    RoomEvent.objects.bulk_create(
        RoomEvent(
            room=room, offset=number, type="t", payload="1", created_at=NOW - timedelta(days=age)
        )
        for number, age in enumerate(ages, 1)
    )
    return room


def kept(room: Room) -> list[int]:
    """The offsets that are there; the row of the room says the same."""
    room.refresh_from_db()
    offsets = list(room.events.order_by("offset").values_list("offset", flat=True))
    assert offsets == list(range(room.floor + 1, room.head + 1))
    return offsets


@pytest.fixture
def keep(settings: Any) -> Any:
    """``keep(topic={"COUNT": 3})``: what the setting says; of other kinds all is kept."""

    def keep_it(**rules: dict[str, Any]) -> None:
        everything = {"COUNT": None, "AGE": None}
        kinds = dict.fromkeys(Room.Kind.values, everything)
        changed = {kind: everything | rule for kind, rule in rules.items()}
        settings.MASHIN_SURFACES = {"ROOMS": kinds | changed}

    keep_it()
    return keep_it


def test_the_last_so_many_are_kept(keep: Any) -> None:
    keep(topic={"COUNT": 3})
    room = make_room([0.0] * 10)
    assert trim() == Trimmed(7, 0)
    assert kept(room) == [8, 9, 10]
    assert trim() == Trimmed(0, 0)


def test_what_is_too_old_goes_up_to_the_first_that_is_not(keep: Any) -> None:
    keep(topic={"AGE": 7 * DAY})
    # A host with a wrong clock wrote the last but one: it stays, or there would be a hole.
    room = make_room([9, 8, 7.5, 6, 9, 1])
    assert trim() == Trimmed(3, 0)
    assert kept(room) == [4, 5, 6]


@pytest.mark.parametrize(("count", "left"), [(2, [5, 6]), (5, [4, 5, 6])])
def test_an_event_goes_when_either_says_so(keep: Any, count: int, left: list[int]) -> None:
    keep(topic={"COUNT": count, "AGE": 7 * DAY})
    room = make_room([9, 8, 7.5, 6, 5, 1])
    trim()
    assert kept(room) == left


def test_a_count_of_none_at_all_keeps_nothing(keep: Any) -> None:
    keep(topic={"COUNT": 0})
    room = make_room([0.0] * 4)
    assert trim() == Trimmed(4, 0)
    assert kept(room) == []
    assert room.floor == room.head == 4


def test_each_kind_has_its_own_rule_and_one_may_be_trimmed_alone(keep: Any) -> None:
    keep(topic={"COUNT": 1}, panel={"COUNT": 2})
    topic, panel, run = (make_room([0.0] * 5, kind) for kind in ("topic", "panel", "run"))
    assert trim("panel") == Trimmed(3, 0)
    assert (kept(topic), kept(panel)) == ([1, 2, 3, 4, 5], [4, 5])
    assert trim() == Trimmed(4, 0)
    assert (kept(topic), kept(panel), kept(run)) == ([5], [4, 5], [1, 2, 3, 4, 5])


def test_rooms_that_are_named_are_trimmed_alone(keep: Any) -> None:
    keep(topic={"COUNT": 1})
    first, second = (make_room([0.0] * 5, key=key) for key in ("one", "two"))
    assert trim(rooms=[second.pk]) == Trimmed(4, 0)
    assert (len(kept(first)), len(kept(second))) == (5, 1)


def test_batches_leave_no_hole_and_may_end_early(keep: Any) -> None:
    keep(topic={"COUNT": 5})
    room = make_room([0.0] * 100)
    seen: list[int] = []

    def watch(events: int, rooms: int) -> bool:
        seen.append(events)
        assert kept(room)[0] == sum(seen) + 1
        return len(seen) < 3

    assert trim(batch=10, progress=watch) == Trimmed(30, 0)
    assert trim(batch=10) == Trimmed(65, 0)
    assert kept(room) == [96, 97, 98, 99, 100]


def test_ages_are_judged_in_batches_too(keep: Any) -> None:
    keep(topic={"AGE": DAY})
    room = make_room([3.0] * 25 + [0.5] * 10)
    assert trim(batch=10) == Trimmed(25, 0)
    assert kept(room) == list(range(26, 36))


def test_trimming_and_appending_do_not_disturb_each_other(keep: Any) -> None:
    keep(topic={"COUNT": 5})
    room = make_room([0.0] * 20)

    def append_meanwhile(events: int, rooms: int) -> None:
        log.append(room.pk, [NewEvent("t", "2")])

    trim(batch=4, progress=append_meanwhile)
    trim()
    assert kept(room) == list(range(room.head - 4, room.head + 1))
    assert room.head > 20


def test_a_reset_room_keeps_to_its_rule_with_the_offsets_that_follow(keep: Any) -> None:
    keep(topic={"COUNT": 2})
    room = make_room([0.0] * 5)
    log.reset(room.pk)
    for _ in range(3):
        log.append(room.pk, [NewEvent("t", "2")])
    assert trim() == Trimmed(1, 0)
    assert kept(room) == [7, 8]


# -- whole rooms ----------------------------------------------------------------------------------


def test_topics_that_are_empty_lonely_and_old_go_wholly(keep: Any) -> None:
    keep(topic={"AGE": DAY}, panel={"AGE": DAY})
    make_room([], key="goes", born=2)
    make_room([3.0], key="goes once it is trimmed", born=4)
    make_room([], key="is young", born=0.5)
    make_room([0.5], key="has an event", born=2)
    make_room([], kind="panel", key="is no topic", born=2)
    room = make_room([], key="has a member", born=2)
    process = ServerProcess.objects.create(id="p", host="h", pid=1, started_at=NOW, beat_at=NOW)
    RoomMember.objects.create(
        room=room, process=process, connection="c", principal="ada", since=NOW
    )
    expected = Trimmed(1, 2)
    assert would_trim() == expected
    assert trim() == expected
    left = set(Room.objects.values_list("key", flat=True))
    assert left == {"is young", "has an event", "is no topic", "has a member"}


def test_rooms_that_are_named_do_not_go_wholly(keep: Any) -> None:
    room = make_room([], born=2)
    assert trim(rooms=[room.pk]) == Trimmed(0, 0)
    assert Room.objects.exists()


# -- settings, the clock, the command -------------------------------------------------------------


def test_a_rule_that_is_written_in_part_keeps_the_rest_of_its_kind(settings: Any) -> None:
    before = our_settings.ROOMS
    settings.MASHIN_SURFACES = {"ROOMS": {"topic": {"COUNT": 7}}}
    assert our_settings.ROOMS.topic.COUNT == 7
    assert our_settings.ROOMS.topic.AGE == before.topic.AGE
    assert our_settings.ROOMS.panel == before.panel
    assert (our_settings.ROOMS.run.COUNT, our_settings.ROOMS.run.AGE) == (None, None)


@pytest.fixture
def own_clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.stop()


def test_the_clock_trims(keep: Any, own_clock: Clock) -> None:
    from mashin_surfaces.timers.models import Timer

    keep(topic={"COUNT": 1})
    room = make_room([0.0] * 5)
    own_clock.every("rooms", retention.EVERY, retention.trim_due)
    own_clock.tick()
    Timer.objects.update(due_at=NOW)
    own_clock.tick()
    assert kept(room) == [5]


def run(*words: str) -> str:
    out = StringIO()
    call_command("trim_rooms", *words, stdout=out)
    return out.getvalue().strip()


def test_the_command_says_what_goes_and_does_it(keep: Any) -> None:
    keep(topic={"COUNT": 2}, run={"COUNT": 1})
    room = make_room([0.0] * 5)
    make_room([0.0] * 5, "run")
    assert run("--dry-run") == "7 events and 0 rooms would go."
    assert run("--dry-run", "--kind", "run") == "4 events and 0 rooms would go."
    assert len(kept(room)) == 5
    assert run("--kind", "topic") == "3 events and 0 rooms are gone."
    assert run() == "4 events and 0 rooms are gone."
    assert kept(room) == [4, 5]


@pytest.mark.slow
def test_a_million_events_are_trimmed_without_loading_them(keep: Any) -> None:
    import resource

    keep(topic={"COUNT": 1_000})
    room = make_room([])
    table = RoomEvent._meta.db_table
    series = (
        "generate_series(1, 1000000) as n"
        if connection.vendor == "postgresql"
        else "(with recursive s(n) as (select 1 union all select n + 1 from s where n < 1000000) "
        "select n from s)"
    )
    moment = "now()" if connection.vendor == "postgresql" else "datetime('now')"
    with connection.cursor() as cursor:
        cursor.execute(
            f'insert into {table} (room_id, "offset", type, payload, actor, request_id, created_at)'
            f" select {room.pk}, n, 't', '1', '', '', {moment} from {series}"
        )
    Room.objects.filter(pk=room.pk).update(head=1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert trim() == Trimmed(999_000, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000, "kilobytes"
    assert kept(room)[0] == 999_001
