"""What a tool of a panel may be: judged before it is kept, wherever it comes from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.machines.definition import Tool as MachineTool
from mashin_surfaces.machines.review_tools import MOST_TOOLS
from mashin_surfaces.panels.definition import (
    Cron,
    Interval,
    Manual,
    OnChange,
    OnEvent,
    PanelTool,
    ToolDefinition,
    judged,
    of_machine,
)
from mashin_surfaces.panels.due import fired, next_time
from mashin_surfaces.steps.tools import tool

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@tool("definition.add")
def add(ctx: Any, by: int = 1, label: str = "") -> None:
    """A tool with type hints."""


def refusal_of(*tools: Any, capabilities: list[str] | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        judged(tools, capabilities)
    return caught.value


def details_of(*tools: Any, capabilities: list[str] | None = None) -> list[tuple[str, str]]:
    """``(path, message)`` of all that is wrong."""
    refusal = refusal_of(*tools, capabilities=capabilities)
    assert refusal.code is Code.INVALID_INPUT
    return [(detail["path"], detail["message"]) for detail in refusal.details or ()]


def made(**values: Any) -> ToolDefinition:
    (found,) = judged([{"name": "add", "handler": "definition.add", **values}], None)
    return found


# -- what is taken, what is not -------------------------------------------------------------------


def test_a_tool_needs_a_name_and_a_handler_and_fires_when_somebody_says_so() -> None:
    found = made()
    assert (found.name, found.handler, found.trigger) == ("add", "definition.add", Manual())
    assert (found.args, found.capabilities) == (None, None)


def test_what_a_definition_does_not_know_is_passed_over() -> None:
    assert made(color="red", trigger={"type": "manual", "icon": "x"}) == made()


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"handler": "definition.add"}, "/tools/0/name", "Field required"),
        ({"name": "", "handler": "definition.add"}, "/tools/0/name", "at least 1 character"),
        ({"name": "a b", "handler": "definition.add"}, "/tools/0/name", "pattern"),
        ({"name": "a/b", "handler": "definition.add"}, "/tools/0/name", "pattern"),
        ({"name": "n" * 65, "handler": "definition.add"}, "/tools/0/name", "at most 64"),
        ({"name": "a"}, "/tools/0", 'has a "handler"'),
        ({"name": "a", "handler": "definition.add", "machine": "m"}, "/tools/0", 'a "machine"'),
        ({"name": "a", "handler": "definition.none"}, "/tools/0", "no registered tool"),
        ("definition.add", "/tools/0", "valid dictionary"),
        (None, "/tools/0", "valid dictionary"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(given: Any, path: str, message: str) -> None:
    ((found, told),) = details_of(given)
    assert found == path
    assert message in told


def test_all_that_is_wrong_is_said_at_once() -> None:
    told = details_of(
        {"name": "a", "handler": "definition.none"},
        {"name": "b", "handler": "definition.add"},
        {"name": "b", "handler": "definition.add"},
        {"name": "c", "handler": "definition.add", "trigger": {"type": "interval", "ms": 99}},
    )
    assert [path for path, _ in told] == ["/tools/0", "/tools/2", "/tools/3/trigger/interval/ms"]
    assert told[1][1] == 'A second tool is called "b".'


def test_a_panel_has_so_many_tools_and_no_more() -> None:
    tools = [{"name": f"t{n}", "handler": "definition.add"} for n in range(MOST_TOOLS + 1)]
    assert len(judged(tools[:-1], None)) == MOST_TOOLS
    assert "at most 100 tools" in refusal_of(*tools).message


@pytest.mark.parametrize(
    "source",
    [
        "export default (ctx) => { ctx.state.count += 1 }",
        "return 1;",
        "async function run(ctx, args) {\n  ctx.emit('x')\n}",
        "state.count = 1",
        "$.state",
    ],
)
def test_javascript_is_refused_and_the_remedy_said(source: str) -> None:
    ((path, message),) = details_of({"name": "a", "handler": source})
    assert path == "/tools/0"
    assert message == (
        "not supported yet: JavaScript handlers. Register a Python tool and name it."
    )


def test_a_tool_may_not_do_more_than_its_panel() -> None:
    wanted = {"name": "a", "handler": "definition.add", "capabilities": ["state:write:count"]}
    assert judged([wanted], None)[0].capabilities == ("state:write:count",)
    assert judged([wanted], ["state:*"])
    ((_, message),) = details_of(wanted, capabilities=["events:*"])
    assert message == 'The panel does not have the capability "state:write:count".'


# -- its arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "wrong"),
    [
        ({"by": 2}, None),
        (None, None),
        ({}, None),
        ({"by": 2, "label": "x"}, None),
        ({"by": "2"}, None),  # converted, as for effects
        ({"by": "two"}, "/by"),
        ({"by": 1.5}, "/by"),
        ({"label": 1}, "/label"),
        ({"other": 1}, "/other"),
        ([1], None),
        ("by", None),
    ],
)
def test_arguments_fit_the_type_hints(args: Any, wrong: str | None) -> None:
    found = PanelTool(made())
    if wrong is None and (args is None or isinstance(args, dict)):
        assert found.check(args) == (args or {})
        return
    with pytest.raises(Refusal) as caught:
        found.check(args)
    assert caught.value.code is Code.INVALID_INPUT
    if wrong is not None:
        assert [detail["path"] for detail in caught.value.details or ()] == [wrong]


def test_arguments_fit_the_fields_that_the_definition_has() -> None:
    fields = [{"name": "by", "type": {"name": "integer"}, "required": True, "max": 10}]
    found = PanelTool(made(args=fields))
    assert found.check({"by": 10}) == {"by": 10}
    for wrong in ({"by": 11}, {}, {"by": 1, "label": "x"}):
        with pytest.raises(Refusal) as caught:
            found.check(wrong)
        assert caught.value.code is Code.INVALID_INPUT


def test_a_handler_that_this_process_does_not_have_is_said() -> None:
    missing = PanelTool(ToolDefinition(name="a", handler="definition.gone"))
    with pytest.raises(Refusal, match="no such tool is registered here"):
        missing.check({})


# -- when it fires --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "trigger"),
    [
        ({"type": "manual"}, Manual()),
        ({"type": "interval", "ms": 100}, Interval(type="interval", ms=100)),
        (
            {"type": "cron", "expression": "*/5 * * * *"},
            Cron(type="cron", expression="*/5 * * * *"),
        ),
        ({"type": "event", "pattern": "game.*"}, OnEvent(type="event", pattern="game.*")),
        ({"type": "state_change", "path": "/a/b"}, OnChange(type="state_change", path="/a/b")),
    ],
)
def test_a_trigger_is_read_and_kept(given: dict[str, Any], trigger: Any) -> None:
    found = made(trigger=given)
    assert found.trigger == trigger
    kept = found.model_dump(mode="json", exclude_defaults=True)
    assert ToolDefinition.model_validate(kept) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "interval"}, "Field required"),
        ({"type": "interval", "ms": 99}, "greater than or equal to 100"),
        ({"type": "interval", "ms": 10**15}, "less than or equal to"),
        ({"type": "cron", "expression": "often"}, "no cron expression"),
        ({"type": "cron", "expression": "61 * * * *"}, "no cron expression"),
        ({"type": "cron", "expression": "0 0 30 2 *"}, "no cron expression"),
        ({"type": "cron", "expression": "* * * * * *"}, "five fields"),
        ({"type": "event", "pattern": ""}, "at least 1 character"),
        ({"type": "state_change", "path": ""}, "at least 1 character"),
        ({"type": "hourly"}, "does not match any of the expected tags"),
        ("manual", "valid dictionary"),
    ],
)
def test_a_trigger_that_can_not_fire_is_refused(given: Any, message: str) -> None:
    ((path, told),) = details_of({"name": "a", "handler": "definition.add", "trigger": given})
    assert path.startswith("/tools/0/trigger")
    assert message in told


def test_an_interval_keeps_its_rhythm_and_makes_up_for_nothing() -> None:
    every = Interval(type="interval", ms=1000)
    second = timedelta(seconds=1)
    assert next_time(every, NOON) == NOON + second
    late = NOON + second / 4
    assert next_time(every, late, planned=NOON) == NOON + second
    assert next_time(every, NOON + 10 * second, planned=NOON) == NOON + 11 * second


def test_a_cron_expression_is_in_utc() -> None:
    daily = Cron(type="cron", expression="30 6 * * *")
    assert next_time(daily, NOON) == datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
    assert next_time(daily, datetime(2026, 11, 22, 6, 30, tzinfo=UTC)).day == 23


def test_what_does_not_fire_by_the_clock_has_no_next_time() -> None:
    with pytest.raises(TypeError):
        next_time(Manual(), NOON)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("game.*", ["game.moved", "game."]),
        ("*", ["game.moved", "game.", "Game.moved", "over"]),
        ("over", ["over"]),
        ("game.[a-l]*", []),
    ],
)
def test_events_fire_the_tools_that_their_names_match(pattern: str, names: list[str]) -> None:
    listens = PanelTool(made(trigger={"type": "event", "pattern": pattern}))
    events = [
        {"name": name, "payload": name} for name in ("game.moved", "game.", "Game.moved", "over")
    ]
    assert fired([listens], events, {}, {}) == [("event", "add", name) for name in names]


@pytest.mark.parametrize(
    ("path", "before", "after", "fires"),
    [
        ("count", {"count": 1}, {"count": 2}, True),
        ("count", {"count": 1}, {"count": 1, "other": 2}, False),
        ("count", {}, {"count": 0}, True),
        ("count", {"count": 0}, {}, True),
        ("/game/moves/1", {"game": {"moves": [1, 2]}}, {"game": {"moves": [1, 3]}}, True),
        ("/game/moves/1", {"game": {"moves": [1, 2]}}, {"game": {"moves": [0, 2]}}, False),
        ("/game/moves/1", {"game": {"moves": [1, 2]}}, {"game": 5}, True),
        ("/a~1b", {"a/b": 1}, {"a/b": 2}, True),
        ("/a~01", {"a~1": 1}, {"a~1": 2}, True),
        ("a/b", {"a/b": 1}, {"a/b": 2}, True),
    ],
)
def test_a_change_fires_the_tool_that_looks_there(
    path: str, before: dict[str, Any], after: dict[str, Any], fires: bool
) -> None:
    looks = PanelTool(made(trigger={"type": "state_change", "path": path}))
    assert fired([looks], [], before, after) == ([("change", "add", None)] if fires else [])


# -- tools of machines ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "value", "wanted"),
    [
        ("manual", None, Manual()),
        ("every", "5s", Interval(type="interval", ms=5000)),
        ("every", "100ms", Interval(type="interval", ms=100)),
        ("cron", "0 6 * * 1-5", Cron(type="cron", expression="0 6 * * 1-5")),
        ("on", "game.*", OnEvent(type="event", pattern="game.*")),
        ("changes", "/board/turn", OnChange(type="state_change", path="/board/turn")),
    ],
)
def test_a_machines_triggers_are_those_of_panels(trigger: Any, value: Any, wanted: Any) -> None:
    source = MachineTool(name="go", source="definition.add", trigger=trigger, trigger_value=value)
    (found,) = judged(of_machine([source]), None)
    assert (found.name, found.handler, found.trigger) == ("go", "definition.add", wanted)


def test_what_is_no_python_tool_is_a_machine() -> None:
    tools = [MachineTool(name="go", source="live_metrics", needs=("state:write:a",))]
    (found,) = judged(of_machine(tools), None)
    assert (found.handler, found.machine) == ("", "live_metrics")
    assert found.capabilities == ("state:write:a",)


# -- whatever comes -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
TRIGGERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["manual", "interval", "cron", "event", "state_change"]) | JSON},
    optional={"ms": JSON, "expression": JSON, "pattern": JSON, "path": JSON},
)
TOOLS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b"]) | JSON,
        "handler": st.just("definition.add") | JSON,
        "machine": JSON,
        "args": JSON,
        "trigger": TRIGGERS | JSON,
        "capabilities": JSON,
    },
)


@given(st.lists(TOOLS | JSON, max_size=3), st.none() | st.lists(st.text(max_size=5), max_size=3))
def test_any_json_is_tools_or_a_refusal(tools: list[Any], capabilities: list[str] | None) -> None:
    refusal: Refusal | None = None
    found: list[ToolDefinition] = []
    try:
        found = judged(tools, capabilities)
    except Refusal as caught:
        refusal = caught
    if refusal is None:
        assert len(found) == len(tools) == len({each.name for each in found})
    else:
        assert refusal.code is Code.INVALID_INPUT
        assert refusal.details
