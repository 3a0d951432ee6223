"""What a list of steps means as a graph, and which machines are runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.run_graph import (
    ancestors,
    asks_approval,
    ends_of,
    in_order,
    is_run,
    needs_of,
    steps_in_order,
)


def machine(*steps: str, ensures: str = "") -> MachineDefinition:
    rules = f"  ensures\n    {ensures}\n" if ensures else ""
    lines = "".join(f"    {step}\n" for step in steps)
    return parse(f"machine m\n{rules}  implements\n{lines}").definition


def test_a_step_needs_the_one_before_it_or_what_it_says() -> None:
    graph = machine(
        "compute a 1", "compute b 2", "compute c, after: none 3", "compute d, after: a, c 4"
    )
    assert needs_of(graph) == {"a": (), "b": ("a",), "c": (), "d": ("a", "c")}


DIAMOND = {"end": ("left", "right"), "left": ("start",), "right": ("start",), "start": ()}


def test_ancestors_are_all_that_is_done_before() -> None:
    assert ancestors(DIAMOND, "end") == {"left", "right", "start"}
    assert ancestors(DIAMOND, "left") == {"start"}
    assert ancestors(DIAMOND, "start") == set()


def test_the_order_is_that_of_the_source_where_it_can_be() -> None:
    assert in_order(DIAMOND) == ["start", "left", "right", "end"]
    assert in_order({"a": (), "b": (), "c": ("a",)}) == ["a", "b", "c"]
    assert in_order({"a": ("c",), "b": (), "c": ()}) == ["b", "c", "a"]


def test_a_circle_and_what_needs_it_have_no_order() -> None:
    assert in_order({"a": (), "b": ("c",), "c": ("b", "a"), "d": ("c",)}) == ["a"]
    assert in_order({"a": ("a",)}) == []


@given(
    st.dictionaries(
        st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), min_size=1, max_size=12
    )
)
def test_each_step_comes_after_what_it_needs(graph: dict[int, list[int]]) -> None:
    needs = {str(name): tuple(map(str, wanted)) for name, wanted in graph.items()}
    order = in_order(needs)
    places = {name: index for index, name in enumerate(order)}
    for name in order:
        assert all(places[need] < places[name] for need in needs[name] if need in needs)
    for name in needs.keys() - places.keys():
        before = ancestors(needs, name)
        assert any(one in ancestors(needs, one) for one in {name, *before} & needs.keys())


def test_the_ends_are_what_nothing_else_needs() -> None:
    assert ends_of(DIAMOND) == ("end",)
    assert ends_of({"a": (), "b": ("a",), "c": ("a",)}) == ("b", "c")


def test_the_steps_come_in_that_order() -> None:
    graph = machine("compute last, after: first 1", "compute first, after: none 2")
    assert [step.name for step in steps_in_order(graph)] == ["first", "last"]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("compute a 1", False),
        ('ask a, from: "mail.send"', False),
        ("gate a", True),
        ("wait for a", True),
        ('launch a, from: "m"', True),
    ],
)
def test_who_waits_or_launches_is_a_run(step: str, expected: bool) -> None:
    assert is_run(machine("compute first 1", step)) is expected


@pytest.mark.parametrize(
    ("step", "patterns", "expected"),
    [
        ('ask a, from: "mail.send"', "mail.send", True),
        ('ask a, from: "mail.send"', "mail.*", True),
        ('ask a, from: "post.send"', "mail.*", False),
        ('ask a, using: "anthropic:claude"', "reason", True),
        ('retry a\n      ask b, from: "mail.send"', "mail.*", True),
        ('decide a\n      otherwise\n        ask b, from: "mail.send"', "mail.*", True),
        ("compute a 1", "*", False),
    ],
)
def test_an_effect_that_needs_approval_makes_a_run(
    step: str, patterns: str, expected: bool
) -> None:
    made = machine(step, ensures=f"requires approval for {patterns}")
    assert asks_approval(made, made.implements.steps[0]) is expected
    assert is_run(made) is expected
