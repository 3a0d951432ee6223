"""What a tool is given: a state that records, what it may do, and where a run ends."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.identity.principal import Credential, Principal
from mashin_surfaces.machines.json_values import NotJsonError, dumps
from mashin_surfaces.panels.context import (
    LONGEST_SUSPENSION,
    MOST_EVENTS,
    MOST_MUTATIONS,
    Context,
    RecordedState,
    Suspended,
    SuspensionExpired,
    SuspensionFailed,
)
from mashin_surfaces.rooms.state import applied

ADA = Principal("ada", Credential("none"))


def anything(capability: str) -> None:
    """A tool without bounds."""


def recorded(state: dict[str, Any] | None = None) -> RecordedState:
    return RecordedState(state or {}, anything)


def context(
    state: dict[str, Any] | None = None,
    *,
    capabilities: tuple[str, ...] | None = None,
    answers: list[dict[str, Any]] | None = None,
    committed: dict[str, Any] | None = None,
    args: dict[str, Any] | None = None,
    told: list[tuple[str, Any]] | None = None,
) -> Context:
    """A run on a state; with ``answers``, one that goes on on the state as it is ``committed``."""
    heard = [] if told is None else told
    return Context(
        state or {},
        args=args or {},
        principal=ADA,
        capabilities=capabilities,
        answers=answers or [],
        committed=(state or {}) if committed is None else committed,
        tell=lambda status, data: heard.append((status, data)),
    )


# -- the state ------------------------------------------------------------------------------------

KEYS = st.sampled_from(["", "a", "b", "/", "/a", "/a/b", "~", "~1", "a/b", "ä"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
WORDS = ["set", "delete", "pop", "read", "inside", "setdefault", "update", "clear"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WORDS),
        KEYS,
        VALUES,
    ),
    max_size=8,
)


def step(state: Any, word: str, key: str, value: Any) -> None:
    """One thing that tools do; the same on a dict and on a recorded state."""
    value = deepcopy(value)
    match word:
        case "set":
            state[key] = value
        case "delete" if key in state:
            del state[key]
        case "pop":
            state.pop(key, None)
        case "read":
            state.get(key)
        case "setdefault":
            state.setdefault(key, value)
        case "update":
            state.update({key: value, "a": None})
        case "clear":
            state.clear()
        case "inside":
            inside(state.get(key), key, value)


def inside(found: Any, key: str, value: Any) -> None:
    """Change what stands in the state where it is, at the top and one level down."""
    if isinstance(found, list):
        if found and isinstance(found[0], dict):
            found[0][key] = value
        found.append(value)
    elif isinstance(found, dict):
        found[key] = value


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(st.dictionaries(KEYS, VALUES, max_size=4), STEPS)
def test_mutations_fold_to_what_the_tool_saw(
    before: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    original = deepcopy(before)
    state, model = recorded(before), deepcopy(before)
    for each in steps:
        step(state, *each)
        step(model, *each)
    mutations = state.mutations()
    assert text(dict(state)) == text(model)
    assert json.loads(dumps(applied(original, mutations))) == json.loads(dumps(model))
    assert text(before) == text(original), "a run that fails must leave no trace"
    keys = [mutation["key"] for mutation in mutations]
    assert len(keys) == len(set(keys)), "one mutation for each key"


@given(st.dictionaries(KEYS, VALUES, max_size=4), STEPS)
def test_what_is_as_before_is_no_mutation(
    before: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    """However often it was changed in between."""
    state = recorded(before)
    for each in steps:
        step(state, *each)
    for key in list(state):
        if key not in before:
            del state[key]
    for key, value in before.items():
        state[key] = deepcopy(value)
    assert state.mutations() == []


def test_what_is_changed_where_it_stands_counts() -> None:
    state = recorded({"items": [{"done": False}, {"done": False}], "other": [1]})
    state["items"][1]["done"] = True
    assert state["other"] == [1]
    assert state.mutations() == [
        {"op": "set", "key": "items", "value": [{"done": False}, {"done": True}]}
    ]


def test_mutations_stand_in_the_order_in_which_they_were_begun() -> None:
    state = recorded({"a": 1, "gone": 1})
    state["z"] = 1
    del state["gone"]
    state["a"] = 2
    state["z"] = 2
    assert state.mutations() == [
        {"op": "set", "key": "z", "value": 2},
        {"op": "delete", "key": "gone"},
        {"op": "set", "key": "a", "value": 2},
    ]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ([1], [True])])
def test_what_python_takes_for_the_same_is_not_the_same_json(before: Any, after: Any) -> None:
    state = recorded({"a": before})
    state["a"] = after
    (mutation,) = state.mutations()
    assert dumps(mutation["value"]) == dumps(after)


def test_what_is_set_may_be_changed_until_the_run_ends_and_not_behind_it() -> None:
    state, items = recorded(), [1]
    state["items"] = items
    items.append(2)
    (mutation,) = state.mutations()
    items.append(3)
    assert mutation["value"] == [1, 2]


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), {1: 2}, b"x", "a\0", ["\0"]])
def test_what_no_json_column_keeps_is_no_state(value: Any) -> None:
    state = recorded()
    state["a"] = value
    with pytest.raises(NotJsonError):
        state.mutations()


def test_keys_are_text() -> None:
    with pytest.raises(TypeError, match="are text, not int"):
        recorded()[1] = 1  # type: ignore[index]


def test_a_missing_key_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        recorded()["a"]
    with pytest.raises(KeyError):
        del recorded()["a"]


def test_a_run_changes_so_many_keys_and_no_more() -> None:
    state = recorded()
    state.update({str(number): number for number in range(MOST_MUTATIONS)})
    assert len(state.mutations()) == MOST_MUTATIONS == 1000
    state["more"] = 1
    with pytest.raises(Refusal) as caught:
        state.mutations()
    assert caught.value.code is Code.TOO_LARGE


# -- capabilities ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "does", "is_allowed"),
    [
        (None, "set", True),
        ((), "set", False),
        (("state:write:a",), "set", True),
        (("state:write:*",), "set", True),
        (("*",), "set", True),
        (("state:write:b", "state:write:A"), "set", False),
        (("state:*",), "delete", True),
        (("state:write:b",), "delete", False),
        (("state:write:b",), "read", True),
        (("state:write:items",), "inside", True),
        (("state:write:b",), "inside", False),
        (("events:emit:game.*",), "emit", True),
        (("events:emit:chess.*",), "emit", False),
        (("view:update:board",), "view", True),
        (("view:update:clock",), "view", False),
    ],
)
def test_a_tool_does_what_its_capabilities_have(
    held: tuple[str, ...] | None, does: str, is_allowed: bool
) -> None:
    ctx = context({"a": 1, "items": []}, capabilities=held)

    def run() -> None:
        match does:
            case "set":
                ctx.state["a"] = 2
            case "delete":
                del ctx.state["a"]
            case "read":
                assert (ctx.state["a"], ctx.state["items"]) == (1, [])
            case "inside":
                ctx.state["items"].append(1)
            case "emit":
                ctx.emit("game.moved")
            case "view":
                ctx.view("board", "flash")
        ctx.state.mutations()

    if is_allowed:
        run()
        return
    with pytest.raises(Refusal) as caught:
        run()
    assert caught.value.code is Code.PERMISSION_DENIED
    assert ctx.events == ctx.view_commands == []


async def test_waiting_for_an_extension_takes_its_capability() -> None:
    with pytest.raises(Refusal) as caught:
        await context(capabilities=("ext:mail",)).suspend("person", "ask", [])
    assert caught.value.code is Code.PERMISSION_DENIED
    with pytest.raises(Suspended):
        await context(capabilities=("ext:person",)).suspend("person", "ask", [])


# -- events, views, progress ----------------------------------------------------------------------


def test_an_event_is_what_it_was_when_it_was_emitted() -> None:
    ctx, payload = context(), {"cells": [1]}
    ctx.emit("moved", payload)
    payload["cells"].append(2)
    (event,) = ctx.events
    assert (event["name"], event["payload"]) == ("moved", {"cells": [1]})
    assert event["timestamp"] > 1_700_000_000_000


def test_a_run_emits_so_many_events_and_no_more() -> None:
    ctx = context()
    for number in range(MOST_EVENTS):
        ctx.emit("tick", number)
    with pytest.raises(Refusal) as caught:
        ctx.emit("tick")
    assert caught.value.code is Code.TOO_LARGE
    assert len(ctx.events) == MOST_EVENTS == 100


@pytest.mark.parametrize("payload", [object(), "\0", float("inf")])
def test_what_no_json_column_keeps_is_told_to_nobody(payload: Any) -> None:
    told: list[tuple[str, Any]] = []
    ctx = context(told=told)
    for say in (ctx.emit, ctx.progress):
        with pytest.raises(NotJsonError):
            say("a", payload)
    with pytest.raises(NotJsonError):
        ctx.view("a", "b", {"c": payload})
    assert not ctx.events
    assert not ctx.view_commands
    assert not told


def test_a_view_is_told_what_to_do() -> None:
    ctx = context()
    ctx.view("board", "highlight", {"cell": "e4"})
    ctx.view("board", "clear")
    assert ctx.view_commands == [
        {"viewId": "board", "command": "highlight", "params": {"cell": "e4"}},
        {"viewId": "board", "command": "clear", "params": {}},
    ]


def test_progress_is_told_at_once_and_kept_nowhere() -> None:
    told: list[tuple[str, Any]] = []
    ctx = context(told=told)
    ctx.progress("half", {"done": 0.5})
    assert told == [("half", {"done": 0.5})]
    assert (ctx.events, ctx.state.mutations()) == ([], [])


def test_panels_have_no_claims() -> None:
    for claim in (context().claim, context().release):
        with pytest.raises(Refusal, match="belong to incubators"):
            claim("queue")


# -- suspensions ----------------------------------------------------------------------------------


async def test_without_an_answer_a_run_ends_where_it_waits() -> None:
    ctx = context({"n": 1})
    ctx.state["n"] = 2
    ctx.emit("asked")
    with pytest.raises(Suspended) as caught:
        await ctx.suspend("person", "ask", ["really?"], timeout=5)
    waits = caught.value
    assert (waits.extension, waits.method, waits.call) == ("person", "ask", ["really?"])
    assert waits.timeout == 5
    assert ctx.state.mutations() == [{"op": "set", "key": "n", "value": 2}]
    assert len(ctx.events) == 1


async def test_nobody_catches_the_end_of_a_run_by_accident() -> None:
    async def tool(ctx: Context) -> None:
        try:
            await ctx.suspend("person", "ask", [])
        except Exception:
            pytest.fail("it looked like an error of the tool's own")

    with pytest.raises(Suspended):
        await tool(context())


async def test_a_wait_has_an_end() -> None:
    with pytest.raises(Suspended) as caught:
        await context().suspend("person", "ask", [], timeout=10**9)
    assert caught.value.timeout == LONGEST_SUSPENSION


async def two_questions(ctx: Context) -> list[Any]:
    """A tool that counts how often it began, and what it saw each time that it went on."""
    ctx.state["begun"] = ctx.state.get("begun", 0) + 1
    ctx.emit("begun")
    ctx.view("board", "ask")
    first = await ctx.suspend("person", "ask", [1])
    seen = dict(ctx.state)
    ctx.state["first"] = first
    second = await ctx.suspend("person", "ask", [2])
    ctx.state["second"] = second
    return [first, seen, second]


async def test_an_answered_run_begins_anew_and_tells_only_what_is_new() -> None:
    answers = [{"value": {"yes": True}}]
    ctx = context({"begun": 0}, answers=answers, committed={"begun": 1, "others": "did"})
    with pytest.raises(Suspended) as caught:
        await two_questions(ctx)
    assert caught.value.call == [2]
    assert ctx.state.mutations() == [{"op": "set", "key": "first", "value": {"yes": True}}]
    assert ctx.events == ctx.view_commands == []


async def test_each_part_of_a_run_sees_what_it_saw_and_the_last_one_what_is_there_now() -> None:
    went_on_with = {"begun": 1, "others": "did"}
    answers: list[dict[str, Any]] = [{"value": "a", "state": went_on_with}, {"value": "b"}]
    now = {"begun": 1, "first": "a", "others": "left"}
    ctx = context({"begun": 0}, answers=answers, committed=now)
    assert await two_questions(ctx) == ["a", went_on_with, "b"]
    assert ctx.state.mutations() == [{"op": "set", "key": "second", "value": "b"}]


async def test_what_a_tool_does_to_an_answer_stays_in_its_run() -> None:
    answers = [{"value": [1]}]
    (await context(answers=answers).suspend("person", "ask", [])).append(2)
    assert answers == [{"value": [1]}]


async def test_an_error_as_an_answer_is_raised_where_the_tool_waits() -> None:
    with pytest.raises(SuspensionFailed, match="not today") as caught:
        await context(answers=[{"error": "not today"}]).suspend("person", "ask", [])
    assert not isinstance(caught.value, SuspensionExpired)
    late: list[dict[str, Any]] = [{"error": "Nobody answered.", "expired": True}]
    with pytest.raises(SuspensionExpired, match="Nobody answered"):
        await context(answers=late).suspend("person", "ask", [])


@pytest.mark.parametrize("call", [[object()], ["\0"], [{1: 2}]])
async def test_what_can_not_be_kept_can_not_be_asked(call: list[Any]) -> None:
    with pytest.raises(NotJsonError):
        await context().suspend("person", "ask", call)
    with pytest.raises(NotJsonError):
        await context(args={"given": call}).suspend("person", "ask", [])
