"""``retry`` where somebody waits for the answer."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mashin_surfaces import effect
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.retry import RetryRule
from mashin_surfaces.steps.run import Run

attempts: list[int] = []


@pytest.fixture(autouse=True)
def _from_the_beginning() -> None:
    attempts.clear()


@effect("retry.third")
async def third() -> dict[str, int]:
    """Fails twice."""
    attempts.append(len(attempts) + 1)
    if len(attempts) < 3:
        raise ConnectionError
    return {"attempt": len(attempts)}


@effect("retry.refuses")
async def refuses(code: str) -> None:
    attempts.append(len(attempts) + 1)
    raise Refusal(Code(code), "No.")


async def run(*steps: str, allowed: bool = True, assumed: dict[str, Any] | None = None) -> Any:
    lines = "".join(f"    {step}\n" for step in steps)
    program = Program(parse(f"machine m\n  implements\n{lines}").definition)
    return await program.run(Run({}, lambda name: allowed, assumed))


async def test_what_failed_is_done_again() -> None:
    output = await run('retry r, max: 3, backoff: "none"', '  ask a, from: "retry.third"')
    assert output == {"attempt": 3}


async def test_what_it_gave_is_there_under_both_names() -> None:
    steps = ('retry r, max: 3, backoff: "none"', '  ask a, from: "retry.third"')
    assert await run(*steps, "compute c [steps.r.attempt, steps.a.attempt]") == [3, 3]


async def test_the_last_failure_is_the_steps() -> None:
    with pytest.raises(Refusal, match=r"retry\.third"):
        await run('retry r, max: 2, backoff: "none"', '  ask a, from: "retry.third"')
    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("code", "tried"),
    [("timeout", 3), ("execution_failed", 3), ("rate_limited", 3), ("permission_denied", 1),
     ("invalid_input", 1), ("not_found", 1), ("budget_exceeded", 1)],
)  # fmt: skip
async def test_only_what_may_pass_is_tried_again(code: str, tried: int) -> None:
    with pytest.raises(Refusal) as refused:
        await run(
            'retry r, max: 3, backoff: "none"',
            '  ask a, from: "retry.refuses"',
            f'    code: "{code}"',
        )
    assert refused.value.code == code
    assert len(attempts) == tried


async def test_what_is_denied_is_not_tried() -> None:
    with pytest.raises(Refusal) as refused:
        await run("retry r", '  ask a, from: "retry.third"', allowed=False)
    assert refused.value.code is Code.PERMISSION_DENIED
    assert attempts == []


async def test_a_test_tries_once() -> None:
    with pytest.raises(Refusal, match="has no `assuming` values"):
        await run("retry r, delay: 60000", '  ask a, from: "retry.third"', assumed={})


def test_what_only_computes_stays_pure() -> None:
    source = "machine m\n  implements\n    retry r\n      compute a 1\n"
    assert Program(parse(source).definition).is_pure


class _Longest(Random):
    """Chance at its end: the longest wait there can be."""

    def random(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        ("none", [0, 0, 0, 0]),
        ("linear", [4, 8, 12, 16]),
        ("exponential", [4, 8, 16, 30]),
    ],
)
def test_it_waits_longer_each_time_and_never_long(backoff: str, waits: list[float]) -> None:
    rule = RetryRule(max=9, backoff=backoff, delay=4)
    assert [rule.wait(attempt, _Longest()) for attempt in (1, 2, 3, 4)] == waits
    assert rule.wait(10_000, _Longest()) <= 30


def test_who_failed_together_does_not_come_again_together() -> None:
    rule = RetryRule(max=9, backoff="linear", delay=4)
    random = Random(5)
    waits = [rule.wait(1, random) for _ in range(200)]
    assert min(waits) < 1
    assert 3 < max(waits) <= 4


def test_attempts_are_counted_from_the_first() -> None:
    rule = RetryRule(max=2, backoff="none")
    assert [rule.allows(attempt, "timeout") for attempt in (1, 2)] == [True, False]
    assert not RetryRule().allows(1, "timeout")
