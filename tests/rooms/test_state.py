"""Mutations of a state: what they make of it, what they refuse, and that the old one stays."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.rooms.events import Mutation
from mashin_surfaces.rooms.state import applied

ABSENT = object()


def put(key: str, value: Any) -> Mutation:
    return {"op": "set", "key": key, "value": value}


def drop(key: str) -> Mutation:
    return {"op": "delete", "key": key}


@pytest.mark.parametrize(
    ("before", "mutations", "after"),
    [
        ({"a": 1}, [], {"a": 1}),
        ({}, [put("a", 1)], {"a": 1}),
        ({"a": 1, "b": 2}, [put("a", None)], {"a": None, "b": 2}),
        ({"a": 1, "b": 2}, [drop("a")], {"b": 2}),
        ({"a": 1}, [drop("b")], {"a": 1}),
        ({}, [put("a", 1), put("a", 2), drop("a"), put("a", 3)], {"a": 3}),
        # Only a slash in front makes a pointer.
        ({}, [put("a/b", 1), put("a~1b", 2), put("", 3)], {"a/b": 1, "a~1b": 2, "": 3}),
        ({"a": 1}, [put("/a", 2)], {"a": 2}),
        ({"a": {"b": {"c": 1}}}, [put("/a/b/c", 2)], {"a": {"b": {"c": 2}}}),
        ({"a": {"b": {"c": 1}}}, [put("/a/b/d", 2)], {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": {"b": 1, "c": 2}}, [drop("/a/b")], {"a": {"c": 2}}),
        ({"a": {"b": 1}}, [drop("/a/c")], {"a": {"b": 1}}),
        ({"": {"": 1}}, [put("//", 2)], {"": {"": 2}}),
        ({"a/b": {"m~n": 1}}, [put("/a~1b/m~0n", 2)], {"a/b": {"m~n": 2}}),
        ({"~1": 1, "/": 2}, [drop("/~01")], {"/": 2}),
        ({"a": {"0": 1}}, [put("/a/0", 2), put("/a/-", 3)], {"a": {"0": 2, "-": 3}}),
        # Lists.
        ({"a": [1, 2, 3]}, [put("/a/1", 9)], {"a": [1, 9, 3]}),
        ({"a": [1]}, [put("/a/-", 2), put("/a/-", 3)], {"a": [1, 2, 3]}),
        ({"a": [1, 2, 3]}, [drop("/a/0")], {"a": [2, 3]}),
        ({"a": [1]}, [drop("/a/1"), drop("/a/-")], {"a": [1]}),
        ({"a": [{"b": 1}, {"b": 2}]}, [put("/a/1/b", 3)], {"a": [{"b": 1}, {"b": 3}]}),
        # One builds on what another made.
        ({}, [put("a", {}), put("/a/b", []), put("/a/b/-", 1)], {"a": {"b": [1]}}),
    ],
)
def test_what_mutations_make_of_a_state(
    before: dict[str, Any], mutations: list[Mutation], after: dict[str, Any]
) -> None:
    given = deepcopy(before)
    assert applied(before, mutations) == after
    assert before == given


@pytest.mark.parametrize(
    "key",
    [
        "/nothing/b",
        "/map/nothing/c",
        "/number/b",
        "/text/0",
        "/null/b",
        "/list/2",
        "/list/-1",
        "/list/00",
        "/list/+1",
        "/list/ 1",
        "/list/1.0",
        "/list/²",
        "/list/\u0661",  # a digit, but none of a JSON Pointer's
        "/list/one",
        "/list/-/b",
        "/list/-1/b",
        "/list/2/b",
        "/list/one/b",
        "/list/00/b",
        "/list/0/b/c",
    ],
)
def test_a_pointer_to_nowhere_is_refused_and_nothing_changes(key: str) -> None:
    state = {"map": {}, "number": 1, "text": "abc", "null": None, "list": [{"b": 1}, {}]}
    before = deepcopy(state)
    with pytest.raises(ValueError, match=r"nothing at|plain value|no item"):
        applied(state, [put("map", {"b": 2}), put("/map/b", 3), put(key, 9)])
    assert state == before


@pytest.mark.parametrize("mutation", [{"op": "set", "key": "a"}, {"op": "add", "key": "a"}])
def test_what_is_no_mutation_is_refused(mutation: Any) -> None:
    with pytest.raises(ValueError, match="no mutation"):
        applied({"a": 1}, [mutation])


def test_values_that_went_into_a_state_are_not_changed_by_what_comes_later() -> None:
    value: dict[str, Any] = {"b": [1]}
    first = applied({}, [put("a", value), put("/a/b/-", 2)])
    second = applied(first, [put("/a/b/0", 9), drop("/a/b/1")])
    assert (value, first, second) == ({"b": [1]}, {"a": {"b": [1, 2]}}, {"a": {"b": [9]}})


def test_only_what_lies_on_the_way_is_copied() -> None:
    state: dict[str, Any] = {"a": {"b": {}, "c": {}}, "d": {}}
    after = applied(state, [put("/a/b/x", 1)])
    assert after["d"] is state["d"]
    assert after["a"]["c"] is state["a"]["c"]


# -- properties -----------------------------------------------------------------------------------

keys = st.text("ab01/~-", max_size=3)
values = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
states = st.dictionaries(keys, values, max_size=4)


@st.composite
def places(draw: st.DrawFn, state: dict[str, Any]) -> list[str | int]:
    """The way to something that is there, or could be put there."""
    way: list[str | int] = []
    container: Any = state
    while True:
        if isinstance(container, list):
            way.append(draw(st.integers(0, len(container))))
        else:
            way.append(draw(st.sampled_from([*container, "new"]) if container else keys))
        inner = got(state, way)
        if not isinstance(inner, dict | list) or draw(st.booleans()):
            return way
        container = inner


def got(state: Any, way: list[str | int]) -> Any:
    for part in way:
        try:
            state = state[part]
        except (KeyError, IndexError):
            return ABSENT
    return state


def pointer(way: list[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in way)


@given(st.data(), states, values)
def test_what_is_set_is_there_and_all_else_as_it_was(
    data: st.DataObject, state: dict[str, Any], value: Any
) -> None:
    way = data.draw(places(state))
    before = deepcopy(state)
    parent = got(state, way[:-1])
    is_new_item = isinstance(parent, list) and way[-1] == len(parent)
    after = applied(state, [put(pointer([*way[:-1], "-"] if is_new_item else way), value)])
    assert state == before
    assert got(after, way) == value
    if got(before, way) is ABSENT:
        back = applied(after, [drop(pointer(way))])
    else:
        back = applied(after, [put(pointer(way), got(before, way))])
    assert back == before


@given(st.data(), states)
def test_what_is_deleted_is_gone_and_all_else_as_it_was(
    data: st.DataObject, state: dict[str, Any]
) -> None:
    way = data.draw(places(state))
    before = deepcopy(state)
    after = applied(state, [drop(pointer(way))])
    assert state == before
    parent = got(before, way[:-1])
    if got(before, way) is ABSENT:
        assert after == before
    elif isinstance(parent, list):
        assert isinstance(way[-1], int)
        assert got(after, way[:-1]) == parent[: way[-1]] + parent[way[-1] + 1 :]
    else:
        assert got(after, way) is ABSENT
        assert applied(after, [put(pointer(way), got(before, way))]) == before


anything = st.builds(put, keys | st.text("/ab01~-", max_size=6), values) | st.builds(
    drop, keys | st.text("/ab01~-", max_size=6)
)


@given(states, st.lists(anything, max_size=8))
def test_whatever_is_asked_for_the_given_state_and_values_never_change(
    state: dict[str, Any], mutations: list[Mutation]
) -> None:
    before, asked = deepcopy(state), deepcopy(mutations)
    try:
        after = applied(state, mutations)
    except ValueError:
        pass
    else:
        one_by_one = before
        for mutation in mutations:
            one_by_one = applied(one_by_one, [mutation])
        assert after == one_by_one
    assert (state, mutations) == (before, asked)
