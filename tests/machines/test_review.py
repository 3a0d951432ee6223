"""What needs more than one place to judge: warnings, and the faults that only JSON can have."""

from __future__ import annotations

from typing import Any

import pytest

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.review import examine, review
from mashin_surfaces.machines.review_tools import unknown_sources


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


# -- tools ----------------------------------------------------------------------------------------

TOOLS = 'machine game\n  tools\n    move from "game.move"{}\n'


@pytest.mark.parametrize(
    "how",
    [
        "",
        ", trigger: manual",
        ', every: "100ms"',
        ', every: "5s", needs: clock, "state:write:board", "events:emit:*"',
        ", every: 2",
        ', cron: "*/5 * * * 1-5"',
        ', on: "game.*"',
        ', changes: "/board/turn"',
    ],
)
def test_a_tool_that_can_fire_is_taken(how: str) -> None:
    assert warnings_of(TOOLS.format(how)) == []


HIVE = """  expresses
    websocket
      path: "/ws"
      dialect: incubator
"""


def test_a_tool_of_an_incubator_may_be_parallel_and_have_estimates() -> None:
    how = ", parallel: true, estimate: 0.02, estimate_tokens: 500"
    source = TOOLS.format(how) + HIVE
    assert examine(source).warnings == []
    (tool,) = examine(source).definition.tools
    assert (tool.parallel, tool.estimate, tool.estimate_tokens) == (True, 0.02, 500)


def test_a_parallel_tool_without_an_incubator_is_warned_of() -> None:
    (warning,) = warnings_of(TOOLS.format(", parallel: true"))
    assert warning.startswith('3:38: The tool "move" is parallel in incubators alone')


def test_an_incubator_may_count_tokens() -> None:
    limits = "machine game\n  ensures\n    limits\n      max_tokens: 5\n"
    tools = TOOLS.partition("\n")[2]
    assert examine(limits + tools.format("") + HIVE).warnings == []


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (", parallel: yes", "true or false"),
        (", parallel: 1", "true or false"),
        (', estimate: "2"', "a number of US dollars"),
        (", estimate: true", "a number of US dollars"),
        (", estimate_tokens: 1.5", "a whole number"),
    ],
)
def test_what_is_no_setting_of_a_tool_is_told(how: str, expected: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        examine(TOOLS.format(how))
    (told,) = map(str, caught.value.problems)
    assert told.startswith("3:")
    assert f"expected {expected}" in told


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (', every: "99ms"', '"every" is at least 100ms.'),
        (', every: "soon"', '"every" can\'t be read: '),
        (', every: "0s"', '"every" can\'t be read: A duration is longer than 0'),
        (', cron: "hourly"', '"hourly" is no cron expression: it has five fields'),
        (', cron: "* * * * * *"', '"* * * * * *" is no cron expression: it has five fields'),
        (', cron: "0 25 * * *"', '"0 25 * * *" is no cron expression: '),
        (', cron: "0 0 31 2 *"', '"0 0 31 2 *" is no cron expression: '),
        (', on: ""', '"on" is a name or glob of events'),
        (', changes: ""', '"changes" is a key of the state'),
    ],
)
def test_a_tool_that_can_never_fire_is_refused(how: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        examine(TOOLS.format(how))
    (told,) = map(str, caught.value.problems)
    assert told.startswith("3:")
    assert f'The tool "move": {problem}' in told


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        (
            [{"name": "a", "source": "x"}, {"name": "a", "source": "y"}],
            'tools.1.name: A second tool "a".',
        ),
        (
            [{"name": "a", "source": "x" * 65}],
            "tools.0.source: A tool comes from a name of 1 to 64 characters.",
        ),
        (
            [{"name": "a", "source": "x", "needs": ["state write"]}],
            'tools.0.needs: "state write" is no capability; one is like state:write:count or '
            "events:emit:*.",
        ),
        (
            [{"name": "a", "source": "x", "trigger_value": "5s"}],
            'tools.0.trigger_value: The tool "a": a trigger by hand has no value.',
        ),
        (
            [{"name": f"a{n}", "source": "x"} for n in range(101)],
            "tools: A machine has at most 100 tools.",
        ),
    ],
)
def test_what_is_wrong_with_tools_is_told(tools: list[dict[str, Any]], problem: str) -> None:
    assert problems_of(tools=tools) == [problem]


def test_a_tool_from_nowhere_is_a_warning_where_the_sources_are_known() -> None:
    parsed = examine(TOOLS.format('\n    read from "metrics"\n    self from "game"'))
    known = {"game.moves", "metrics"}
    (warning,) = unknown_sources(parsed.definition, known)
    assert (warning.severity, warning.path) == ("warning", ("tools", 0, "source"))
    assert warning.message == (
        'The tool "move" comes from "game.move", which is neither a registered Python tool nor a '
        'machine. Did you mean "game.moves"?'
    )
    assert list(unknown_sources(parsed.definition, {"game.move", "metrics"})) == []


def test_a_panel_has_no_topics_of_accepts() -> None:
    accepts = [{"name": "topic", "type": {"name": "text"}}]
    surface = {"kind": "websocket", "path": "/x", "dialect": "panel"}
    tools = [{"name": "a", "source": "x"}]
    assert problems_of(tools=tools, expresses=[surface]) == []
    told = problems_of(
        accepts=accepts, tools=tools, expresses=[{**surface, "subscribe": "topic", "every": 2}]
    )
    assert [problem.partition(" is for")[0] for problem in told] == [
        'expresses.0.subscribe: "subscribe"', 'expresses.0.every: "every"',
    ]  # fmt: skip


def test_a_panel_without_tools_loads_with_a_warning() -> None:
    source = (
        "machine x\n  implements\n    compute a 1\n  expresses\n    websocket\n      {}\n      {}"
    )
    (warning,) = warnings_of(source.format('path: "/x"', "dialect: panel"))
    assert warning == '7:16: The machine "x" has no tools: nothing happens on its panel.'
