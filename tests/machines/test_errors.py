"""What a person is told about a source that is wrong: where, what was found, what was expected."""

# ruff: noqa: E501  the messages stand on one line each, as people see them
from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.parser import MAX_SOURCE, parse
from mashin_surfaces.machines.problems import Problem
from mashin_surfaces.machines.renderer import render
from mashin_surfaces.machines.review import examine

from .definitions import definitions

TYPES = (
    "text, number, integer, decimal, boolean, uuid, date, datetime, list, map, object, enum, any, "
    "file"
)
MODIFIERS = (
    "is required, default, description, label, min, max, min_length, max_length, pattern, format, "
    "choices, range, secret"
)
SECTIONS = "accepts, responds with, achieves, ensures, implements, tools, verifies, expresses"
STEPS = (
    "ask, action, compute, decide, retry, wait for, launch, launch_many, gate, remember, recall, "
    "run flow, goto flow"
)


def told(source: str) -> list[str]:
    with pytest.raises(DefinitionError) as refused:
        examine(source, effects={"shop.price", "shop.stock"})
    assert all(problem.line and problem.column for problem in refused.value.problems)
    return [str(problem) for problem in refused.value.problems]


def section(name: str, *lines: str) -> str:
    return "\n".join(["machine x", f"  {name}", *(f"    {line}" for line in lines)])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", '1:1: Found nothing, expected "machine NAME" and its sections.'),
        ("accepts\n  a as text", '1:1: Found "accepts", expected "machine NAME" first.'),
        ("machine", "1:8: Found the end of the line, expected a name."),
        (
            "machine my-machine",
            '1:11: Found "-", expected a text in quotes or the end of the line. '
            "Names have letters, digits and _ only.",
        ),
        (
            "machine Shop",
            '1:9: Found the name "Shop"; a machine\'s name has small letters, digits and _ only, '
            "begins with a letter, at most 64 characters.",
        ),
        ("machine x\nmachine y", "2:1: Found a second machine; each is a source of its own."),
        (
            "machine x\n  respond with\n    a as text",
            f'2:3: Found "respond", expected a section ({SECTIONS}). Did you mean "responds with"?',
        ),
        (
            "machine x\n  accepts\n    a as text\n  accepts\n    b as text",
            '4:3: A second section "accepts"; the first is on line 2.',
        ),
        ('machine x "title', '1:11: The text that begins here has no closing " on its line.'),
        (
            "machine x\n\taccepts",
            "2:1: Found a tab, expected spaces: indent with two spaces.",
        ),
        (
            "machine x\x00",
            "1:10: Found the character U+0000, which has no place in a source.",
        ),
    ],
)
def test_the_frame_of_a_machine(source: str, expected: str) -> None:
    assert told(source)[0] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a text", '3:7: Found "text", expected "as".'),
        ("a as", "3:9: Found the end of the line, expected a name."),
        ("a as txt", f'3:10: Found the type "txt", expected one of {TYPES}. Did you mean "text"?'),
        ("a as bool", f'3:10: Found the type "bool", expected one of {TYPES}. Did you mean "boolean"?'),
        (
            "a as text, required",
            f'3:16: Found "required", expected a modifier ({MODIFIERS}). Did you mean "is required"?',
        ),
        (
            "a as text, defalt: 1",
            f'3:16: Found "defalt", expected a modifier ({MODIFIERS}). Did you mean "default"?',
        ),
        ('a as text, min_length: "3"', '3:28: Found the text "3", expected a number.'),
        ("a as number, max: 3 min: 1", '3:25: Found "min", expected "," or the end of the line.'),
        ("a as number, max: 3, max: 4", '3:26: "max" is given twice.'),
        ("a as number, min: 4, max: 3", '3:5: "min" is more than "max": no value fits "a".'),
        (
            "a as text, min: 4",
            '3:5: "min" does not fit the type text; it is for decimal, integer, number.',
        ),
        (
            "a as text, default: hello",
            '3:25: Found "hello", expected a value (a text in quotes, a number, true, false, null, '
            "[…] or {…}). Texts stand in double quotes.",
        ),
        (
            "a as integer, default: 1.5",
            '3:5: The default of "a" does not fit it: Expected an integer, found a number that is not whole or too large to be exact.',
        ),
        (
            'a as text, default: "${input.b}"',
            "3:26: A constant has no ${…}; write \\${ for the characters alone.",
        ),
        ("a as enum", '3:5: The enum of "a" has no values; write enum("a", "b").'),
        ("a as list(text, text)", '3:10: The type "list" takes no "(…)" like this; list(text) and enum("a", "b") do.'),
        (
            'a as text, format: "mail"',
            '3:16: "format" is "email", "uri", "hostname", "ipv4", "ipv6" or "slug", this is "mail".',
        ),
        (
            r'a as text, pattern: "(?=x)"',
            '3:5: "a": the pattern is no regular expression that can be used (no look-around, no '
            "back-references).",
        ),
        ("a as file", "3:5: not supported yet: type file (line 3)"),
        ("2a as text", '3:5: Found "2a", expected a name.'),
    ],
)  # fmt: skip
def test_fields(line: str, expected: str) -> None:
    assert told(section("accepts", line)) == [expected]


def test_a_field_twice() -> None:
    assert told(section("accepts", "a as text", "b as text", "a as text")) == [
        '5:5: A second field "a"; the first is on line 3.'
    ]


def test_the_output_has_no_field_error() -> None:
    assert told(section("responds with", "error as text")) == [
        '3:5: No field of responds with is called "error": a client tells answers from errors by '
        "it. Give it another name."
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("ask x, usin: \"m\"",), '3:12: ask has no option "usin"; it takes using, from, of, to, after, optional, when, estimate, retry_on_crash. Did you mean "using"?'),
        (("asks x",), f'3:5: Found "asks", expected a step ({STEPS}). Did you mean "ask"?'),
        (('ask x, from: "e", of: "m"',), '3:23: An ask has one of using, from and of; this has "from" and "of".'),
        (('ask x, from: "shop.prise"',), '3:18: no effect "shop.prise" is registered; known are shop.price, shop.stock. Did you mean "shop.price"?'),
        (('ask x, from: "shop.price"', "  a: input.b"), '4:10: accepts has no field "b".'),
        (('ask x, from: "shop.price"', "  a: 1 +"), "4:13: Found the end, expected a value."),
        (('ask x, from: "shop.price"', "  a 1"), '4:7: Found "a", expected "key: value".'),
        (('ask x, from: "shop.price"', "  a: 1", "  a: 2"), '5:7: A second "a"; the first is on line 4.'),
        (("ask x", '  with tasks "a"'), '4:12: Found "tasks", expected role, task, tools, temperature or max_tokens. Did you mean "task"?'),
        (("ask x", '  with task "a ${b"'), '4:20: The "${" is not closed by "}" in its text; write \\${ for the characters alone.'),
        (("ask x", '  with task "a ${b.c}"'), '4:17: Found the name "b", which means nothing here; expressions speak of input, steps and the names of let lines.'),
        (("ask x", "  with temperature 3"), '4:24: "temperature" is at most 2.0, this is 3.'),
        (('ask x, from: "shop.price", when: input.a',), '3:38: Found "input", expected a condition in quotes, like "input.deep".'),
        (('ask x, from: "shop.price", when: "input.a +"',), "3:48: Found the end, expected a value."),
        (('ask x, from: "shop.price", optional: 1',), '3:42: Found "1", expected true or false.'),
        (('ask x, from: "shop.price", estimate: true',), '3:42: Found "true", expected a number of US dollars.'),
        (('ask x, from: "shop.price", estimate: -1',), '3:42: "estimate" is at least 0.0, this is -1.'),
        (("ask x, optional: true, optional: false",), '3:28: A second "optional".'),
        (("compute x, needs: a", "  1"), '3:16: Found "needs", expected "after:", "optional:", "when:", "estimate:", "retry_on_crash:" or an expression.'),
        (("compute x, when: a", "  1"), '3:22: Found "a", expected a condition in quotes, like "input.deep".'),
        (("gate g", "  options: 1"), '4:16: Found "1", expected a list like ["yes", "no"].'),
        (("gate g", "  options: [1]"), '4:16: An option is a text, or {id: "…", label: "…", decision: "approve"}.'),
        (("gate g", '  options: [{id: "a", decision: "maybe"}]'), '4:16: "decision" is "approve", "modify" or "reject", this is "maybe".'),
        (("gate g", "  assuming {}", "  assuming {}"), '5:7: A second "assuming" in one step.'),
        (("wait for w", "  timeout: 1", '  on_timeout: "stop"'), '5:7: "on_timeout" is "fail", "continue" or flow(NAME), this is "stop".'),
        (("wait for w", "  schema", "    a as text", "  schema", "    b as text"), '6:7: A second "schema" in one step.'),
        (("compute x",), '3:5: Found nothing below "compute x", expected an expression like {total: input.a + input.b}.'),
        (("compute x", "  {a: steps.y}"), '4:7: There is no step "y".'),
        (("compute x", "  {a: steps.x}"), '4:7: The step "x" has not run yet here; only steps before this one have.'),
        (("compute x", "  {a: (1}"), '4:13: Found "}", expected ")".'),
        (("compute x", "  1", "compute x", "  2"), '5:13: A second step "x"; every step of a machine has a name of its own.'),
        (("when input.a",), '3:5: Found "when" outside of a decide; write "decide NAME" above it, and it two spaces deeper.'),
        (("decide x",), '3:5: Found nothing below "decide x", expected "when …" lines.'),
        (("decide x", "  when true"), '4:7: Found nothing below "when", expected steps or one expression.'),
        (("decide x", "  when", "    1"), '4:7: Found nothing behind "when", expected a condition.'),
        (("decide x", "  otherwise", "    1", "  when true", "    2"), '6:7: Found "when" behind the last branch; "otherwise" comes last.'),
        (("decide x", "  maybe", "    1"), '4:7: Found "maybe", expected when or otherwise.'),
    ],
)  # fmt: skip
def test_steps(lines: tuple[str, ...], expected: str) -> None:
    assert told(section("implements", *lines))[0] == expected


def test_a_flow_has_no_settings() -> None:
    source = section("implements", "flows", "  flow f, optional: true", "    compute a 1")
    assert '4:7: A flow has no "optional"; its steps have.' in told(source)


def test_a_field_that_a_step_does_not_return() -> None:
    source = section(
        "implements",
        'ask p, from: "shop.price"',
        "  returns",
        "    amount as number",
        "compute t",
        "  {total: steps.p.amont}",
    )
    assert told(source) == ['7:7: The step "p" returns no "amont". Did you mean "amount"?']


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("websockets",), '3:5: Found "websockets", expected websocket, api, page, webhook, a2a, mcp, publishes or subscribes. Did you mean "websocket"?'),
        (("api",), '3:5: The api surface needs a path; write below it: path: "/…"'),
        (("api", '  pth: "/a"'), '4:7: api has no "pth"; it takes path, auth, scopes, grant, rate, method, authentication. Did you mean "path"?'),
        (("api", "  path: /a"), '4:13: Found "/", expected a value (a text in quotes, a number, true, false, null, […] or {…}) or a name.'),
        (("api", '  path: "a"'), '4:13: A path begins with "/", this is "a".'),
        (("api", '  path: "/a?b=1"'), '4:13: A path has no "?": it is the address alone, without query.'),
        (("api", '  path: "/a//b"'), '4:13: A path has no "//": it is the address alone, without query.'),
        (("api", '  path: "/a b"'), '4:13: A path has no " ": it is the address alone, without query.'),
        (("api", '  path: "/a/../b"'), '4:13: A path has no "." or ".." between its slashes: browsers never send them.'),
        (("api", f'  path: "/{"a" * 500}"'), "4:13: A path has at most 500 characters, this has 501."),
        (("api", '  path: "/a"', "  auth: oauth"), '5:13: "auth" is "session", "jwt", "api_key" or "none", this is "oauth".'),
        (("api", '  path: "/a"', '  authentication: "basic"'), '5:23: "basic" is no authentication; write bearer_token, api_key, session, none.'),
        (("api", '  path: "/a"', '  method: "FETCH"'), '5:15: "method" is "GET", "POST", "PUT", "PATCH" or "DELETE", this is "FETCH".'),
        (("api", '  path: "/a"', '  rate: "fast"'), '5:13: "fast" is no rate; write "20/s", "100/m" or "20/s burst 40".'),
        (("api", '  path: "/a"', '  scopes: "a b"'), '5:15: "a b" is no scope; a scope is like machines:run or reports:*.'),
        (("api", '  path: "/a"', "page", '  path: "/a"'), "6:13: Two surfaces of this machine are at /a over http; give one another path."),
        (("websocket", '  path: "/a"', '  idle_timeout: "soon"'), '5:21: "soon" is no duration; write a number of seconds, or "200ms", "2s", "30m", "24h", "7d".'),
        (("websocket", '  path: "/a"', "  max_message: 1"), '5:20: "max_message" is at least 1024, this is 1.'),
        (("websocket", '  path: "/a"', "  subscribe: topic"), '5:18: "subscribe" names a field of accepts; there is no "topic".'),
        (("websocket", '  path: "/a"', '  path: "/b"'), '5:7: A second "path"; the first is on line 4.'),
    ],
)  # fmt: skip
def test_surfaces(lines: tuple[str, ...], expected: str) -> None:
    assert told(section("expresses", *lines))[0] == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("allowed reason",), '3:5: Found "allowed", expected permissions, allowed to, not allowed to, requires approval for, authority, limits, guards or needs. Did you mean "allowed to"?'),
        (("allowed to",), '3:5: Found nothing behind "allowed to", expected names of effects like reason or http.get, on the same line or below.'),
        (("limits", "  timeot: 3"), '4:7: limits has no "timeot"; it takes timeout, rate, concurrency, max_cost, max_tokens, warn_at, max_parallel. Did you mean "timeout"?'),
        (("limits", "  concurrency: 0"), '4:20: "concurrency" is at least 1, this is 0.'),
        (("limits", "  concurrency: many"), '4:20: Found "many", expected a number.'),
        (("limits", "  max_parallel: 257"), '4:21: "max_parallel" is at most 256, this is 257.'),
        (("limits", "  max_cost: 2", "  warn_at: 3"), '5:16: "warn_at" is more than "max_cost": nobody is ever warned. Up to 1 it is a share of the budget, above it US dollars.'),
        (("limits", '  rate: "x"'), '4:13: "x" is no rate; write "20/s", "100/m" or "20/s burst 40".'),
    ],
)  # fmt: skip
def test_ensures(lines: tuple[str, ...], expected: str) -> None:
    assert told(section("ensures", *lines)) == [expected]


def test_verifies() -> None:
    source = section(
        "verifies",
        'test "a"',
        "  given { b: 1 }",
        "  assuming c { d: 1 }",
        "  expects { e: 1 }",
        'test "f"',
        "  given { g 1 }",
    )
    assert told(source) == [
        '4:7: "b" is no field of accepts.',
        '5:7: The test assumes a step "c", which is not there.',
        '6:7: Found "expects", expected given, assuming or expect. Did you mean "expect"?',
        '8:17: Found "1", expected ":".',
    ]


@pytest.mark.parametrize(
    ("name", "lines", "feature", "line"),
    [
        ("implements", ("wait for w", "  timeout: 1", "  on_timeout: flow(f)"), "on_timeout: flow", 5),
        ("implements", ("wait for w", '  channel: "chat"'), "wait for … channel", 4),
        ("implements", ("compute c", "  1", "on failure", "  compute d", "    2"), "on failure", 5),
        ("implements", ("flows", "  flow f", "    compute c", "      1"), "flows", 3),
        ("implements", ("run flow(f)",), "run flow", 3),
        ("implements", ("goto flow(f)",), "goto flow", 3),
        ("implements", ("state", "  n as integer"), "state", 3),
        ("implements", ("remember r", "  content: 1"), "remember", 3),
        ("implements", ("recall r", "  query: 1"), "recall", 3),
        ("implements", ("action a http", '  url: "u"'), "action", 3),
        ("implements", ('ask a, of: "m"',), "ask … of", 3),
        ("implements", ('ask a, from: "@mashin/actions/http/get"',), 'ask … from "@…"', 3),
        ("implements", ('ask a, from: "shop.price", to: cost',), "ask … from …, to", 3),
        ("implements", ("ask a", "  with tools [search]"), "with tools", 4),
        ("ensures", ("authority", "  requires: boss"), "authority", 3),
        ("ensures", ("guards", "  g", '    on_violation: "stop"'), "guards", 3),
        ("ensures", ("needs", "  KEY: required"), "needs", 3),
        ("ensures", ("limits", "  max_tokens: 1"), "max_tokens in limits without an incubator", 4),
        ("expresses", ("webhook", '  path: "/h"'), "webhook", 3),
        ("expresses", ("a2a",), "a2a", 3),
        ("expresses", ("mcp",), "mcp", 3),
        ("expresses", ("publishes", "  order.created"), "publishes", 3),
        ("expresses", ("subscribes", "  order.created"), "subscribes", 3),
    ],
)  # fmt: skip
def test_what_comes_later_is_refused_by_name(
    name: str, lines: tuple[str, ...], feature: str, line: int
) -> None:
    messages = told(section(name, *lines))
    assert [message.partition(": ")[2] for message in messages] == [
        f"not supported yet: {feature} (line {line})"
    ]


def test_twenty_errors_are_told_at_once() -> None:
    source = """\
machine x "Title
  accepts
    a as txt
    b text
    c as text, reqired
    c2 as number, min: "1"
  responds with
    error as text
    d as list(
    e as integer, default: "e"
  ensures
    permissions
      alowed to
        reason
    limits
      timeout: "soon"
      rate: "fast"
  implements
    ask f, usin: "m"
    compute g
      {h: (1 + }
    decide i
      when
        1
    ask j, from: "nowhere"
      k l
  verifies
    tst "m"
    test "n"
      given { o 1 }
  expresses
    api
      path: "p"
      auth: oauth
    websockt
      path: "/q"
"""
    problems = told(source)
    lines = [int(problem.partition(":")[0]) for problem in problems]
    assert len(problems) == 20
    assert lines == sorted(lines)
    assert set(lines) >= {1, 3, 4, 5, 6, 8, 9, 10, 13, 16, 17, 19, 21, 23, 25, 26, 28}


def test_no_more_than_twenty_are_told() -> None:
    assert len(told(section("accepts", *(f"f{index} text" for index in range(50))))) == 20


def test_a_source_that_is_too_large_is_refused_unread() -> None:
    assert told("machine x // " + "x" * MAX_SOURCE) == [
        "1:1: A source has at most 256 KiB, this has 256 KiB."
    ]


# -- any text -----------------------------------------------------------------------------------


def read_or_refuse(source: str) -> None:
    """Nothing but a definition or problems with places comes out, whatever goes in."""
    problems: list[Problem] = []
    try:
        parsed = examine(source)
    except DefinitionError as error:
        problems = error.problems
    else:
        assert parse(render(parsed.definition)).definition == parsed.definition
        return
    lines = source.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    assert 1 <= len(problems) <= 20
    for problem in problems:
        assert problem.message
        assert problem.line is not None
        assert 1 <= problem.line <= lines


@given(st.text(max_size=200))
@example("machine x\x00")
@example("\ud800")
@example("machine x\n" + "  " * 40 + "a")
@example("(" * 5_000)
@example('machine x "' + "${" * 5_000)
@example("".join(" " * depth + "a\n" for depth in range(200)))
def test_any_text_is_read_or_refused(source: str) -> None:
    read_or_refuse(source)


pieces = st.one_of(
    st.sampled_from(
        ['"', "${", "}", "{", "(", ")", "[", "]", "\n", "\t", " ", "//", ":", ",", "\\", "'", "\x00",
         "é", " as ", " is ", "when x", "decide a", "on failure", "..", "?", "1e999", "9" * 30,
         "\naccepts\n", "\nexpresses\n", "returns"]
    ),
    st.text(max_size=3),
)  # fmt: skip


@settings(max_examples=50)
@given(definitions.map(render), st.data())
def test_a_damaged_source_is_read_or_refused(source: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(source)))
        end = data.draw(st.integers(start, min(len(source), start + 20)))
        source = source[:start] + data.draw(pieces) + source[end:]
    read_or_refuse(source)


@settings(max_examples=50)
@given(definitions.map(render), st.data())
def test_a_source_that_lost_its_indentation_is_read_or_refused(
    source: str, data: st.DataObject
) -> None:
    lines = source.split("\n")
    if data.draw(st.booleans()):
        read_or_refuse("\n".join(line.strip() for line in lines))
    else:
        read_or_refuse(
            "\n".join(" " * data.draw(st.integers(0, 6)) + line.strip() for line in lines)
        )
