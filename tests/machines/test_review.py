"""What needs more than one place to judge: warnings, and the faults that only JSON can have."""

from __future__ import annotations

from typing import Any

import pytest

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.review import examine, review


def warnings_of(source: str, **known: Any) -> list[str]:
    return [str(problem) for problem in examine(source, **known).warnings]


def problems_of(**parts: Any) -> list[str]:
    definition = MachineDefinition.model_validate({"name": "x", **parts})
    return [str(problem) for problem in review(definition) if problem.severity == "error"]


def test_a_machine_that_does_nothing_loads_with_a_warning() -> None:
    assert warnings_of("machine dashboard") == [
        '1:1: The machine "dashboard" has no implements: it answers {}.'
    ]


def test_a_feed_that_is_too_quick_is_refused() -> None:
    surface = {"kind": "websocket", "path": "/x", "subscribe": "topic"}
    accepts = [{"name": "topic", "type": {"name": "text"}}]
    told = 'expresses.0.every: "every" is at least 50ms; publish from code what is faster.'
    for every, found in ((2, []), (0.05, []), (0.01, [told])):
        assert problems_of(accepts=accepts, expresses=[{**surface, "every": every}]) == found


def test_an_effect_that_yields_stands_in_the_list_itself() -> None:
    known: dict[str, Any] = {"effects": {"ticks"}, "generators": {"ticks"}}
    ask = 'ask a, from: "ticks"'
    assert warnings_of(f"machine x\n  implements\n    {ask}", **known) == []
    inside = f"machine x\n  implements\n    decide d\n      otherwise\n        {ask}"
    with pytest.raises(DefinitionError, match=r'5:22: "ticks" yields .* inside a decide'):
        examine(inside, **known)


def test_an_input_called_subscribe_loads_with_a_warning() -> None:
    [warning] = warnings_of(
        "machine x\n  accepts\n    subscribe as text\n  implements\n    compute a 1"
    )
    assert warning.startswith('3:5: accepts has a field "subscribe"')


def test_a_default_that_is_never_used_is_told() -> None:
    [warning] = warnings_of(
        'machine x\n  accepts\n    a as text, is required, default: "b"\n'
        "  implements\n    compute a 1"
    )
    assert warning == '3:5: "a" is required, so its default is never used.'


def test_effects_are_judged_only_where_they_are_known() -> None:
    source = 'machine x\n  implements\n    ask a, from: "anything"'
    assert warnings_of(source) == []
    with pytest.raises(DefinitionError, match='no effect "anything" is registered; none are'):
        examine(source, effects=())


def test_a_definition_without_a_source_is_judged_by_its_paths() -> None:
    step = {"kind": "compute", "name": "a", "body": "{b: input.c}"}
    assert problems_of(implements={"steps": [step]}) == [
        'implements.steps.0.body: accepts has no field "c".'
    ]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"title": "a\x00b"}, "title: Found the character U+0000, which can't be kept."),
        (
            {"implements": {"steps": [{"kind": "compute", "name": "a", "body": "1 +"}]}},
            "implements.steps.0.body: Found the end, expected a value.",
        ),
        (
            {"implements": {"steps": [{"kind": "compute", "name": "a", "body": ""}]}},
            "implements.steps.0.body: Found nothing, expected an expression.",
        ),
        (
            {"implements": {"steps": [{"kind": "decide", "name": "a", "branches": []}]}},
            'implements.steps.0: The decide "a" has no branches.',
        ),
        (
            {"implements": {"steps": [{"kind": "decide", "name": "a", "branches": [{}]}]}},
            "implements.steps.0.branches.0: A branch has steps or one expression.",
        ),
        (
            {"expresses": [{"kind": "api"}]},
            'expresses.0.path: The surface needs a path; write below it: path: "/…"',
        ),
        (
            {"expresses": [{"kind": "api", "path": "/a", "auth": []}]},
            "expresses.0.auth: auth names at least one of session, jwt, api_key, none.",
        ),
        (
            {"accepts": [{"name": "a", "type": {"name": "text"}, "min_length": -1}]},
            'accepts.0: "min_length" is at least 0, this is -1.',
        ),
        (
            {"ensures": {"limits": {"rate": "often"}}},
            'ensures.limits.rate: "often" is no rate; write "20/s", "100/m" or "20/s burst 40".',
        ),
    ],
)
def test_what_only_json_can_get_wrong(parts: dict[str, Any], problem: str) -> None:
    assert problems_of(**parts) == [problem]


def test_a_decide_inside_a_branch_may_speak_of_the_steps_before_it() -> None:
    source = """\
machine x
  accepts
    a as number
  implements
    compute first
      {n: input.a}
    decide route
      when steps.first.n > 1
        compute inner
          {m: steps.first.n}
        compute second
          {m: steps.inner.m}
      otherwise
        steps.first
    compute last
      {m: second?.m, first: steps.route}
"""
    assert examine(source).warnings == []
