"""Publishing to topics: checked, in order, and still heard when their rooms came anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction

from mashin_surfaces import apublish, publish
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.store import save_machine
from mashin_surfaces.rooms import log, topics
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.models import Room
from mashin_surfaces.rooms.topics import forget_room, room_of_topic
from tests.rooms.followers import Follower
from tests.timers.workers import apart

pytestmark = pytest.mark.django_db(transaction=True)

MACHINE = """\
machine meter
  responds with
    value as integer, is required
  implements
    compute answer
      {value: 1}
"""


@pytest.fixture(autouse=True)
def machine(transactional_db: None) -> Iterator[None]:
    save_machine(examine(MACHINE).definition, MACHINE)
    registry.refresh()
    yield
    for topic in ("", "cpu"):
        forget_room("meter", topic)


def drop_rooms() -> None:
    """What the trim does with topics that nobody needed for a day."""
    Room.objects.all().delete()


async def test_what_is_published_from_anywhere_comes_in_order(own_hub: Hub) -> None:
    member = Follower()
    await member.join(own_hub, await apart(room_of_topic, "meter", "cpu"))
    assert await apublish("meter", {"value": 1}, "cpu") == 1
    assert await apart(publish, "meter", {"value": 2}, "cpu") == 2
    assert await apublish("meter", {"value": 3}) == 1, "another topic"
    assert await apublish("meter", {"value": 4}, "cpu", durable=False) is None
    await member.has([1, 2, 0])
    assert member.told == [(1, '{"value":1}'), (2, '{"value":2}'), (0, '{"value":4}')]


@pytest.mark.parametrize(
    ("machine_name", "value", "topic", "code"),
    [
        ("nobody", {"value": 1}, "", Code.NOT_FOUND),
        ("meter", {"value": "one"}, "", Code.INVALID_OUTPUT),
        ("meter", {}, "", Code.INVALID_OUTPUT),
        ("meter", {"value": 1}, "x" * 101, Code.INVALID_INPUT),
        ("meter", {"value": 1}, "a\nb", Code.INVALID_INPUT),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_is_written(
    machine_name: str, value: object, topic: str, code: Code
) -> None:
    for durable in (True, False):
        with pytest.raises(Refusal) as refused:
            await apublish(machine_name, value, topic, durable=durable)
        assert refused.value.code == code
        with pytest.raises(Refusal):
            await apart(publish, machine_name, value, topic, durable=durable)
    assert not await apart(Room.objects.exists)


def test_a_topic_that_was_made_in_a_transaction_that_was_undone_is_made_again() -> None:
    with transaction.atomic():
        assert publish("meter", {"value": 1}, "cpu") == 1
        transaction.set_rollback(True)
    assert publish("meter", {"value": 2}, "cpu") == 1
    assert [each.payload for each in log.read(room_of_topic("meter", "cpu"), 0)] == ['{"value":2}']


async def test_publishing_to_a_topic_whose_room_was_trimmed_makes_it_anew() -> None:
    assert await apublish("meter", {"value": 1}, "cpu") == 1
    await apart(drop_rooms)
    assert await apublish("meter", {"value": 2}, "cpu") == 1
    await apart(drop_rooms)
    assert await apart(publish, "meter", {"value": 3}, "cpu") == 1


async def test_what_is_not_durable_reaches_those_who_follow_the_room_that_was_made_anew(
    own_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "KNOWN", 0.0)
    await apublish("meter", {"value": 1}, "cpu", durable=False)
    await apart(drop_rooms)
    # Another process has the subscriber, and makes the room that it needs.
    again = await log.aroom_of(Room.Kind.TOPIC, "meter:cpu", "meter")
    member = Follower()
    await member.join(own_hub, again.id)
    await apublish("meter", {"value": 2}, "cpu", durable=False)
    await member.has([0])
    assert member.told == [(0, '{"value":2}')]
