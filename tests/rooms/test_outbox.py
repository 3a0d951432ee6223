"""A connection's way out: what is taken, in which order, how much, and who waits for whom."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.rooms.outbox import MOST_CHARACTERS, MOST_MESSAGES, Outbox

DEADLINE = 30.0


class Socket:
    """A socket that takes a message when it may; what it took, and how it took it.

    ``is_busy``: the fast lane is not there for now. ``close()``: nothing goes through until
    ``open()``.
    """

    def __init__(self, *, fast: bool = False) -> None:
        self.got: list[str] = []
        self.slowly: list[str] = []
        self.overflows = 0
        self.is_busy = False
        self.error: Exception | None = None
        self._gate = asyncio.Event()
        self._gate.set()
        self.news = asyncio.Event()
        self.outbox = Outbox(self._send, self._fast if fast else None, self._overflow)

    async def _send(self, text: str) -> None:
        await self._gate.wait()
        if self.error is not None:
            raise self.error
        self.got.append(text)
        self.slowly.append(text)
        self.news.set()

    def _fast(self, text: str) -> bool:
        if self.is_busy:
            return False
        self.got.append(text)
        return True

    def _overflow(self) -> None:
        self.overflows += 1

    def close(self) -> None:
        self._gate.clear()
        self.is_busy = True

    def open(self) -> None:
        self._gate.set()
        self.is_busy = False

    async def has(self, wanted: list[str]) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.got) < len(wanted):
                self.news.clear()
                await self.news.wait()
        assert self.got == wanted


def texts(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{each}" for each in range(number)]


async def in_turn(waiting: Callable[[], object]) -> None:
    """Let everything run that can, until it holds."""
    async with asyncio.timeout(DEADLINE):
        while True:
            if waiting():
                return
            await asyncio.sleep(0)


# -- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
async def test_what_an_idle_socket_takes_goes_without_a_task(fast: bool) -> None:
    socket = Socket(fast=fast)
    before = asyncio.all_tasks()
    for text in "abc":
        socket.outbox.push(text)
    assert socket.got == ["a", "b", "c"]
    assert bool(socket.slowly) != fast
    assert asyncio.all_tasks() == before


async def test_pushes_come_in_order_the_fast_lane_first_then_the_queue_then_fast_again() -> None:
    socket = Socket(fast=True)
    socket.outbox.push("fast")
    socket.close()
    for text in texts("waits", 5):
        socket.outbox.push(text)
    assert socket.got == ["fast"]
    socket.is_busy = False  # idle as far as the socket knows; but others wait
    socket.outbox.push("behind them")
    socket.open()
    await socket.has(["fast", *texts("waits", 5), "behind them"])
    await in_turn(lambda: socket.outbox.is_idle)
    socket.outbox.push("fast again")
    assert socket.got[-1] == "fast again"
    assert socket.slowly == [*texts("waits", 5), "behind them"]


async def test_an_answer_waits_for_its_turn_and_its_sender_for_the_answer() -> None:
    socket = Socket()
    socket.close()
    socket.outbox.push("push")
    first = asyncio.create_task(socket.outbox.send("first answer"))
    second = asyncio.create_task(socket.outbox.send("second answer"))
    await asyncio.sleep(0)
    socket.outbox.push("last push")
    assert not first.done()
    socket.open()
    async with asyncio.timeout(DEADLINE):
        await second
    assert first.done()
    assert socket.got[:3] == ["push", "first answer", "second answer"]
    await socket.has(["push", "first answer", "second answer", "last push"])


async def test_who_waits_until_all_is_sent_is_told_when_it_is() -> None:
    socket = Socket()
    await socket.outbox.sent()
    socket.close()
    socket.outbox.push("one")
    socket.outbox.push("two")
    waiting = asyncio.create_task(socket.outbox.sent())
    await asyncio.sleep(0)
    socket.open()
    async with asyncio.timeout(DEADLINE):
        await waiting
    assert socket.got == ["one", "two"]


moves = st.lists(st.sampled_from(["push", "send", "step", "close", "open"]), max_size=60)


@given(moves, st.booleans())
def test_whatever_is_mixed_everything_comes_once_and_in_the_order_in_which_it_was_given(
    made: list[str], fast: bool
) -> None:
    asyncio.run(mix(made, fast))


async def mix(made: list[str], fast: bool) -> None:
    socket, given, numbers = Socket(fast=fast), [], count()
    sending = []
    for move in made:
        if move == "push":
            given.append(f"p{next(numbers)}")
            socket.outbox.push(given[-1])
        elif move == "send":
            given.append(f"s{next(numbers)}")
            sending.append(asyncio.create_task(socket.outbox.send(given[-1])))
            await asyncio.sleep(0)  # its turn is taken now
        elif move == "step":
            await asyncio.sleep(0)
        else:
            getattr(socket, move)()
    socket.open()
    await socket.has(given)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*sending)
    assert socket.overflows == 0
    await in_turn(lambda: socket.outbox.is_idle)


# -- bounds ---------------------------------------------------------------------------------------


async def test_no_more_than_so_many_messages_wait_and_the_overflow_is_told_once() -> None:
    socket = Socket()
    socket.close()
    socket.outbox.push("being sent")
    for text in texts("", MOST_MESSAGES):
        socket.outbox.push(text)
    assert socket.overflows == 0
    for text in texts("too many", 10):
        socket.outbox.push(text)
    assert socket.overflows == 1
    socket.open()
    await socket.has(["being sent", *texts("", MOST_MESSAGES)])


async def test_no_more_than_so_many_characters_wait() -> None:
    socket = Socket()
    socket.close()
    socket.outbox.push("being sent")
    quarter = "x" * (MOST_CHARACTERS // 4)
    for _ in range(4):
        socket.outbox.push(quarter)
    assert socket.overflows == 0
    socket.outbox.push("y")
    assert socket.overflows == 1
    socket.open()
    await socket.has(["being sent", *[quarter] * 4])


async def test_room_is_made_by_what_is_sent() -> None:
    socket = Socket()
    big = "x" * (MOST_CHARACTERS - 1)
    for _ in range(5):
        socket.close()
        socket.outbox.push("being sent")
        socket.outbox.push(big)
        socket.open()
        await in_turn(lambda: socket.outbox.is_idle)
    assert (socket.overflows, len(socket.got)) == (0, 10)


@pytest.mark.parametrize("fast", [True, False])
async def test_after_an_overflow_no_push_is_taken_so_that_there_is_no_hole(fast: bool) -> None:
    socket = Socket(fast=fast)
    socket.close()
    taken = ["being sent", *texts("", MOST_MESSAGES)]
    for text in [*taken, "too many"]:
        socket.outbox.push(text)
    socket.open()
    await socket.has(taken)
    await in_turn(lambda: socket.outbox.is_idle)
    socket.outbox.push("behind a hole")
    assert socket.got == taken
    await socket.outbox.send("what closes the connection")
    assert socket.got[-1] == "what closes the connection"


async def test_a_slow_socket_slows_nobody() -> None:
    slow, quick = Socket(), Socket()
    slow.close()
    for text in texts("", MOST_MESSAGES * 2):
        slow.outbox.push(text)
        quick.outbox.push(text)
    assert quick.got == texts("", MOST_MESSAGES * 2)
    assert (slow.got, slow.overflows, quick.overflows) == ([], 1, 0)
    slow.outbox.close()


async def test_since_when_a_socket_takes_nothing_can_be_seen() -> None:
    socket, seen = Socket(), []
    seen.append(socket.outbox.sending_since)
    socket.close()
    before = asyncio.get_running_loop().time()
    socket.outbox.push("one")
    seen.append(socket.outbox.sending_since)
    socket.open()
    await in_turn(lambda: socket.outbox.is_idle)
    seen.append(socket.outbox.sending_since)
    first, while_closed, last = seen
    assert (first, last) == (None, None)
    assert while_closed is not None
    assert while_closed >= before


# -- the end --------------------------------------------------------------------------------------


async def test_when_a_connection_is_gone_nobody_waits_and_nothing_is_sent() -> None:
    socket = Socket(fast=True)
    socket.close()
    socket.outbox.push("one")
    waiting = [
        asyncio.create_task(each)
        for each in (socket.outbox.send("two"), socket.outbox.send("three"), socket.outbox.sent())
    ]
    await asyncio.sleep(0)
    socket.outbox.close()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*waiting)
    socket.open()
    socket.outbox.push("four")
    await socket.outbox.send("five")
    await socket.outbox.sent()
    await in_turn(lambda: len(asyncio.all_tasks()) == 1)
    assert socket.got == []


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closing")])
async def test_a_socket_that_fails_takes_down_nobody_and_nobody_waits_for_ever(
    error: Exception,
) -> None:
    socket = Socket()
    socket.error = error
    socket.outbox.push("at once")
    socket.close()
    socket.outbox.push("soon")
    socket.outbox.push("later")
    answering = asyncio.create_task(socket.outbox.send("an answer"))
    await asyncio.sleep(0)
    socket.open()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([answering])
    await in_turn(lambda: socket.outbox.is_idle)
    socket.error = None
    socket.outbox.push("again")
    assert socket.got == ["again"]


async def test_an_answer_that_is_given_up_comes_in_its_turn_and_holds_up_nobody() -> None:
    socket = Socket()
    socket.close()
    socket.outbox.push("one")
    given_up = asyncio.create_task(socket.outbox.send("two"))
    await asyncio.sleep(0)
    socket.outbox.push("three")
    given_up.cancel()
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    socket.open()
    await socket.has(["one", "two", "three"])


async def test_who_is_cancelled_while_it_sends_leaves_the_others_their_turn() -> None:
    socket = Socket()
    socket.close()
    first = asyncio.create_task(socket.outbox.send("given up"))
    await asyncio.sleep(0)
    socket.outbox.push("next")
    first.cancel()
    await asyncio.wait([first])
    socket.open()
    await socket.has(["next"])


# -- a coroutine that goes on in a task -----------------------------------------------------------


class Stepwise:
    """An outbox whose ``send`` is the coroutine of a test."""

    def __init__(self, send: Callable[[str], Any]) -> None:
        self.outbox = Outbox(send, None, lambda: None)


async def test_what_was_begun_without_a_task_goes_on_in_one_through_any_kind_of_waiting() -> None:
    seen: list[str] = []
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    failing: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(text: str) -> None:
        await asyncio.sleep(0)  # a bare yield
        seen.append(f"{text} {await future}")
        try:
            await failing
        except LookupError as error:
            seen.append(f"caught {error!r}")
        async with asyncio.timeout(DEADLINE):
            await asyncio.sleep(0.001)
        seen.append("done")

    box = Stepwise(send).outbox
    box.push("text")
    box.push("")  # nothing to send, and nothing that stands in the way
    await asyncio.sleep(0)
    future.set_result("result")
    await in_turn(lambda: seen)
    failing.set_exception(LookupError("error"))
    await in_turn(lambda: len(seen) == 3)
    assert seen == ["text result", "caught LookupError('error')", "done"]
    await in_turn(lambda: box.is_idle)


async def test_a_future_that_is_done_before_the_task_begins_is_not_waited_for() -> None:
    seen: list[str] = []
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(text: str) -> None:
        await future
        seen.append(text)

    box = Stepwise(send).outbox
    box.push("one")
    future.set_result(None)
    await in_turn(lambda: box.is_idle)
    assert seen == ["one"]


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_what_is_cancelled_on_its_way_hears_of_it_and_cleans_up(steps: int) -> None:
    """Also when its task had no time to begin: ``steps`` is how often the loop went round."""
    seen: list[str] = []

    async def send(text: str) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append("cleaned up")

    box = Stepwise(send).outbox
    box.push("one")
    for _ in range(steps):
        await asyncio.sleep(0)
    box.close()
    await in_turn(lambda: len(asyncio.all_tasks()) == 1)
    gc.collect()
    assert seen[-1] == "cleaned up"
    assert seen[0] in {"CancelledError", "GeneratorExit"}


@pytest.fixture(autouse=True)
def complaints() -> Iterator[list[dict[str, Any]]]:
    """What a loop would log: exceptions that nobody took, tasks that were lost. There is none."""
    seen: list[dict[str, Any]] = []
    policy_loop = asyncio.BaseEventLoop.call_exception_handler

    def note(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
        seen.append(context)
        policy_loop(loop, context)

    gc.collect()  # what other tests have left is not ours
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "call_exception_handler", note)
        yield seen
        gc.collect()
    assert seen == []
