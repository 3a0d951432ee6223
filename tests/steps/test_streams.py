"""Effects that yield: what the steps after them give for each result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from mashin_surfaces import effect
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance.trial import run_tests
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.run import Run

#: What the effects did, in order.
happened: list[str] = []


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    happened.clear()


@effect("streams.count")
async def count(until: int, start: int = 1) -> AsyncIterator[dict[str, Any]]:
    try:
        for n in range(start, until + 1):
            happened.append(f"yields {n}")
            yield {"n": n}
    finally:
        happened.append("closed")


@effect("streams.letters")
async def letters(prefix: int) -> AsyncIterator[str]:
    try:
        for letter in "ab":
            yield f"{prefix}{letter}"
    finally:
        happened.append(f"closed {prefix}")


@effect("streams.leak")
async def leak() -> AsyncIterator[dict[str, Any]]:
    yield {"n": 1}
    raise ValueError("password 1234")


@effect("streams.wait")
async def wait() -> AsyncIterator[dict[str, Any]]:
    try:
        yield {"n": 1}
        happened.append("waits")
        await asyncio.Event().wait()
    finally:
        happened.append("closed")


@effect("streams.stubborn")
async def stubborn() -> AsyncIterator[dict[str, Any]]:
    try:
        yield {"n": 1}
    finally:
        raise ValueError("password 1234")


@effect("streams.double")
async def double(n: int) -> dict[str, Any]:
    return {"n": 2 * n}


def program(implements: str) -> Program:
    source = "machine m\n  accepts\n    x as any\n  implements\n" + implements
    return Program(parse(source).definition)


def started(given: dict[str, Any] | None = None, *denied: str) -> Run:
    return Run(given or {}, lambda name: name not in denied)


async def all_of(implements: str, run: Run | None = None) -> list[Any]:
    async with aclosing(program(implements).stream(run or started())) as outputs:
        return [output async for output in outputs]


COUNT = '    ask tick, from: "streams.count"\n      until: 3\n'
LEAK = '    ask tick, from: "streams.leak"\n'
WAIT = '    ask tick, from: "streams.wait"\n'


async def test_the_steps_after_it_run_with_each_result() -> None:
    steps = (
        "    compute base\n      {ten: 10}\n" + COUNT + '    ask doubled, from: "streams.double"\n'
        "      n: steps.tick.n\n    compute answer\n      {sum: steps.base.ten + steps.doubled.n}\n"
    )
    assert await all_of(steps) == [{"sum": 12}, {"sum": 14}, {"sum": 16}]


async def test_as_the_last_step_its_results_are_the_outputs() -> None:
    assert await all_of(COUNT) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert happened == ["yields 1", "yields 2", "yields 3", "closed"]


async def test_a_result_is_given_out_before_the_next_is_asked_for() -> None:
    async with aclosing(program(COUNT).stream(started())) as outputs:
        assert await anext(outputs) == {"n": 1}
        assert happened == ["yields 1"]


async def test_two_of_them_nest() -> None:
    steps = (
        '    ask tick, from: "streams.count"\n      until: 2\n'
        '    ask letter, from: "streams.letters"\n      prefix: steps.tick.n\n'
        "    compute answer\n      {is: steps.letter, of: steps.tick.n}\n"
    )
    assert [each["is"] for each in await all_of(steps)] == ["1a", "1b", "2a", "2b"]
    assert happened == ["yields 1", "closed 1", "yields 2", "closed 2", "closed"]


async def test_the_next_result_sees_nothing_of_the_one_before() -> None:
    steps = (
        COUNT + "    decide d\n      when steps.tick.n is 1\n        compute once\n          1\n"
        "    compute answer\n      {seen: steps.once ?? 0}\n"
    )
    assert [each["seen"] for each in await all_of(steps)] == [1, 0, 0]


async def test_every_result_has_a_time_of_its_own() -> None:
    first, *_, last = await all_of(COUNT + "    compute answer\n      {at: DateTime.now()}\n")
    assert first["at"] < last["at"]


async def test_each_result_is_checked_against_returns() -> None:
    steps = COUNT + "      returns\n        n as integer, max: 2\n"
    async with aclosing(program(steps).stream(started())) as outputs:
        assert [await anext(outputs), await anext(outputs)] == [{"n": 1}, {"n": 2}]
        with pytest.raises(Refusal, match="returns") as refused:
            await anext(outputs)
    assert refused.value.code is Code.EXECUTION_FAILED
    assert happened[-1] == "closed"


async def test_what_it_raises_is_not_told() -> None:
    with pytest.raises(Refusal) as refused:
        await all_of(LEAK)
    assert "1234" not in refused.value.message
    assert isinstance(refused.value.__cause__, ValueError)


async def test_one_that_is_denied_yields_nothing() -> None:
    run = started({}, "streams.count")
    with pytest.raises(Refusal) as refused:
        await all_of(COUNT, run)
    assert refused.value.code is Code.PERMISSION_DENIED
    assert run.asked[0]["decision"] == "denied"
    assert happened == []


async def test_what_is_asked_for_every_result_is_noted_once() -> None:
    run = started()
    await all_of(COUNT + '    ask more, from: "streams.double"\n      n: steps.tick.n\n', run)
    assert [each["step"] for each in run.asked] == ["tick", "more"]


async def test_it_is_closed_when_its_reader_stops() -> None:
    async with aclosing(program(WAIT).stream(started())) as outputs:
        await anext(outputs)
    assert happened == ["closed"]


async def test_it_is_closed_when_a_step_after_it_fails() -> None:
    with pytest.raises(Refusal, match='"answer" failed'):
        await all_of(COUNT + "    compute answer\n      input.x.y\n")
    assert happened == ["yields 1", "closed"]


async def test_it_is_closed_when_its_reader_is_cancelled() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await all_of(WAIT)
    assert happened == ["waits", "closed"]


async def test_what_it_raises_while_it_is_closed_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = '    ask tick, from: "streams.stubborn"\n'
    with caplog.at_level(logging.WARNING):
        async with aclosing(program(steps).stream(started())) as outputs:
            assert await anext(outputs) == {"n": 1}
    assert "failed while it was closed" in caplog.text


async def test_one_that_never_waits_can_be_stopped() -> None:
    endless = '    ask tick, from: "streams.count"\n      until: 1000000000\n'
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await program(endless).run(started())
    assert happened[-1] == "closed"


async def test_who_wants_one_output_gets_the_last() -> None:
    assert await program(COUNT).run(started()) == {"n": 3}


async def test_who_wants_one_output_and_there_is_none_is_refused() -> None:
    with pytest.raises(Refusal, match="without a result") as refused:
        await program('    ask tick, from: "streams.count"\n      until: 0\n').run(started())
    assert refused.value.code is Code.EXECUTION_FAILED


async def test_a_branch_can_not_ask_one() -> None:
    steps = "    decide d\n      otherwise\n        " + COUNT.strip().replace("\n", "\n    ") + "\n"
    assert not program(steps).is_stream
    with pytest.raises(Refusal, match="inside a decide") as refused:
        await program(steps).run(started())
    assert refused.value.code is Code.EXECUTION_FAILED


async def test_a_program_says_whether_it_streams() -> None:
    assert program(COUNT).is_stream
    other = program('    ask a, from: "streams.double"\n      n: 4\n')
    assert not other.is_stream
    async with aclosing(other.stream(started())) as outputs:
        assert [each async for each in outputs] == [{"n": 8}]


async def test_an_effect_that_comes_later_is_found() -> None:
    early = program('    ask late, from: "streams.late"\n')
    assert not early.is_stream

    @effect("streams.late")
    async def late() -> AsyncIterator[int]:
        yield 1

    assert early.is_stream


TESTED = """
machine tested
  responds with
    n as integer
  ensures
    permissions
      allowed to
        streams.count
  implements
    ask tick, from: "streams.count"
      until: 3
      assuming
        n: 5
    compute answer
      {n: steps.tick.n * 2}
  verifies
    test "with one result"
      given {}
      expect { n: 10 }
"""


async def test_a_machines_own_tests_assume_one_result() -> None:
    [result] = await run_tests(CompiledMachine.of(parse(TESTED).definition))
    assert result.passed
    assert happened == []
