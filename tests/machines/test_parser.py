"""What a source says, in every spelling that is documented."""

from __future__ import annotations

from typing import Any

import pytest

from mashin_surfaces.machines.definition import (
    Action,
    AskEffect,
    AskMachine,
    AskModel,
    Compute,
    Decide,
    Field,
    Gate,
    GateOption,
    GotoFlow,
    Launch,
    LaunchMany,
    MachineDefinition,
    OtherSurface,
    Recall,
    Remember,
    Retry,
    RunFlow,
    Type,
    WaitFor,
    WebsocketSurface,
)
from mashin_surfaces.machines.parser import parse


def machine(*lines: str) -> MachineDefinition:
    """The definition of a machine whose sections are these lines."""
    return parse("\n".join(["machine example", *lines])).definition


def step(*lines: str) -> Any:
    [only] = machine("  implements", *(f"    {line}" for line in lines)).implements.steps
    return only


def field(line: str) -> Field:
    [only] = machine("  accepts", f"    {line}").accepts
    return only


# -- lines --------------------------------------------------------------------------------------


def test_sections_may_stand_in_any_order() -> None:
    one = machine("  responds with", "    b as text", "  accepts", "    a as text")
    assert (one.accepts[0].name, one.responds[0].name) == ("a", "b")


def test_comments_blank_lines_and_other_line_ends_mean_nothing() -> None:
    plain = "machine example\n  accepts\n    a as text\n"
    dressed = (
        "\ufeff// first\r\nmachine example // named\r\n\r\n  // what it takes\r\n"
        '  accepts // "no text\r\n    a as text\r\n// last'
    )
    assert parse(dressed).definition == parse(plain).definition


def test_two_slashes_in_a_text_are_no_comment() -> None:
    assert parse('machine example "http://a"').definition.title == "http://a"


def test_a_line_goes_on_while_a_bracket_is_open() -> None:
    one = machine(
        "  verifies",
        '    test "long"',
        "      given {",
        "        a: 1,  // the first",
        "        b: [2,",
        "          3]",
        "      }",
        "      expect {}",
    )
    assert one.verifies[0].given == {"a": 1, "b": [2, 3]}


def test_sections_may_stand_as_deep_as_the_machine() -> None:
    assert parse("machine example\naccepts\n  a as text").definition.accepts[0].name == "a"


def test_escapes_and_characters_beyond_ascii() -> None:
    title = parse(r'machine example "\"Zoë\"\n\\ \u00e9 \ud83d\ude00 \${x}"').definition.title
    assert title == '"Zoë"\n\\ é 😀 ${x}'


# -- fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "type_"),
    [
        ("text", Type(name="text")),
        ("string", Type(name="text")),
        ("map", Type(name="map")),
        ("object", Type(name="map")),
        ("list", Type(name="list")),
        ("list(text)", Type(name="list", item=Type(name="text"))),
        ("list of text", Type(name="list", item=Type(name="text"))),
        (
            "list of list(integer)",
            Type(name="list", item=Type(name="list", item=Type(name="integer"))),
        ),
        ('enum("a", "b")', Type(name="enum", choices=("a", "b"))),
        ('enum, choices: ["a", "b"]', Type(name="enum", choices=("a", "b"))),
        (
            "object {a as text, is required, min as number, min: 1}",
            Type(
                name="object",
                fields=(
                    Field(name="a", type=Type(name="text"), required=True),
                    Field(name="min", type=Type(name="number"), min=1),
                ),
            ),
        ),
    ],
)
def test_types(written: str, type_: Type) -> None:
    assert field(f"x as {written}").type == type_


def test_the_fields_of_an_object_may_stand_below_it() -> None:
    one = machine(
        "  accepts", "    address as object", "      street as text", "      no as integer"
    )
    assert [item.name for item in one.accepts[0].type.fields] == ["street", "no"]


def test_modifiers() -> None:
    read = field(
        'x as number, is required, min: 1, max: 2.5, description "What", label: "How", secret'
    )
    assert read == Field(
        name="x",
        type=Type(name="number"),
        required=True,
        min=1,
        max=2.5,
        description="What",
        label="How",
        secret=True,
    )
    assert field("x as number, range: [1, 2.5]") == Field(
        name="x", type=Type(name="number"), min=1, max=2.5
    )
    assert field(
        r'x as text, pattern: "^\\d+$", format: "email", min_length: 1, max_length: 9'
    ) == (
        Field(
            name="x",
            type=Type(name="text"),
            pattern=r"^\d+$",
            format="email",
            min_length=1,
            max_length=9,
        )
    )


def test_a_default_of_null_is_a_default() -> None:
    assert field("x as text, default: null").has_default
    assert not field("x as text").has_default
    assert field('x as any, default: {a: [1, "b", true, nil]}').default == {
        "a": [1, "b", True, None]
    }


@pytest.mark.parametrize("name", ["as", "is", "default", "min", "accepts", "text", "error", "null"])
def test_a_keyword_may_be_a_name(name: str) -> None:
    assert field(f"{name} as text").name == name


# -- achieves and ensures -----------------------------------------------------------------------


def test_achieves() -> None:
    achieves = machine(
        "  achieves",
        "    goal classify_accurately",
        '    goal "in time"',
        '    succeeds when "all is set"',
        '    never "guess"',
        "    for example",
        '      given {subject: "x"}',
        "      expect",
        '        category: "billing"',
    ).achieves
    assert achieves.goals == ("classify_accurately", "in time")
    assert achieves.succeeds_when == ("all is set",)
    assert achieves.never == ("guess",)
    assert achieves.examples[0].given == {"subject": "x"}
    assert achieves.examples[0].expect == {"category": "billing"}


@pytest.mark.parametrize(
    "lines",
    [
        ("permissions", "  allowed to", "    reason", "    http.get"),
        ("permissions", "  allowed to", "    reason, http.get"),
        ("permissions", "  allowed to reason, http.get"),
        ("allowed to", "  reason", "  http.get"),
        ("allowed to reason, http.get",),
        ("allowed to reason", "allowed to http.get"),
        ('allowed to llm_call, "http.get"',),
        ("permissions allowed to reason, http.get",),
    ],
)
def test_permissions_in_a_block_or_alone_below_or_on_the_line(lines: tuple[str, ...]) -> None:
    one = machine("  ensures", *(f"    {line}" for line in lines))
    assert one.ensures.permissions.allowed == ("reason", "http.get")


def test_the_rest_of_ensures() -> None:
    ensures = machine(
        "  ensures",
        "    permissions",
        "      not allowed to",
        "        db_write",
        "      requires approval for",
        "        send_email, mail.*",
        '      allowed to call "@org/pkg/name"',
        "      authority",
        "        requires: researcher, delegates: team_lead",
        "    limits",
        '      timeout: "2s"',
        '      rate: "20/s burst 40"',
        "      concurrency: 3",
        "      max_cost: 0.5",
        "      max_tokens: 1000",
        "      warn_at: 0.4",
        "    guards",
        "      no_secrets",
        '        on_violation: "stop"',
        "    needs",
        "      STRIPE_KEY: required",
    ).ensures
    permissions, limits = ensures.permissions, ensures.limits
    assert permissions.denied == ("db_write",)
    assert permissions.requires_approval == ("send_email", "mail.*")
    assert permissions.allowed == ("@org/pkg/name",)
    assert permissions.authority == {"requires": "researcher", "delegates": "team_lead"}
    assert (limits.timeout, limits.rate, limits.concurrency) == (2, "20/s burst 40", 3)
    assert (limits.max_cost, limits.max_tokens, limits.warn_at) == (0.5, 1000, 0.4)
    assert ensures.guards == {"no_secrets": {"on_violation": "stop"}}
    assert ensures.needs == {"STRIPE_KEY": "required"}


# -- steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", ['ask x, using: "m:n"', 'ask x using "m:n"', 'ask x, using "m:n"', 'ask x using: "m:n"']
)
def test_ask_using(head: str) -> None:
    read = step(
        head,
        '  with role "You sort."',
        '  with task "Sort: ${input.text}\\n"',
        "  with tools [search, http.get]",
        "  with temperature 0.2",
        "  with max_tokens 500",
        "  returns",
        "    team as text, is required",
        "  assuming",
        '    team: "a"',
    )
    assert read == AskModel(
        name="x",
        model="m:n",
        role="You sort.",
        task="Sort: ${input.text}\n",
        tools=("search", "http.get"),
        temperature=0.2,
        max_tokens=500,
        returns=(Field(name="team", type=Type(name="text"), required=True),),
        assuming={"team": "a"},
    )


def test_ask_without_a_source_asks_the_default_model() -> None:
    assert step("ask x", '  with task "Think."') == AskModel(name="x", task="Think.")


def test_a_task_may_be_any_expression() -> None:
    assert step("ask x", "  with task input.a + 1").task == "${input.a + 1}"


def test_ask_from() -> None:
    read = step(
        'ask page, from: "@mashin/actions/http/get", to: simulate, after: none',
        "  url: input.url",
        '  headers: {"X": "Bearer " + input.key}',
        '  "content-type": "json"',
        "  body:",
        "    input.lines  // all of them",
        "      .map(line => line.trim())",
        "  assuming {status: 200}",
    )
    assert read == AskEffect(
        name="page",
        source="@mashin/actions/http/get",
        mode="simulate",
        after=(),
        inputs={
            "url": "input.url",
            "headers": '{"X": "Bearer " + input.key}',
            "content-type": '"json"',
            "body": "input.lines  // all of them\n  .map(line => line.trim())",
        },
        assuming={"status": 200},
    )


def test_the_other_steps() -> None:
    assert step('ask last, of: "ticker"') == AskMachine(name="last", machine="ticker")
    assert step("action get http", "  url: input.url") == Action(
        name="get", type="http", inputs={"url": "input.url"}
    )
    assert step('retry r, max: 5, backoff: "linear", delay: "2s"', '  ask x, of: "y"') == Retry(
        name="r", max=5, backoff="linear", delay=2000, step=AskMachine(name="x", machine="y")
    )
    assert step("run flow(review)") == RunFlow(name="review", flow="review")
    assert step("goto flow(:main), name: again") == GotoFlow(name="again", flow="main")
    assert step(
        "wait for answer",
        '  event: "order.paid"',
        '  timeout: "24h"',
        "  on_timeout: flow(late)",
        "  schema",
        "    approved as boolean, is required",
    ) == WaitFor(
        name="answer",
        event="order.paid",
        timeout=86400,
        on_timeout="flow(late)",
        fields=(Field(name="approved", type=Type(name="boolean"), required=True),),
    )
    assert step("launch go", '  machine: "other"', "  a: input.a") == Launch(
        name="go", machine="other", inputs={"a": "input.a"}
    )
    assert step(
        "launch_many all", '  machine: "other"', "  items: input.items", "  collect: true"
    ) == LaunchMany(name="all", machine="other", items="input.items", collect=True)
    assert step(
        "gate review, after: left, right",
        '  title: "Release?"',
        '  question: "Sum is ${steps.left.n}"',
        '  options: ["yes", "no"]',
        '  class: "quality"',
        '  timeout: "1h"',
    ) == Gate(
        name="review",
        after=("left", "right"),
        title="Release?",
        question="Sum is ${steps.left.n}",
        options=(GateOption.model_validate("yes"), GateOption.model_validate("no")),
        gate_class="quality",
        timeout=3600,
    )
    assert step("remember fact", "  content: input.text", '  collection: "facts"') == Remember(
        name="fact", options={"content": "input.text", "collection": '"facts"'}
    )
    assert step("recall facts", "  query: input.text", "  limit: 5") == Recall(
        name="facts", options={"query": "input.text", "limit": "5"}
    )


def test_every_step_may_say_when_and_how_it_runs() -> None:
    settings = 'after: a, b, optional: true, when: "input.deep", estimate: 0.02, {}: false'
    expected = {
        "after": ("a", "b"),
        "optional": True,
        "when": "input.deep",
        "estimate": 0.02,
        "retry_on_crash": False,
    }
    for line in ('ask x, from: "e"', "gate x", 'launch x, from: "m"', "wait for x", "compute x"):
        below = ["  1"] if line.startswith("compute") else []
        read = step(f"{line}, {settings.format('retry_on_crash')}", *below)
        assert {key: getattr(read, key) for key in expected} == expected


def test_settings_stand_before_an_expression_on_the_same_line() -> None:
    assert step('compute x, when: "input.a is \\"b, c\\"", after: y, z {a: 1}') == Compute(
        name="x", when='input.a is "b, c"', after=("y", "z"), body="{a: 1}"
    )
    assert step("compute x, after: none, optional: true (1 + 2)") == Compute(
        name="x", after=(), optional=True, body="(1 + 2)"
    )


def test_a_gate_offers_texts_and_options_that_lead_somewhere() -> None:
    read = step(
        "gate g",
        "  options:",
        '    ["Ship it", "reject", {id: "back", decision: "modify"},',
        '      {id: "fast", label: "Skip the tests", branch_to: "ship"}]',
        "  assuming",
        '    option: "fast"',
    )
    assert isinstance(read, Gate)
    assert [tuple(option.model_dump().values()) for option in read.options] == [
        ("Ship it", "Ship it", "approve", None),
        ("reject", "reject", "reject", None),
        ("back", "back", "modify", None),
        ("fast", "Skip the tests", "approve", "ship"),
    ]
    assert read.assuming == {"option": "fast"}
    assert read.choices == read.options
    assert [option.id for option in Gate(name="g").choices] == ["approve", "modify", "reject"]


def test_a_launch_may_assume_what_it_gives() -> None:
    read = step('launch go, from: "other"', "  assuming: 1", "  assuming", '    run_id: "a"')
    assert read == Launch(
        name="go", machine="other", inputs={"assuming": "1"}, assuming={"run_id": "a"}
    )


def test_a_compute_body_keeps_its_lines_and_comments() -> None:
    read = step(
        "compute total, after: a, b",
        "  // both sides",
        "  let sum = input.a",
        "    + input.b",
        "",
        "  {sum: sum}",
    )
    assert read == Compute(
        name="total",
        after=("a", "b"),
        body="// both sides\nlet sum = input.a\n  + input.b\n\n{sum: sum}",
    )
    assert (
        step('compute hi {text: "Hello, " + input.name}').body == '{text: "Hello, " + input.name}'
    )


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [("when", "when", "otherwise"), ("if", "else if", "else")],
)
def test_decide(first: str, second: str, third: str) -> None:
    read = step(
        "decide route",
        f'  {first} input.kind is "a"',
        "    {queue: 1}",
        f"  {second} input.kind in [",
        '      "b", "c"]',
        "    compute other",
        "      {queue: 2}",
        "    compute last",
        "      {queue: 3}",
        f"  {third}",
        "    null",
    )
    assert isinstance(read, Decide)
    assert [(branch.when, branch.value) for branch in read.branches] == [
        ('input.kind is "a"', "{queue: 1}"),
        ('input.kind in [ "b", "c"]', None),
        (None, "null"),
    ]
    assert [inner.name for inner in read.branches[1].steps] == ["other", "last"]


def test_flows_state_and_on_failure() -> None:
    implements = machine(
        "  implements",
        "    run flow(work)",
        "    on failure",
        "      compute sorry",
        "        {text: error.message}",
        "    flows",
        "      flow work",
        "        compute one 1",
        "        on failure",
        "          compute two 2",
        "    state",
        "      attempts as integer, default: 0",
        "      last: text",
    ).implements
    assert [inner.name for inner in implements.steps] == ["work"]
    assert [inner.name for inner in implements.on_failure] == ["sorry"]
    assert [inner.name for inner in implements.flows[0].steps] == ["one"]
    assert [inner.name for inner in implements.flows[0].on_failure] == ["two"]
    assert [(item.name, item.default) for item in implements.state] == [
        ("attempts", 0),
        ("last", None),
    ]


# -- tools, tests, doors ------------------------------------------------------------------------


def test_tools() -> None:
    tools = machine(
        "  tools",
        '    move from "game.move"',
        '    tick from "game.tick", every: "5s", needs: http.get, clock',
        '    hear from "game.hear", trigger: manual',
    ).tools
    assert [(tool.name, tool.source, tool.trigger, tool.trigger_value) for tool in tools] == [
        ("move", "game.move", "manual", None),
        ("tick", "game.tick", "every", "5s"),
        ("hear", "game.hear", "manual", None),
    ]
    assert tools[1].needs == ("http.get", "clock")


def test_a_test_in_one_line_each_or_in_blocks() -> None:
    first, second = machine(
        "  verifies",
        '    test "one line each"',
        '      given { subject: "x" }',
        '      assuming classify { priority: "high" }',
        "      expect {}",
        '    test "blocks"',
        "      given",
        '        subject: "x"',
        "      assuming classify",
        '        priority: "high"',
        "      expect {}",
    ).verifies
    assert first.given == second.given == {"subject": "x"}
    assert first.assuming == second.assuming == {"classify": {"priority": "high"}}


def test_surfaces() -> None:
    socket, api, page = machine(
        "  expresses",
        "    websocket",
        '      path: "/ws"',
        "      dialect: machine",
        "      auth: jwt, api_key",
        "      scopes: machines:run, reports:*",
        "      grant: none",
        '      rate: "20/s burst 40"',
        '      idle_timeout: "2m"',
        '      max_message: "64KiB"',
        "      subscribe: metric",
        "      every: 2",
        "      push: all",
        "      concurrency: 4",
        "    api",
        '      path: "/api"',
        '      method: "GET"',
        '      authentication: "bearer_token"',
        "    page",
        '      path: "/"',
        '      title: "Home"',
    ).expresses
    assert socket == WebsocketSurface(
        path="/ws",
        auth=("jwt", "api_key"),
        scopes=("machines:run", "reports:*"),
        grant=(),
        rate="20/s burst 40",
        idle_timeout=120,
        max_message=65536,
        subscribe="metric",
        every=2,
        push="all",
        concurrency=4,
    )
    assert api.model_dump(exclude_unset=True) == {
        "kind": "api",
        "path": "/api",
        "method": "GET",
        "auth": ("jwt", "api_key"),
    }
    assert page.model_dump(exclude_unset=True) == {"kind": "page", "path": "/", "title": "Home"}


def test_surfaces_of_later_are_read() -> None:
    one = machine(
        "  expresses",
        "    webhook",
        '      path: "/hooks/stripe"',
        "      auth: signature",
        "    publishes",
        "      order.created",
        "        schema",
        "          order_id as text",
        "    subscribes",
        "      order.shipped",
        '        handler: "main"',
    )
    options = [surface.options for surface in one.expresses if isinstance(surface, OtherSurface)]
    assert options == [
        {"path": "/hooks/stripe", "auth": "signature"},
        {"order.created": {"schema": {"order_id": "text"}}},
        {"order.shipped": {"handler": "main"}},
    ]


def test_parts_are_found_where_they_stand() -> None:
    parsed = parse(
        'machine example "Title"\n'
        "  accepts\n"
        "    a as text\n"
        "  implements\n"
        '    ask x, from: "e"\n'
        "      text: input.a\n"
        "  expresses\n"
        "    api\n"
        '      path: "/a"\n'
    )
    places = parsed.source_map
    assert places["title",] == (1, 17)
    assert places["accepts", 0] == (3, 5)
    assert places["implements", "steps", 0, "source"] == (5, 18)
    assert places["implements", "steps", 0, "inputs", "text"] == (6, 13)
    assert places["expresses", 0, "path"] == (9, 13)
