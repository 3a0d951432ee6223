"""Machines that are runs: nothing waits over a surface, and their own tests go through them."""

from __future__ import annotations

import pytest

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance.permissions import PermissionSet
from mashin_surfaces.governance.trial import run_tests
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.machines.review import examine
from mashin_surfaces.steps.program import Program
from mashin_surfaces.steps.run import Run

RELEASE = """
machine release "Release"
  accepts
    version as text, is required
    deep as boolean, default: false
  responds with
    done as text
  ensures
    allowed to check.*
    requires approval for ship.*
  implements
    ask lint, from: "check.lint", after: none
      assuming
        ok: true
    ask deep, from: "check.deep", after: none, when: "input.deep", optional: true
      assuming
        ok: true
    gate review, after: lint, deep
      title: "Release ${input.version}?"
      question: "Deep check: ${steps.deep?.ok}"
      options: [{id: "go", label: "Ship it", branch_to: "ship"}, {id: "hold", branch_to: "park"}]
    ask ship, from: "ship.it", after: review
      assuming
        by: "train"
    compute park, after: review
      {done: "parked"}
    wait for arrived, after: ship
      event: "arrived"
      schema
        where as text, is required
      assuming
        where: "Rome"
    launch mail, from: "mailer", after: arrived
      to: steps.arrived.where
    launch_many more, after: arrived
      machine: "mailer"
      items: ["a", "b"]
    compute shipped, after: mail, more
      let launched = [steps.mail.run_id, steps.more.run_ids.length]
      {done: "${steps.review.option} ${steps.arrived.where} ${launched.join(" ")}"}
"""


async def results(*tests: str, source: str = RELEASE) -> list[str]:
    lines = "".join(f"    {line}\n" for test in tests for line in test.split("\n"))
    definition = examine(f"{source}  verifies\n{lines}").definition
    return [result.message for result in await run_tests(CompiledMachine.of(definition))]


async def test_a_gate_under_test_is_approved_and_nothing_waits() -> None:
    test = 'test "a"\n  given { version: "1" }\n  expect { done: "go Rome assumed 2" }'
    assert await results(test) == [""]


async def test_a_test_assumes_what_people_and_others_do() -> None:
    test = (
        'test "a"\n  given { version: "1", deep: true }\n'
        '  assuming review { decision: "approve", option: "go", by: "ada" }\n'
        '  assuming arrived { where: "Oslo" }\n  assuming mail { run_id: "r1" }\n'
        '  expect { done: "go Oslo r1 2" }'
    )
    assert await results(test) == [""]


async def test_the_way_that_is_not_chosen_is_left_out() -> None:
    test = (
        'test "a"\n  given { version: "1" }\n  assuming review { option: "hold" }\n'
        '  expect { done: "parked" }'
    )
    assert await results(test) == [""]


@pytest.mark.parametrize(
    ("assuming", "message"),
    [
        ('review { decision: "reject" }', 'approval_denied: The gate "review" was rejected.'),
        ('review { decision: "modify" }', "execution_failed: A test can't go on at the gate"),
        ('review { option: "no" }', 'The gate "review" has no option "no"; it has go, hold.'),
        ("arrived { when: 1 }", 'What "arrived" is assumed to get does not fit its `schema`.'),
    ],
)
async def test_what_a_test_can_not_assume_is_told(assuming: str, message: str) -> None:
    test = f'test "a"\n  given {{ version: "1" }}\n  assuming {assuming}\n  expect {{}}'
    (told,) = await results(test)
    assert message in told


async def test_a_gate_whose_question_can_not_be_made_fails_its_test() -> None:
    source = (
        "machine x\n  accepts\n    a as text\n  implements\n    gate g\n"
        '      question: "${input.a.b}"\n'
    )
    (told,) = await results('test "a"\n  given {}\n  expect {}', source=source)
    assert 'The step "g" failed' in told


async def test_runs_that_are_waited_for_have_to_be_assumed() -> None:
    source = (
        'machine x\n  implements\n    launch_many all\n      machine: "m"\n      items: [1]\n'
        "      collect: true\n"
    )
    tests = (
        'test "a"\n  given {}\n  expect {}',
        'test "b"\n  given {}\n  assuming all { results: [] }\n  expect { results: [] }',
    )
    first, second = await results(*tests, source=source)
    assert 'The step "all" has no `assuming` values' in first
    assert second == ""


@pytest.mark.parametrize(
    "steps",
    [
        'ask a, from: "waiting.never"\n    gate g',
        "wait for w",
        'launch l, from: "m"',
        'launch_many l\n      machine: "m"\n      items: [1]',
        'ask a, from: "ship.it"',
    ],
)
async def test_a_run_is_not_answered_at_once(steps: str) -> None:
    definition = parse(
        f"machine m\n  ensures\n    requires approval for ship.it\n  implements\n    {steps}\n"
    ).definition
    program = Program(definition)
    assert not program.is_pure
    started = Run({}, lambda name: True)
    with pytest.raises(Refusal, match="start the machine as a run") as refused:
        await program.run(started)
    with pytest.raises(Refusal, match="start the machine as a run"):
        await anext(program.stream(started))
    assert refused.value.code is Code.EXECUTION_FAILED
    assert started.asked == []


def test_what_needs_approval_is_permitted_and_what_is_denied_is_not() -> None:
    rules = parse(
        "machine m\n  ensures\n    requires approval for mail.*\n    not allowed to mail.drop\n"
    ).definition.ensures.permissions
    allows = PermissionSet(rules).allows
    assert (allows("mail.send"), allows("mail.drop"), allows("post.send")) == (True, False, False)
