"""A graph of steps that is answered at once: its order, and the steps that are left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mashin_surfaces import effect
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.run import Run

told: list[str] = []


@effect("conditions.tell")
def tell(word: str) -> dict[str, str]:
    told.append(word)
    return {"word": word}


@effect("conditions.fails")
async def fails() -> None:
    raise ConnectionError("password 1234")


@effect("conditions.count")
async def count(to: int) -> Any:
    for number in range(to):
        yield {"n": number}


def program_of(*steps: str) -> Program:
    lines = "".join(f"    {step}\n" for step in steps)
    return Program(parse(f"machine m\n  implements\n{lines}").definition)


async def run(*steps: str, given: dict[str, Any] | None = None) -> Any:
    return await program_of(*steps).run(Run(given or {}, lambda name: True))


def asking(name: str, settings: str = "") -> tuple[str, str]:
    return f'ask {name}, from: "conditions.tell"{settings}', f'  word: "{name}"'


async def test_steps_run_after_what_they_need() -> None:
    told.clear()
    await run(
        *asking("end", ", after: left, right"),
        *asking("left", ", after: start"),
        *asking("right", ", after: start"),
        *asking("start", ", after: none"),
    )
    assert told == ["start", "left", "right", "end"]


async def test_the_output_is_that_of_the_last_step_that_nothing_needs() -> None:
    steps = (
        "compute wide, after: deep 1",
        "compute alone, after: none 2",
        "compute deep, after: none 3",
    )
    assert await run(*steps) == 2
    assert await run(*steps[:1], steps[2]) == 1


CONDITIONAL = (
    'compute deep, when: "input.deep" {n: 1}',
    "compute answer {n: steps.deep?.n ?? 0}",
)


@pytest.mark.parametrize(("is_deep", "expected"), [(True, 1), (False, 0)])
async def test_a_step_whose_condition_is_not_met_gives_null(is_deep: bool, expected: int) -> None:
    assert await run(*CONDITIONAL, given={"deep": is_deep}) == {"n": expected}


async def test_a_step_that_is_left_out_asks_nothing() -> None:
    told.clear()
    await run(*asking("never", ', when: "false"'), *asking("then"))
    assert told == ["then"]


async def test_a_last_step_that_is_left_out_is_not_the_output() -> None:
    steps = ("compute a, after: none {n: 1}", 'compute b, after: none, when: "input.b" {n: 2}')
    assert await run(*steps, given={"b": True}) == {"n": 2}
    assert await run(*steps, given={"b": False}) == {"n": 1}
    assert await run('compute a, when: "false" 1') == {}


async def test_an_optional_step_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    steps = ('ask a, from: "conditions.fails", optional: true', "compute b {a: steps.a}")
    with caplog.at_level(logging.WARNING):
        assert await run(*steps) == {"a": None}
    assert "password 1234" in caplog.text  # for who runs the server, not for the caller
    assert await run("compute a, optional: true input.x.y", "compute b {a: steps.a}") == {"a": None}


async def test_a_condition_that_has_no_value_is_a_failure_of_its_step() -> None:
    with pytest.raises(Refusal, match='"a" failed') as refused:
        await run('compute a, when: "input.x.y" 1')
    assert refused.value.code is Code.EXECUTION_FAILED
    assert await run('compute a, when: "input.x.y", optional: true 1', "compute b 2") == 2


async def test_what_yields_goes_through_the_graph() -> None:
    program = program_of(
        'compute odd, after: tick, when: "steps.tick.n % 2 is 1" {odd: steps.tick.n}',
        "compute each, after: tick {each: steps.tick.n, odd: steps.tick.n % 2}",
        'ask tick, from: "conditions.count", after: none',
        "  to: 3",
    )
    started = Run({}, lambda name: True)
    assert [output async for output in program.stream(started)] == [
        {"each": 0, "odd": 0}, {"each": 1, "odd": 1}, {"each": 2, "odd": 0}
    ]  # fmt: skip


async def test_a_condition_is_judged_for_each_result() -> None:
    program = program_of(
        'ask tick, from: "conditions.count"',
        "  to: 3",
        "compute even, after: tick {even: steps.tick.n}",
        'compute odd, after: tick, when: "steps.tick.n % 2 is 1" {odd: steps.tick.n}',
    )
    started = Run({}, lambda name: True)
    assert [output async for output in program.stream(started)] == [
        {"even": 0}, {"odd": 1}, {"even": 2}
    ]  # fmt: skip


async def test_what_yields_may_be_left_out() -> None:
    program = program_of(
        'ask tick, from: "conditions.count", when: "input.on"',
        "  to: 2",
        "compute n steps.tick?.n",
    )
    for is_on, expected in ((True, [0, 1]), (False, [None])):
        started = Run({"on": is_on}, lambda name: True)
        assert [output async for output in program.stream(started)] == expected
