"""Members that take several events as one: they may be slow, and miss nothing all the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import Event
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.outbox import MOST_MESSAGES
from tests.rooms.followers import Follower, events, new_room

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Merging(Follower):
    """Takes events that follow each other as one with all their payloads."""

    @staticmethod
    def merge(found: Sequence[Event]) -> Sequence[Event]:
        return [found[-1]._replace(payload="+".join(event.payload for event in found))]

    @property
    def payloads(self) -> list[str]:
        return [part for _, text in self.told for part in str(text).split("+")]

    async def has_payloads(self, wanted: list[str]) -> None:
        """Returns when it was told as many; they must be these, in this order."""
        await self.until(lambda: len(self.payloads) >= len(wanted))
        assert self.payloads == wanted


@pytest.fixture(autouse=True)
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "POLL", 3600.0)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def test_a_slow_member_that_merges_gets_all_of_it_in_few_messages_and_never_overflows(
    own_hub: Hub,
) -> None:
    room = await new_room()
    slow, quick, strict = Merging("merged"), Merging("merged"), Follower()
    for member in (slow, quick, strict):
        await member.join(own_hub, room)
    slow.stop_reading()
    strict.stop_reading()
    number = MOST_MESSAGES * 2
    for each in range(number):
        await log.aappend(room, events(each))
    await quick.has_payloads(numbers(number))
    await strict.until(lambda: strict.overflows)
    assert len(quick.told) == number, "who keeps up gets each by itself"
    slow.read_on()
    await slow.has_payloads(numbers(number))
    assert slow.offsets[-1] == number
    assert len(slow.told) < number / 10
    assert (slow.overflows, quick.overflows) == (0, 0)
    strict.outbox.close()


async def test_who_merges_follows_live_again_once_it_has_taken_what_was(own_hub: Hub) -> None:
    room = await new_room()
    member = Merging()
    await member.join(own_hub, room)
    member.stop_reading()
    for each in range(10):
        await log.aappend(room, events(each))
    member.read_on()
    await member.has_payloads(numbers(10))
    for each in range(10, 20):
        await log.aappend(room, events(each))
        await member.has_payloads(numbers(each + 1))
    assert member.told[-10:] == [(each + 1, str(each)) for each in range(10, 20)]


async def test_who_comes_back_and_merges_gets_what_was_missed_in_few_messages(
    own_hub: Hub,
) -> None:
    room = await new_room()
    for first in range(0, 600, 200):
        await log.aappend(room, events(*range(first, first + 200)))
    member = Merging()
    assert (await member.join(own_hub, room, since=0)).recovered
    await member.has_payloads(numbers(600))
    assert len(member.told) < 10


async def test_members_that_stop_and_go_on_at_any_moment_get_everything_once(
    own_hub: Hub,
) -> None:
    room, choice = await new_room(), random.Random(7)
    members = [Merging(f"of {number % 2}") for number in range(6)]
    for member in members:
        await member.join(own_hub, room)
    for each in range(600):
        await log.aappend(room, events(each))
        member = choice.choice(members)
        choice.choice([member.stop_reading, member.read_on])()
        if choice.random() < 0.2:
            await asyncio.sleep(0)
    for member in members:
        member.read_on()
    for member in members:
        await member.has_payloads(numbers(600))
        assert member.offsets == sorted(set(member.offsets))
        assert (member.overflows, member.closed) == (0, [])
