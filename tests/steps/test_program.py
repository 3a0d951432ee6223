"""Step lists: what they give, what they may ask, what their tests say."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from mashin_surfaces import effect
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance.trial import run_tests
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.steps.effects import EffectRegistry, registry
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.run import Run
from mashin_surfaces.steps.tools import get_tool, tool


@effect("program.add")
def add(left: int, right: int = 1) -> dict[str, Any]:
    return {"sum": left + right, "thread": threading.current_thread().name}


@effect("program.later")
async def later(value: str) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"value": value.upper(), "at": datetime(2026, 5, 7, 12, tzinfo=UTC)}


@effect("program.object")
async def odd() -> object:
    return object()


@effect("program.shared")
async def shared() -> None:
    """Waits for what others share, and have given up."""
    given_up = asyncio.get_running_loop().create_future()
    given_up.cancel()
    await given_up


@effect("program.leak")
def leak() -> None:
    raise ValueError("password 1234")


async def run(implements: str, given: dict[str, Any] | None = None, *denied: str) -> Any:
    """The output of a machine with these steps."""
    source = "machine m\n  accepts\n    x as any\n  implements\n" + implements
    program = Program(parse(source).definition)
    return await program.run(Run(given or {}, lambda name: name not in denied))


async def test_the_last_step_is_the_output() -> None:
    steps = "    compute one\n      {a: 1}\n    compute two\n      {b: steps.one.a + 1}\n"
    assert await run(steps) == {"b": 2}


async def test_effects_get_their_inputs_and_run_where_they_belong() -> None:
    steps = '    ask s, from: "program.add"\n      left: input.x\n      right: 2\n'
    output = await run(steps, {"x": 40})
    assert output["sum"] == 42
    assert output["thread"].startswith("mashin-effect")
    steps = '    ask s, from: "program.later"\n      value: "a${input.x}"\n'
    assert await run(steps, {"x": 1}) == {"value": "A1", "at": "2026-05-07T12:00:00Z"}


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ('left: "no number"', "left"),
        ("right: 2", "left"),
        ("left: 1\n      other: 2", "other"),
    ],
)
async def test_arguments_are_checked_against_the_type_hints(inputs: str, word: str) -> None:
    with pytest.raises(Refusal, match=word) as refused:
        await run(f'    ask s, from: "program.add"\n      {inputs}\n')
    assert refused.value.code is Code.EXECUTION_FAILED


async def test_a_denied_effect_is_stopped_before_it_acts() -> None:
    with pytest.raises(Refusal, match=r"program\.leak") as refused:
        await run('    ask s, from: "program.leak"\n', None, "program.leak")
    assert refused.value.code is Code.PERMISSION_DENIED


async def test_what_an_effect_raises_is_not_told() -> None:
    with pytest.raises(Refusal) as refused:
        await run('    ask s, from: "program.leak"\n')
    assert "1234" not in refused.value.message
    assert isinstance(refused.value.__cause__, ValueError)


async def test_what_is_cancelled_elsewhere_and_an_effect_awaits_fails_the_step_alone() -> None:
    with pytest.raises(Refusal) as refused:
        await run('    ask s, from: "program.shared"\n')
    assert refused.value.code is Code.EXECUTION_FAILED


BROKEN_PROMISE = """
    ask s, from: "program.add"
      left: 1
      returns
        sum as text
"""
MODEL_CALL = """
    ask s, using: "anthropic:claude"
      with task "t"
"""


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ('    ask s, from: "program.nowhere"\n', "no such effect"),
        ('    ask s, from: "program.object"\n', "no JSON"),
        (BROKEN_PROMISE, "returns"),
        ("    compute s\n      input.x.y\n", '"s" failed'),
        (MODEL_CALL, 'no credentials for "anthropic"'),
    ],
)
async def test_a_step_that_can_not_go_on_says_which_and_why(steps: str, words: str) -> None:
    with pytest.raises(Refusal, match=words) as refused:
        await run(steps)
    assert refused.value.code is Code.EXECUTION_FAILED


async def test_the_first_true_branch_is_taken() -> None:
    steps = (
        "    decide d\n      when input.x is greater than 10\n        compute big\n"
        '          "big"\n      when input.x is greater than 5\n'
        '        ask a, from: "program.later"\n          value: "some"\n'
        '      otherwise\n        "small"\n'
    )
    assert await run(steps, {"x": 11}) == "big"
    assert (await run(steps, {"x": 6}))["value"] == "SOME"
    assert await run(steps, {"x": 1}) == "small"


async def test_no_branch_gives_null_and_empty_lists_are_true() -> None:
    steps = "    decide d\n      when input.x\n        1\n"
    assert await run(steps, {"x": 0}) is None
    assert await run(steps, {"x": []}) == 1


async def test_assumed_answers_are_given_by_setting_and_noted(settings: Any) -> None:
    settings.MASHIN_SURFACES = {"ASK": "assume"}
    source = (
        'machine m\n  implements\n    ask c, using: "anthropic:claude"\n      with task "t"\n'
        '      returns\n        team as text\n      assuming\n        team: "sales"\n'
    )
    started = Run({}, lambda name: name == "reason")
    assert await Program(parse(source).definition).run(started) == {"team": "sales"}
    assert started.asked == [
        {
            "step": "c",
            "effect": "reason",
            "decision": "allowed",
            "model": "anthropic:claude",
            "assumed": True,
        }
    ]


def test_a_program_without_effects_is_pure() -> None:
    pure = parse("machine m\n  implements\n    compute a\n      1\n").definition
    assert Program(pure).is_pure
    asking = parse('machine m\n  implements\n    ask a, from: "program.leak"\n').definition
    assert not Program(asking).is_pure
    assert Program(parse("machine m\n  responds with\n    a as text\n").definition).is_pure


TESTED = """
machine tested
  accepts
    n as integer, is required
  responds with
    n as integer
  ensures
    permissions
      allowed to
        program.add
  implements
    ask more, from: "program.add"
      left: input.n
      assuming
        sum: 5
    compute answer
      {n: steps.more.sum}
  verifies
    test "by the step's own assumption"
      given { n: 1 }
      expect { n: 5 }
    test "by its own"
      given { n: 1 }
      assuming more { sum: 7 }
      expect { n: 7 }
    test "wrong"
      given { n: 1 }
      expect { n: 6 }
    test "not valid"
      given { n: "x" }
      expect { n: 6 }
"""


async def test_a_machines_own_tests_run_without_its_effects() -> None:
    results = await run_tests(CompiledMachine.of(parse(TESTED).definition))
    assert [result.passed for result in results] == [True, True, False, False]
    assert results[2].message == "/n: expected 6, got 5"
    assert "invalid_input" in results[3].message


def test_two_functions_can_not_have_one_name() -> None:
    with pytest.raises(ValueError, match="Rename"):
        effect("program.add")(lambda: None)
    tool("program.tool")(lambda ctx: None)
    with pytest.raises(ValueError, match="Rename"):
        tool("program.tool")(run)
    found = get_tool("program.tool")
    assert found is not None
    assert not found.is_async


def test_a_function_that_can_not_be_called_by_name_is_no_effect() -> None:
    fresh = EffectRegistry()

    def positional(a: int, /) -> None: ...

    def several(*args: int) -> None: ...

    def generator() -> Any:
        yield 1

    for function in (positional, several, generator):
        with pytest.raises(TypeError):
            fresh.register("x", function)


async def test_names_and_yields_are_known() -> None:
    fresh = EffectRegistry()

    async def stream() -> Any:
        yield 1

    fresh.register("stream", stream)
    assert fresh.names() == fresh.generators() == {"stream"}
    assert registry.get("program.add") is not None
