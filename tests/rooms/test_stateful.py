"""Rooms against a model: whatever is done in whatever order, everyone gets everything, once.

Between two steps the loop stands still, so that bells, reads and joins meet in any order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mashin_surfaces.rooms import hub as hub_module
from mashin_surfaces.rooms import log, retention
from mashin_surfaces.rooms.events import Appended, NewEvent
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.live import Joined
from tests.rooms.followers import DEADLINE, Follower, events, new_room, unheard

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")

#: For a member that stopped reading: with what one rule adds, fewer than overflow its outbox.
MOST_UNREAD = 200
sizes = st.integers(1, 4)


class Rooms(RuleBasedStateMachine):
    """One room, its writers and its members.

    ``payloads`` and ``epochs``: of every event that ever was, by offset; ``floors``: of each epoch,
    all offsets behind which its log ever began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.hub = self.run(self.start())
        self.room = self.run(new_room())
        self.head = self.floor = 0
        self.epoch = log.look([self.room])[self.room].epoch
        self.floors = {self.epoch: {0}}
        self.payloads: dict[int, str] = {}
        self.epochs: dict[int, str] = {}
        self.numbers = iter(range(10**9))
        self.members: list[Follower] = []
        self.unread = 0

    async def start(self) -> Hub:
        made = Hub()
        made.start()
        return made

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, DEADLINE))

    def teardown(self) -> None:
        try:
            self.everybody_gets_everything()
        finally:
            self.run(self.hub.close())
            self.loop.close()

    # -- writing ----------------------------------------------------------------------------------

    def made(self, size: int) -> list[NewEvent]:
        self.make_room(size)
        return events(*(next(self.numbers) for _ in range(size)))

    def make_room(self, messages: int) -> None:
        """For so many more, in the outboxes of those who don't read."""
        if self.unread + messages > MOST_UNREAD:
            self.everybody_gets_everything()
        self.unread += messages

    def note(self, stands: Appended, given: Sequence[NewEvent]) -> None:
        assert stands.epoch == self.epoch
        assert stands.last - stands.first + 1 == len(given)
        for offset, event in enumerate(given, stands.first):
            assert offset not in self.payloads, "nobody else has this offset"
            self.payloads[offset] = event.payload
            self.epochs[offset] = self.epoch

    def none_is_missing(self) -> None:
        self.head = max(self.payloads, default=0)
        assert self.payloads.keys() == set(range(1, self.head + 1))

    @rule(each=st.lists(sizes, min_size=1, max_size=8))
    def append_at_once(self, each: list[int]) -> None:
        given = [self.made(size) for size in each]

        async def work() -> list[Appended]:
            return await asyncio.gather(*(log.aappend(self.room, some) for some in given))

        stand = self.run(work())
        for stands, some in zip(stand, given, strict=True):
            self.note(stands, some)
        assert [each.first for each in stand] == sorted(each.first for each in stand)
        self.none_is_missing()

    @rule(size=sizes)
    def append_and_wait(self, size: int) -> None:
        given = self.made(size)
        self.note(log.append(self.room, given), given)
        self.none_is_missing()

    @rule(each=st.lists(sizes, min_size=2, max_size=4))
    def append_on_loop_and_threads(self, each: list[int]) -> None:
        given = [self.made(size) for size in each]
        stand: dict[int, Appended] = {}

        def work(number: int) -> None:
            stand[number] = log.append(self.room, given[number])

        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, len(given))]
        for thread in threads:
            thread.start()
        stand[0] = self.run(log.aappend(self.room, given[0]))
        for thread in threads:
            thread.join(DEADLINE)
        for number, some in enumerate(given):
            self.note(stand[number], some)
        self.none_is_missing()

    @rule(each=st.lists(sizes, min_size=1, max_size=3), is_undone=st.booleans())
    def append_in_a_transaction(self, each: list[int], is_undone: bool) -> None:
        given = [self.made(size) for size in each]
        with transaction.atomic():
            stand = [log.append(self.room, some) for some in given]
            transaction.set_rollback(is_undone)
        if not is_undone:
            for stands, some in zip(stand, given, strict=True):
                self.note(stands, some)
        self.none_is_missing()

    @rule(size=st.sampled_from([1, 3, 70]))
    def append_without_a_bell(self, size: int) -> None:
        self.make_room(size)
        before = self.head
        self.run(unheard(self.room, size))
        given = events(*range(size))
        self.note(Appended(self.room, self.epoch, before + 1, before + size), given)
        self.none_is_missing()

    @rule()
    def reset(self) -> None:
        self.make_room(1)
        self.epoch = log.reset(self.room)
        self.floor = self.head
        self.floors[self.epoch] = {self.floor}

    @rule(kept=st.integers(0, 40))
    def trim(self, kept: int) -> None:
        with override_settings(MASHIN_SURFACES={"ROOMS": {"topic": {"COUNT": kept, "AGE": None}}}):
            retention.trim("topic", rooms=[self.room])
        self.floor = max(self.floor, self.head - kept)
        self.floors[self.epoch].add(self.floor)

    # -- members ----------------------------------------------------------------------------------

    @rule(
        since=st.none() | st.integers(-1, 300),
        behind=st.none() | st.integers(-1, 30),
        epoch=st.sampled_from([None, "this", "another"]),
        back=st.sampled_from([0, 5, 1000]),
        spelling=st.sampled_from(["plain", "envelope"]),
        is_calm=st.booleans(),
    )
    def join(
        self,
        since: int | None,
        behind: int | None,
        epoch: str | None,
        back: int,
        spelling: str,
        is_calm: bool,
    ) -> None:
        if is_calm:
            self.everybody_gets_everything()
        if behind is not None:
            since = self.head - behind
        asked = self.epoch if epoch == "this" else epoch

        async def come() -> tuple[Follower, Joined]:
            made = Follower(spelling)
            return made, await made.join(self.hub, self.room, since=since, epoch=asked, back=back)

        member, joined = self.run(come())
        if joined.recovered:
            assert since == joined.offset
            assert asked in {None, joined.epoch}
        if is_calm:
            self.is_as_it_should(member, joined, since if epoch != "another" else None, back)
        self.members.append(member)

    def is_as_it_should(
        self, member: Follower, joined: Joined, since: int | None, back: int
    ) -> None:
        """When all is told and nobody writes: what is kept can be had, what never was can't.

        What was trimmed a moment ago may still be at hand.
        """
        assert joined.epoch == self.epoch
        begin = min(self.floors[self.epoch])
        if since is not None and self.floor <= since <= self.head:
            assert joined.recovered
        if since is None or not begin <= since <= self.head:
            assert not joined.recovered
        if not joined.recovered:
            assert begin <= joined.offset
            assert joined.offset <= max(self.floor, self.head - back)
        self.run(self.got_all(member))
        assert not member.closed

    @rule(number=st.integers(0, 100))
    @precondition(lambda self: self.members)
    def leave(self, number: int) -> None:
        member = self.members.pop(number % len(self.members))
        member.leave(self.hub)
        self.is_whole(member)

    @rule(number=st.integers(0, 100))
    @precondition(lambda self: self.members)
    def stop_reading(self, number: int) -> None:
        self.members[number % len(self.members)].stop_reading()

    @rule(number=st.integers(0, 100))
    @precondition(lambda self: self.members)
    def read_on(self, number: int) -> None:
        self.members[number % len(self.members)].read_on()

    @rule(steps=st.integers(1, 20))
    def let_some_time_pass(self, steps: int) -> None:
        async def pass_by() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)

        self.run(pass_by())

    @rule()
    def everybody_gets_everything(self) -> None:
        for member in self.members:
            member.read_on()
        for member in self.members:
            self.run(self.got_all(member))
            self.is_whole(member)
            assert member.overflows == 0
        # Who was too late for what was trimmed was cut off, and stays among the members until it
        # leaves: whether there are any must not depend on the moment, else Hypothesis is lost.
        for member in self.members:
            assert len(member.closed) <= 1
            assert all("trimmed" in reason for reason in member.closed)
        self.unread = 0

    # -- what must hold ---------------------------------------------------------------------------

    def parts(self, member: Follower) -> list[tuple[str, int, list[tuple[int | str, ...]]]]:
        """What it was told in each epoch: its name, where it began, the events."""
        assert member.joined is not None
        found: list[tuple[str, int, list[tuple[int | str, ...]]]] = [
            (member.joined.epoch, member.joined.offset, [])
        ]
        for told in member.told:
            if told[0] == "reset":
                found.append((str(told[1]), int(told[2]), []))
            else:
                found[-1][2].append(told)
        return found

    async def got_all(self, member: Follower) -> None:
        """Returns when it has everything, or was told that it can't."""
        await member.until(lambda: member.closed or self.has_all(member))

    def has_all(self, member: Follower) -> bool:
        epoch, begin, told = self.parts(member)[-1]
        return epoch == self.epoch and begin + len(told) >= self.head

    def is_whole(self, member: Follower) -> None:
        """Everything behind where it began, in order, each event once and in its own epoch."""
        for number, (epoch, begin, told) in enumerate(self.parts(member)):
            if number:
                assert begin in self.floors[epoch], "an epoch is told from where its log begins"
            offsets = range(begin + 1, begin + 1 + len(told))
            assert told == [(offset, self.payloads[offset]) for offset in offsets]
            assert {self.epochs[offset] for offset in offsets} <= {epoch}

    @invariant()
    def members_are_told_what_is_so(self) -> None:
        for member in self.members:
            self.is_whole(member)

    @invariant()
    def the_log_is_what_was_appended(self) -> None:
        found = log.look([self.room])[self.room]
        assert (found.epoch, found.floor, found.head) == (self.epoch, self.floor, self.head)
        kept = [(each.offset, each.payload) for each in log.read(self.room, 0, 10_000)]
        assert kept == [(n, self.payloads[n]) for n in range(self.floor + 1, self.head + 1)]

    @initialize(size=st.sampled_from([0, 1, 300]))
    def begin(self, size: int) -> None:
        if size:
            given = self.made(size)
            self.note(log.append(self.room, given), given)
            self.none_is_missing()
        self.unread = 0


def play(monkeypatch: pytest.MonkeyPatch, examples: int, steps: int) -> None:
    monkeypatch.setattr(hub_module, "POLL", 0.01)
    run_state_machine_as_test(
        Rooms, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


def test_every_member_gets_everything_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after a member's position reaches it whole, in order, once, with every reset;
    ``recovered`` is true or false, never partly; offsets have no gap."""
    play(monkeypatch, examples=30, steps=30)


@pytest.mark.slow
def test_every_member_gets_everything_in_long_stories_too(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, examples=60, steps=60)
