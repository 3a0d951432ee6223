"""What is wrong with a machine's steps as a graph, told where it stands."""

# ruff: noqa: E501  the messages stand on one line each, as people see them
from __future__ import annotations

import pytest

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.review import examine, review


def source(*lines: str) -> str:
    return "\n".join(["machine x", "  implements", *(f"    {line}" for line in lines)])


def told(*lines: str, **known: set[str]) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        examine(source(*lines), **known)
    return [str(problem) for problem in refused.value.problems]


def warnings_of(text: str) -> list[str]:
    return [str(problem) for problem in examine(text).warnings]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("compute a, after: a 1",), '3:16: The step "a" is after itself.'),
        (("compute one 1", "compute b, after: on 2"), '4:16: "after" names a step "on", which is not in the list. Did you mean "one"?'),
        (
            ("compute a, after: c 1", "compute b 2", "compute c 3"),
            '3:16: These steps wait for one another: "a", which is after "c", which is after "b", which is after "a".',
        ),
        (
            ("decide d", "  otherwise", "    compute a 1", "compute b, after: a 2"),
            '6:16: "after" names a step "a", which is not in the list.',
        ),
    ],
)  # fmt: skip
def test_after(lines: tuple[str, ...], expected: str) -> None:
    assert told(*lines) == [expected]


@pytest.mark.parametrize("step", ["gate g", "wait for g", 'launch g, from: "m"'])
@pytest.mark.parametrize("block", [("decide d", "  otherwise"), ("retry d",)])
def test_a_run_does_not_stop_within_a_step(step: str, block: tuple[str, ...]) -> None:
    name, kind = block[0].split()[0], step.partition(" g")[0]
    (problem,) = told(*block, f"{'  ' * len(block)}{step}")
    assert problem.partition(": ")[2] == (
        f"A {kind} can't stand inside a {name}: a run stops between its steps, not within one. "
        'Write it into the list itself, with when: "…".'
    )


@pytest.mark.parametrize(
    "setting",
    ["after: none", "optional: true", 'when: "true"', "estimate: 1", "retry_on_crash: false"],
)
def test_what_is_inside_a_step_has_no_settings_of_its_own(setting: str) -> None:
    key = setting.partition(":")[0]
    (problem,) = told("retry r", f"  ask a, {setting}")
    assert f'A step inside a retry has no "{key}"; say it of the retry itself.' in problem


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("compute a, estimate: 1 2",), '3:26: A compute costs nothing: it has no "estimate".'),
        (("gate a, estimate: 1",), '3:23: A gate costs nothing: it has no "estimate".'),
        (("wait for a, retry_on_crash: true",), '3:33: A wait for outlives a crash: it has no "retry_on_crash".'),
        (("wait for a", '  on_timeout: "fail"'), '4:7: "on_timeout" never comes without "timeout".'),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing(lines: tuple[str, ...], expected: str) -> None:
    assert told(*lines) == [expected]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('["a", "a"]', '4:16: A second option "a" at the gate "g".'),
        ('[{id: "a", branch_to: "nowhere"}]', '4:16: "branch_to" names a step "nowhere", which is not in the list.'),
        ('[{id: "a", branch_to: "end"}]', '4:16: "branch_to" leads to "end", which does not come after the gate; write there: after: g.'),
        ('[{id: "a", branch_to: "g"}]', '4:16: "branch_to" leads to "g", which does not come after the gate; write there: after: g.'),
    ],
)  # fmt: skip
def test_options_of_a_gate(options: str, expected: str) -> None:
    lines = ("gate g", f"  options: {options}", "compute next 1", "compute end 2")
    assert told(*lines) == [expected]


def test_an_option_leads_to_a_step_after_its_gate() -> None:
    text = source(
        "gate g",
        '  options: [{id: "a", branch_to: "left"}, {id: "b", branch_to: "right"}]',
        "compute left, after: g 1",
        "compute right, after: g 2",
    )
    assert warnings_of(text) == []


NOT_BEFORE = (
    'The step "left" may not have run yet here: "right" is not after it. Name it behind "after:".'
)


@pytest.mark.parametrize(
    ("right", "place"),
    [
        ("compute right, after: none {a: steps.left}", "4:32"),
        ('compute right, after: none, when: "steps.left" 1', "4:40"),
        ('gate right, after: none\n      title: "${steps.left}"', "5:14"),
    ],
)
def test_an_expression_reads_only_what_is_surely_done(right: str, place: str) -> None:
    assert told("compute left 1", right) == [f"{place}: {NOT_BEFORE}"]


def test_an_expression_may_read_all_that_comes_before_in_the_graph() -> None:
    text = source(
        "compute last, after: middle {a: steps.first.n, b: steps.inner}",
        "decide middle, after: first",
        "  when steps.first.n > 1",
        "    compute inner {m: steps.first.n}",
        "  otherwise",
        "    steps.first",
        "compute first, after: none {n: 1}",
    )
    assert warnings_of(text) == []


def test_a_step_that_can_not_be_read_is_the_only_fault() -> None:
    lines = ("compute a, after: c {n: steps.c}", "comptue b, after: none 1", "compute c 2")
    assert [problem.partition(",")[0] for problem in told(*lines)] == ['4:5: Found "comptue"']


def test_in_a_circle_only_the_circle_is_told() -> None:
    (problem,) = told("compute a, after: b {n: steps.b}", "compute b {n: steps.a}")
    assert "These steps wait for one another" in problem


def test_what_a_gate_and_a_launch_give_is_known() -> None:
    assert told("gate g", "compute a {a: steps.g.decision, b: steps.g.wish}") == [
        '4:15: The step "g" returns no "wish".'
    ]
    lines = ('launch l, from: "m"', "launch_many all", '  machine: "m"', "  items: [1]")
    assert told(*lines, "compute a {a: steps.l.run_id, b: steps.all.results}") == [
        '7:15: The step "all" returns no "results".'
    ]


ASK = 'ask a, from: "mail.send"'


@pytest.mark.parametrize(
    ("lines", "is_fine"),
    [
        ((ASK,), True),
        (("retry d", f"  {ASK}"), True),
        (("decide d", "  otherwise", f"    {ASK}"), False),
        (("retry d", "  decide e", "    otherwise", f"      {ASK}"), False),
        (("retry d", "  retry e", f"    {ASK}"), False),
    ],
)
def test_approval_is_asked_for_what_a_step_surely_does(
    lines: tuple[str, ...], is_fine: bool
) -> None:
    ensures = "  ensures\n    requires approval for mail.*\n  implements\n"
    definition = parse(source(*lines).replace("  implements\n", ensures)).definition
    assert [problem.message for problem in review(definition)] == (
        []
        if is_fine
        else [
            '"mail.send" needs approval, so it can\'t be asked inside "d". Write the ask into the list itself, with when: "…".'
        ]
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("retry r", '  ask a, from: "ticks"'), "inside a retry"),
        (('ask a, from: "ticks"', "gate g"), "in a machine that waits"),
        (('ask a, from: "ticks", optional: true',), "in an optional step"),
    ],
)
def test_what_yields_is_asked_where_each_result_can_go_on(
    lines: tuple[str, ...], words: str
) -> None:
    (problem,) = told(*lines, effects={"ticks"}, generators={"ticks"})
    assert f'"ticks" yields its results, so it can\'t be asked {words}' in problem


def test_a_budget_that_nobody_watches_is_told() -> None:
    text = (
        "machine x\n  ensures\n    limits\n      max_cost: 2\n      warn_at: 0.8\n  implements\n"
        '    {}\n  expresses\n    api\n      path: "/x"'
    )
    assert warnings_of(text.format("gate g")) == []
    assert warnings_of(text.format("compute a 1")) == [
        '4:17: "max_cost" is the budget of a run. Over its surfaces this machine is answered at once, and nobody watches what it costs.'
    ]


def test_who_follows_runs_follows_no_topics() -> None:
    surface = {"kind": "websocket", "path": "/x", "dialect": "dag", "subscribe": "a", "every": 2}
    step = {"kind": "gate", "name": "g"}
    definition = MachineDefinition.model_validate(
        {"name": "x", "implements": {"steps": [step]}, "expresses": [surface]}
    )
    assert [str(problem) for problem in review(definition)] == [
        f'expresses.0.{key}: "{key}" is for the dialect machine: who connects to a run follows its steps.'
        for key in ("subscribe", "every")
    ]


def test_there_is_nothing_to_run_without_steps() -> None:
    text = (
        'machine x\n  tools\n    a from "t"\n  expresses\n    websocket\n      path: "/x"\n'
        "      dialect: dag"
    )
    assert warnings_of(text) == [
        '7:16: The machine "x" has no implements: there is nothing to run.'
    ]
