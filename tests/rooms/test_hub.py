"""From a commit to every member of this process: in order, once, whatever bells were heard."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ParamSpec

import pytest
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from redis import Redis

from mashin_surfaces.rooms import doorbell, live, log, retention
from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms.appending import Append
from mashin_surfaces.rooms.events import Bell, Event, Note
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.live import FAR
from mashin_surfaces.rooms.models import Room
from mashin_surfaces.rooms.outbox import MOST_MESSAGES
from tests.rooms.followers import DEADLINE, Follower, events, new_room, unheard
from tests.servers import Valkey, valkey
from tests.timers.workers import apart

pytestmark = pytest.mark.django_db(transaction=True)

P = ParamSpec("P")

#: Events that are published one after the other, to count what each costs.
ONE_BY_ONE = 20


@pytest.fixture
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "POLL", 3600.0)
    monkeypatch.setattr(doorbell, "PATIENCE", 60.0)  # who gave up waiting would wait for the poll


@pytest.fixture
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "POLL", 0.02)


@contextmanager
def deaf(hub: Hub) -> Iterator[None]:
    """Bells that this process does not hear, as if another one had rung and the layer lost it."""
    doorbell.listeners.discard(hub)
    try:
        yield
    finally:
        doorbell.listeners.add(hub)


async def keep(settings: Any, room: int, count: int) -> None:
    """Trim a topic to its last so many events."""
    settings.MASHIN_SURFACES = {"ROOMS": {"topic": {"COUNT": count, "AGE": None}}}
    await apart(retention.trim, "topic", rooms=[room])


# -- order ----------------------------------------------------------------------------------------


async def test_what_is_appended_reaches_every_member_in_order(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    members = [Follower() for _ in range(3)]
    for member in members:
        joined = await member.join(own_hub, room)
        assert (joined.offset, joined.recovered) == (0, False)
    await asyncio.gather(*(log.aappend(room, events(n, n)) for n in range(50)))
    stored = [(each.offset, each.payload) for each in await log.aread(room, 0)]
    for member in members:
        await member.has(range(1, 101))
        assert member.told == stored


async def test_members_of_one_spelling_share_one_encoding(never_polls: None, own_hub: Hub) -> None:
    room = await new_room()
    members = [Follower("plain"), Follower("plain"), Follower("envelope"), Follower("plain")]
    for member in members:
        await member.join(own_hub, room)
    for number in range(5):
        await log.aappend(room, events(number))
    for member in members:
        await member.has(range(1, 6))
    plain = [number for each in members if each.spelling == "plain" for number in each.encoded]
    assert plain == [1, 2, 3, 4, 5]
    assert members[2].encoded == [1, 2, 3, 4, 5]


async def test_a_slow_member_overflows_alone(never_polls: None, own_hub: Hub) -> None:
    room = await new_room()
    slow, quick = Follower(), Follower()
    for member in (slow, quick):
        await member.join(own_hub, room)
    slow.stop_reading()
    number = MOST_MESSAGES + 50
    for start in range(0, number, 51):
        await log.aappend(room, events(*range(start, start + 51)))
    await quick.has(range(1, number + 1))
    assert (slow.overflows, quick.overflows, slow.told) == (1, 0, [])
    slow.read_on()
    # What was taken comes without a hole; the first was being sent and did not wait.
    await slow.has(range(1, MOST_MESSAGES + 2))


async def test_what_is_not_durable_reaches_who_is_there_and_moves_nothing(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    fleeting = Event(0, "t", "fleeting", "", "", datetime.now(UTC))
    doorbell.ring([Bell(room, "", 0, 0, [fleeting])])
    await log.aappend(room, events("kept"))
    await member.has([0, 1])
    assert member.told == [(0, "fleeting"), (1, "kept")]


# -- holes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, FAR - 1, FAR, FAR * 8])
async def test_what_was_not_heard_is_read_from_the_log_when_something_is(
    never_polls: None, own_hub: Hub, missing: int
) -> None:
    room = await new_room()
    members = [Follower(), Follower()]
    for member in members:
        await member.join(own_hub, room)
    await unheard(room, missing)
    await log.aappend(room, events("heard"))
    for member in members:
        await member.has(range(1, missing + 2))
        assert member.told[-1] == (missing + 1, "heard")


async def test_after_a_far_hole_each_member_reads_the_log_at_its_own_pace(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    slow, quick = Follower(), Follower()
    for member in (slow, quick):
        await member.join(own_hub, room)
    slow.stop_reading()
    missing = MOST_MESSAGES * 3
    await unheard(room, missing)
    await log.aappend(room, events("heard"))
    await quick.has(range(1, missing + 2))
    assert quick.encoded == list(range(1, missing + 2))
    await log.aappend(room, events("live"))
    await quick.has(range(1, missing + 3))
    slow.read_on()
    await slow.has(range(1, missing + 3))  # nothing overflowed: a replay waits for its reader
    assert (slow.overflows, quick.overflows) == (0, 0)


async def test_a_note_behind_more_than_a_bell_carries_is_told_behind_it(
    never_polls: None, own_hub: Hub
) -> None:
    room, member = await new_room(), Follower(names=("ada",))
    await member.join(own_hub, room)
    large = ["x" * 1024] * (FAR + 1)
    await log.aput(Append(room, events(*large), notes=[Note("ada", f"{FAR + 1} note")]))
    await member.until(lambda: len(member.told) == FAR + 2)
    assert member.told[-1] == (FAR + 1, "note")


async def test_what_is_heard_of_while_the_room_is_looked_at_again_is_read(
    never_polls: None, own_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, member = await new_room(), Follower()
    await member.join(own_hub, room)
    look, has_looked, go_on = log.alook, asyncio.Event(), asyncio.Event()

    async def look_long(rooms: Sequence[int]) -> Any:
        found = await look(rooms)
        has_looked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(live, "alook", look_long)
    assert member.place is not None
    member.place.room.is_followed()
    async with asyncio.timeout(DEADLINE):
        await has_looked.wait()
    await log.aappend(room, events("x" * 70_000))  # too large for its bell
    await eventually(1, lambda: member.place.room.wanted if member.place else 0)
    go_on.set()
    await member.has([1])


@pytest.mark.parametrize("missing", [1, FAR * 4])
async def test_what_nobody_rang_for_is_found_by_the_poll(
    polls_often: None, own_hub: Hub, missing: int
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    await unheard(room, missing)
    await member.has(range(1, missing + 1))


async def test_bells_that_come_double_swapped_and_late_change_nothing(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    with deaf(own_hub):
        epochs = [(await log.aappend(room, events(n, n))).epoch for n in range(20)]
    stored = await log.aread(room, 0)
    bells = [
        Bell(room, epochs[0], n, n + 1, stored[n - 1 : n + 1] if n % 3 else ())
        for n in range(1, 40, 2)
    ] * 2
    random.Random(7).shuffle(bells)
    doorbell.ring(bells)
    await member.has(range(1, 41))
    doorbell.ring(bells)
    await log.aappend(room, events("last"))
    await member.has(range(1, 42))


# -- joining --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_followed", [True, False], ids=["followed", "first member"])
async def test_who_comes_back_gets_what_was_missed_or_is_told_that_it_can_not(
    never_polls: None, own_hub: Hub, settings: Any, is_followed: bool
) -> None:
    room = await new_room()
    if is_followed:
        await Follower().join(own_hub, room)
    epoch = (await log.aappend(room, events(*range(600)))).epoch
    await keep(settings, room, 500)

    async def ask(since: int | None, epoch: str | None = None, back: int = 0) -> Follower:
        member = Follower()
        await member.join(own_hub, room, since=since, epoch=epoch, back=back)
        assert member.joined is not None
        await member.has(range(member.joined.offset + 1, 601))
        return member

    assert (await ask(None, back=10_000)).joined == (100, epoch, False)
    for since in (100, 101, 300, 599, 600):
        for known in (None, epoch):
            assert (await ask(since, known)).joined == (since, epoch, True)
    for since in (0, 99, 601, 10**12, -1):
        assert (await ask(since, epoch)).joined == (600, epoch, False)
    assert (await ask(300, "another")).joined == (600, epoch, False)
    assert (await ask(0, epoch, back=10)).joined == (590, epoch, False)


async def test_who_was_told_more_elsewhere_than_is_known_here_goes_on_from_there(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    here, comes = Follower(), Follower()
    joined = await here.join(own_hub, room)
    await unheard(room, 5)
    assert await comes.join(own_hub, room, since=4, epoch=joined.epoch) == (4, joined.epoch, True)
    await log.aappend(room, events("next"))
    await comes.has([5, 6])
    await here.has(range(1, 7))


async def test_members_that_come_and_go_at_full_speed_lose_nothing_and_get_nothing_twice(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    choice = random.Random(11)
    came: list[Follower] = []

    async def write(number: int) -> None:
        for each in range(30):
            await log.aappend(room, events(f"{number}:{each}"))

    async def come_and_go() -> None:
        while not done.is_set():
            member = Follower()
            since = choice.choice([None, 0, len(came)])
            await member.join(own_hub, room, since=since, back=choice.choice([0, 3]))
            came.append(member)
            for _ in range(choice.randrange(4)):
                await asyncio.sleep(0)
            if choice.random() < 0.3:
                member.leave(own_hub)
                member.place = None

    done = asyncio.Event()
    coming = [asyncio.create_task(come_and_go()) for _ in range(2)]
    await asyncio.gather(*(write(number) for number in range(10)))
    done.set()
    await asyncio.gather(*coming)
    assert len(came) > 20
    stored = {each.offset: each.payload for each in await log.aread(room, 0)}
    assert list(stored) == list(range(1, 301))
    for member in came:
        assert member.joined is not None
        begin = member.joined.offset + 1
        if member.place is not None:
            await member.has(range(begin, 301))
        got = member.offsets
        assert got == list(range(begin, begin + len(got)))
        assert all(stored[int(offset)] == payload for offset, payload in member.told)


async def test_a_room_that_is_not_there_can_not_be_joined(own_hub: Hub) -> None:
    with pytest.raises(LookupError):
        await Follower().join(own_hub, 10**9)


async def test_who_gives_up_joining_leaves_nothing_behind(never_polls: None, own_hub: Hub) -> None:
    room = await new_room()
    joining = asyncio.create_task(Follower().join(own_hub, room))
    await asyncio.sleep(0)
    joining.cancel()
    await asyncio.wait([joining])
    member = Follower()
    await member.join(own_hub, room)
    await log.aappend(room, events("one"))
    await member.has([1])


async def test_who_gives_up_when_the_room_is_open_by_now_leaves_nothing_behind(
    never_polls: None, own_hub: Hub
) -> None:
    """The last moment: the room was opened, and who waited for it has not been told yet."""
    room = await new_room()
    joining = asyncio.create_task(Follower().join(own_hub, room))
    await asyncio.sleep(0)
    opening = own_hub._rooms[room].opening
    assert opening is not None
    opening.add_done_callback(lambda _: joining.cancel())
    await asyncio.wait([joining], timeout=DEADLINE)
    assert joining.cancelled()
    assert room not in own_hub._rooms


async def test_who_heard_elsewhere_of_a_reset_is_not_sent_back(
    never_polls: None, own_hub: Hub
) -> None:
    room, here, comes = await new_room(), Follower(), Follower()
    await here.join(own_hub, room)
    with deaf(own_hub):
        epoch = await log.areset(room)
    assert await comes.join(own_hub, room, since=0, epoch=epoch) == (0, epoch, True)
    await here.until(lambda: here.told == [("reset", epoch, 0)])


async def test_when_the_rooms_can_not_be_read_joining_says_so_and_the_next_one_tries_again(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    await apart(rename, "mashin_surfaces_room", "away")
    try:
        failed = await asyncio.gather(
            *(Follower().join(own_hub, room) for _ in range(3)), return_exceptions=True
        )
    finally:
        await apart(rename, "away", "mashin_surfaces_room")
    assert all(isinstance(each, DatabaseError) for each in failed)
    member = Follower()
    await member.join(own_hub, room)
    await log.aappend(room, events("one"))
    await member.has([1])


def rename(before: str, after: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {before} rename to {after}")


# -- clearing, trimming, closing ------------------------------------------------------------------


async def test_a_reset_reaches_every_member_and_offsets_go_on(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    members = [Follower(), Follower("other")]
    for member in members:
        await member.join(own_hub, room)
    await log.aappend(room, events(1, 2, 3))
    epoch = await log.areset(room)
    await log.aappend(room, events(4))
    for member in members:
        await member.has([1, 2, 3, 4])
        assert member.told[3] == ("reset", epoch, 3)


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "read before it is heard"])
async def test_a_reset_in_the_middle_of_a_replay_ends_the_replay_and_is_told(
    never_polls: None, own_hub: Hub, is_heard: bool
) -> None:
    room = await new_room()
    await log.aappend(room, events(*range(400)))
    member = Follower()
    member.stop_reading()
    await member.join(own_hub, room, since=0)
    if is_heard:
        epoch = await log.areset(room)
        member.read_on()
    else:
        with deaf(own_hub):
            epoch = await log.areset(room)
        member.read_on()
    await member.until(lambda: ("reset", epoch, 400) in member.told)
    await log.aappend(room, events("new"))
    await member.until(lambda: (401, "new") in member.told)
    place = member.told.index(("reset", epoch, 400))
    assert [each[0] for each in member.told[:place]] == list(range(1, place + 1))
    assert member.told[place + 1 :] == [(401, "new")]
    assert member.closed == []


async def test_a_reset_that_nobody_heard_is_found_by_the_poll(
    polls_often: None, own_hub: Hub
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    await log.aappend(room, events(1))
    await member.has([1])
    with deaf(own_hub):
        epoch = await log.areset(room)
        await log.aappend(room, events(2))
    await member.has([1, 2])
    assert member.told[1] == ("reset", epoch, 1)


async def test_a_reset_while_the_first_member_comes_is_not_overheard(
    never_polls: None, own_hub: Hub, settings: Any
) -> None:
    """The room is looked at, and cleared before the loop learns what was seen."""
    settings.MASHIN_SURFACES = {"ROOM_THREADS": 1}
    log.room_threads.close()  # from now on one thread: what is asked first is done first
    try:
        room = await new_room()
        await log.aappend(room, events(1, 2))
        member = Follower()
        joining = asyncio.create_task(member.join(own_hub, room))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has asked
        epoch = reset_on_threads(room)
        await asyncio.wait_for(joining, DEADLINE)
        await member.until(lambda: (3, "new") in member.told)
        assert member.joined is not None
        assert member.joined.offset == 2
        is_late = member.joined.epoch == epoch
        first = [] if is_late else [("reset", epoch, 2)]
        assert member.told == [*first, (3, "new")]
    finally:
        log.room_threads.close()


def reset_on_threads(room: int) -> str:
    """Reset and append, while the loop stands still."""

    def work() -> str:
        epoch = log.reset(room)
        log.append(room, events("new"))
        return epoch

    return log.room_threads.submit(work).result(DEADLINE)


async def test_who_comes_after_a_reset_that_was_not_heard_of_joins_its_epoch(
    never_polls: None, own_hub: Hub
) -> None:
    """They have looked at the database: an older epoch would have them look again and again."""
    room = await new_room()
    first, second = Follower(), Follower()
    await first.join(own_hub, room)
    with deaf(own_hub):
        epoch = await apart(log.reset, room)
    joined = await second.join(own_hub, room, since=0, epoch=epoch)
    assert (joined.epoch, joined.recovered) == (epoch, True)
    await first.until(lambda: first.told == [("reset", epoch, 0)])


async def test_who_reads_what_is_trimmed_meanwhile_is_told_and_gets_no_hole(
    never_polls: None, own_hub: Hub, settings: Any
) -> None:
    room = await new_room()
    await log.aappend(room, events(*range(600)))
    member = Follower()
    member.stop_reading()
    await member.join(own_hub, room, since=0)
    await member.until(lambda: member.encoded)  # a part of it is read
    await keep(settings, room, 10)
    member.read_on()
    await member.until(lambda: member.closed)
    assert "trimmed" in member.closed[0]
    assert member.offsets == list(range(1, len(member.offsets) + 1))
    assert len(member.offsets) < 590


async def test_what_was_trimmed_before_it_was_heard_closes_its_members(
    never_polls: None, own_hub: Hub, settings: Any
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    await unheard(room, 20)
    await keep(settings, room, 5)
    await log.aappend(room, events("heard"))
    await member.until(lambda: member.closed)
    assert member.told == []
    again = Follower()
    await again.join(own_hub, room, since=16)
    assert again.joined is not None
    assert again.joined.recovered
    await again.has(range(17, 22))
    assert member.told == []  # nothing behind the hole, however long its end takes
    assert len(member.closed) == 1


async def test_a_reset_is_told_with_where_the_log_begins_now(
    never_polls: None, own_hub: Hub, settings: Any
) -> None:
    """What was appended behind it and trimmed before anybody looked went with it: there is no
    more to be had by connecting again."""
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    await log.aappend(room, events(1, 2, 3))
    await member.has([1, 2, 3])
    with deaf(own_hub):
        epoch = await log.areset(room)
        await log.aappend(room, events(*range(20)))
    await keep(settings, room, 5)
    await log.aappend(room, events("heard"))
    await member.until(lambda: len(member.told) == 3 + 1 + 6)
    assert member.told[3] == ("reset", epoch, 18)
    assert member.offsets == [1, 2, 3, *range(19, 25)]
    assert not member.closed


async def test_who_may_not_see_what_was_any_more_gets_no_further_part_of_it(
    never_polls: None, own_hub: Hub
) -> None:
    room = await new_room()
    await log.aappend(room, events(*range(400)))
    member = Follower()
    member.stop_reading()
    await member.join(own_hub, room, since=0)
    await member.until(lambda: member.encoded)
    member.may = False
    member.read_on()
    assert member.place is not None
    assert member.place.task is not None
    await asyncio.wait([member.place.task], timeout=DEADLINE)
    assert member.offsets == list(range(1, len(member.offsets) + 1))
    assert len(member.told) < 400


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "closed"])
async def test_when_a_room_is_gone_or_closed_its_members_are_told(
    polls_often: None, own_hub: Hub, is_gone: bool
) -> None:
    room = await new_room()
    member = Follower()
    await member.join(own_hub, room)
    await apart(end_room, room, is_gone)
    await member.until(lambda: member.closed)


def end_room(room: int, is_gone: bool) -> None:
    rooms = Room.objects.filter(pk=room)
    if is_gone:
        rooms.delete()
    else:
        rooms.update(status=Room.Status.CLOSED)


async def test_who_left_is_told_nothing_more(never_polls: None, own_hub: Hub) -> None:
    room = await new_room()
    stays, leaves, replays = Follower(), Follower(), Follower()
    await log.aappend(room, events(*range(400)))
    await stays.join(own_hub, room)
    await leaves.join(own_hub, room)
    replays.stop_reading()
    await replays.join(own_hub, room, since=0)
    for member in (leaves, replays):
        member.leave(own_hub)
    replays.read_on()
    await log.aappend(room, events("x"))
    await stays.has([401])
    assert leaves.told == []
    assert len(replays.told) <= 1


# -- the layer ------------------------------------------------------------------------------------


async def test_a_room_that_was_joined_on_a_channel_given_up_meanwhile_is_joined_again(
    never_polls: None, own_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, channels = await new_room(), []
    is_sending, go_on = asyncio.Event(), asyncio.Event()

    class Layer:
        async def group_add(self, group: str, channel: str) -> None:
            channels.append(channel)

        async def group_send(self, group: str, message: Any) -> None:
            is_sending.set()
            await go_on.wait()

    await Follower().join(own_hub, room)
    monkeypatch.setattr(hub_module, "get_channel_layer", Layer)
    own_hub._channel = "old"
    following = asyncio.create_task(own_hub.follow(room))
    async with asyncio.timeout(DEADLINE):
        await is_sending.wait()
    own_hub._channel = "new"
    go_on.set()
    assert not await following
    assert await own_hub.follow(room)
    assert channels == ["old", "new"]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
async def over_valkey(
    server: Valkey, settings: Any, never_polls: None, own_hub: Hub
) -> AsyncIterator[Redis]:
    """The channel layer of production; a client that looks at the server."""
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [server.url]},
        }
    }
    await own_hub.close()
    own_hub.start()
    with Redis.from_url(server.url) as client:
        yield client
        await own_hub.close()
        await get_channel_layer().flush()


async def eventually(wanted: int, look: Callable[P, int], *args: P.args, **kw: P.kwargs) -> None:
    """Returns when ``look`` gives what is wanted."""
    deadline = time.monotonic() + DEADLINE
    while (found := look(*args, **kw)) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


def listeners(client: Redis, room: int) -> int:
    """Connections to the server that hear of a room."""
    ((_, number),) = client.pubsub_numsub(f"asgi__group__{doorbell.group_of(room)}")
    return int(number)


def listening(client: Redis) -> int:
    """Connections to the server that hear what is told to all processes."""
    ((_, number),) = client.pubsub_numsub(f"asgi__group__{doorbell.NEWS}")
    return int(number)


def commands(client: Redis) -> dict[str, int]:
    """How often each command was given, but for those that only look."""
    looks = {"cmdstat_info", "cmdstat_pubsub|numsub", "cmdstat_client|setinfo", "cmdstat_hello"}
    told: dict[str, Any] = client.info("commandstats")
    return {name: each["calls"] for name, each in told.items() if name not in looks}


def publishes(client: Redis) -> int:
    return commands(client).get("cmdstat_publish", 0)


async def test_a_process_joins_a_room_once_in_the_layer_however_many_members_it_has(
    own_hub: Hub, over_valkey: Redis
) -> None:
    room = await new_room()
    first = Follower()
    await first.join(own_hub, room)
    await first.is_followed()
    before = commands(over_valkey)
    others = [Follower() for _ in range(100)]
    for member in others:
        await member.join(own_hub, room)
    assert commands(over_valkey) == before
    for member in others:
        member.leave(own_hub)
    assert listeners(over_valkey, room) == 1
    first.leave(own_hub)
    await eventually(0, listeners, over_valkey, room)


async def test_what_is_published_before_the_layer_lets_us_in_is_read_once_it_does(
    own_hub: Hub, over_valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription is on its way to the server when the log is read, and so is an event."""
    room, member, layer, late = await new_room(), Follower(), get_channel_layer(), asyncio.Event()
    enter = layer.group_add

    async def enter_late(group: str, channel: str) -> None:
        if late.is_set():
            await enter(group, channel)

    await eventually(1, listening, over_valkey)
    monkeypatch.setattr(layer, "group_add", enter_late)
    await member.join(own_hub, room)
    with deaf(own_hub):
        await log.aappend(room, events("gone past"))
    assert member.told == []
    late.set()
    assert await own_hub.follow(room)
    await member.has([1])


async def test_a_broadcast_costs_one_command_with_ten_members_and_with_a_thousand(
    own_hub: Hub, over_valkey: Redis
) -> None:
    costs = []
    for number in (10, 1_000):
        room = await new_room()
        members = [Follower() for _ in range(number)]
        for member in members:
            await member.join(own_hub, room)
        await members[0].is_followed()
        before = commands(over_valkey)
        published = publishes(over_valkey)
        for each in range(ONE_BY_ONE):
            await log.aappend(room, events(each))
            await eventually(published + each + 1, publishes, over_valkey)
        for member in members:
            await member.has(range(1, ONE_BY_ONE + 1))
        after = commands(over_valkey)
        costs.append({name: after[name] - before.get(name, 0) for name in after})
        for member in members:
            member.leave(own_hub)
        await eventually(0, listeners, over_valkey, room)
    few, many = ({name: cost for name, cost in each.items() if cost} for each in costs)
    assert few == many == {"cmdstat_publish": ONE_BY_ONE}


async def test_bells_of_many_rooms_go_as_one_command_which_other_processes_understand(
    own_hub: Hub, over_valkey: Redis
) -> None:
    rooms = [await new_room() for _ in range(doorbell.MANY)]
    members = [Follower() for _ in rooms]
    bells = []
    with deaf(own_hub):
        for room, member in zip(rooms, members, strict=True):
            await member.join(own_hub, room)
            await member.is_followed()
            published = publishes(over_valkey)
            appended = await log.aappend(room, events(1, 2))
            await eventually(published + 1, publishes, over_valkey)
            told = await log.aread(room, 0)
            bells.append(Bell(room, appended.epoch, appended.first, appended.last, told))
        before = publishes(over_valkey)
        doorbell.ring(bells)
        doorbell.ring([Bell(0, "", 0, 0)])  # what comes behind it is a command of its own
        await eventually(before + 2, publishes, over_valkey)
    assert not any(member.told for member in members)  # our own come back, and are not taken twice
    text = doorbell.encoded(bells).replace(doorbell.ORIGIN, "another process")
    message = {"type": doorbell.MESSAGE, "text": text}
    await get_channel_layer().group_send(doorbell.NEWS, message)
    for member in members:
        await member.has([1, 2])


async def test_what_stands_in_no_log_stays_in_the_order_of_its_room_when_many_ring(
    own_hub: Hub, over_valkey: Redis
) -> None:
    at = datetime.now(UTC)
    passing = Bell(1, "", 0, 0, [Event(0, "result", "1", "", "", at)])
    others = [Bell(room, "e", 1, 1) for room in range(2, 2 + doorbell.MANY)]
    with over_valkey.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has no type for it
        heard.psubscribe("asgi__group__*")
        await asyncio.to_thread(heard.get_message, timeout=DEADLINE)  # it listens from now on
        doorbell.ring([passing, *others])
        messages = [await asyncio.to_thread(heard.get_message, timeout=DEADLINE) for _ in range(2)]
    await eventually(False, doorbell.is_ringing)
    groups = {each["channel"].decode().partition("__group__")[2] for each in messages if each}
    assert groups == {doorbell.group_of(1), doorbell.NEWS}
