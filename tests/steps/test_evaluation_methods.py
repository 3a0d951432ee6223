"""Methods and namespaces: what they give, and that their time and chance are the run's."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mashin_surfaces.machines.expression_references import GLOBAL_NAMES
from mashin_surfaces.machines.expressions import parse_expression
from mashin_surfaces.steps.evaluation import EvaluationError, Scope, compile_node
from mashin_surfaces.steps.evaluation.namespaces import GLOBALS, NAMESPACES

NOW = datetime(2026, 5, 7, 12, tzinfo=UTC)


def value_of(text: str) -> Any:
    scope = Scope({"xs": [3, 1, 2], "d": Decimal("2.345")}, now=NOW, random=random.Random(1))
    return compile_node(parse_expression(text))(scope)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.xs.map((x, i) => x * i)", [0, 1, 4]),
        ("input.xs.map(Math.abs)", [3, 1, 2]),
        ("input.xs.filter(x => x > 1)", [3, 2]),
        ("input.xs.find(x => x < 3)", 1),
        ("input.xs.find(x => x > 3)", None),
        ("input.xs.findIndex(x => x == 2)", 2),
        ("input.xs.findIndex(x => x == 9)", -1),
        ("input.xs.some(x => x > 2) and not input.xs.every(x => x > 2)", True),
        ("input.xs.reduce((a, b) => a + b)", 6),
        ("input.xs.reduce((a, x, i) => a + x * i, 0)", 5),
        ("input.xs.reduce(Math.max)", 3),
        ("input.xs.sort()", [1, 2, 3]),
        ('["b", "a"].sort()', ["a", "b"]),
        ("[{k: 1, n: 1}, {k: 0, n: 2}, {k: 1, n: 3}].sort((a, b) => a.k - b.k).map(x => x.n)",
         [2, 1, 3]),
        ("input.xs", [3, 1, 2]),
        ("input.xs.slice(1)", [1, 2]),
        ("input.xs.slice(-2, -1)", [1]),
        ('["a", 1, null, true].join("-")', "a-1-null-true"),
        ("input.xs.join()", "3,1,2"),
        ("input.xs.includes(2)", True),
        ("[[1]].includes([1.0])", True),
        ("input.xs.indexOf(2)", 2),
        ("input.xs.reverse()", [2, 1, 3]),
        ("input.xs.concat([4], 5)", [3, 1, 2, 4, 5]),
        ("input.xs.push(4)", [3, 1, 2, 4]),
        ("[[1, [2]], 3].flat()", [1, [2], 3]),
        ("[[1, [2]], 3].flat(9)", [1, 2, 3]),
        ("[1, 2].flatMap(x => [x, x])", [1, 1, 2, 2]),
        ("[[].first(), input.xs.first(), input.xs.last()]", [None, 3, 2]),
        ('[1, 1.0, true, "1", [1], [1]].unique()', [1, True, "1", [1]]),
        ("[0.5, 1].sum()", 1.5),
        ("[].sum()", 0),
        ("[input.xs.min(), input.xs.max(), [].max()]", [1, 3, None]),
        ('" Ab ".trim().upper() + "X".toLowerCase()', "ABx"),
        ('[" a ".trimStart(), " a ".trimEnd()]', ["a ", " a"]),
        ('"a,b".split(",")', ["a", "b"]),
        ('"abc".split("")', ["a", "b", "c"]),
        ('["abc".startsWith("a"), "abc".endsWith("a"), "abc".includes("b")]', [True, False, True]),
        ('["abc".indexOf("c"), "abc".indexOf("x")]', [2, -1]),
        ('"abcd".slice(1, -1) + "abcd".substring(3, 1) + "abc".charAt(9)', "bcbc"),
        ('"a.a".replace("a", "b") + "a.a".replaceAll(".", "")', "b.aaa"),
        ('"ab".repeat(2) + "7".padStart(3, "01") + "7".padEnd(3)', "abab0177  "),
        ('["42".toNumber(), " 1.5 ".toNumber(), "x".toNumber(), "1_0".toNumber()]',
         [42, 1.5, None, None]),
        ("[1.005.toFixed(2), 2.toFixed(1), 2.5.round(), (-2.5).round()]", ["1.01", "2.0", 3, -3]),
        ("{a: 1}.keys().concat({a: 1}.values())", ["a", 1]),
        ("{a: 1}.entries().map(([k, v]) => k + v)", ["a1"]),
        ('[{a: null}.has("a"), {a: 1}.get("b", 2), {a: 1}.length]', [True, 2, 1]),
        ('{length: "long"}.length', "long"),
        ("Object.merge({a: 1}, {b: 2}, {a: 3})", {"a": 3, "b": 2}),
        ('Object.delete({a: 1, b: 2}, "a")', {"b": 2}),
        ('Object.fromEntries([["a", 1]])', {"a": 1}),
        ('[Object.hasKey({a: 1}, "a"), Object.get({}, "a", 5)]', [True, 5]),
        ("Object.keys({b: 1, a: 2})", ["b", "a"]),
        ('JSON.parse("[1, 2.5, null]")', [1, 2.5, None]),
        ("JSON.stringify({a: [1, 2.5, null]})", '{"a":[1,2.5,null]}'),
        ("JSON.stringify(input.d)", "2.345"),
        ("[Math.floor(-1.5), Math.ceil(1.2), Math.trunc(-1.5), Math.sign(-3)]", [-2, 2, -1, -1]),
        ("[Math.round(2.5), Math.round(-2.5), Math.round(1.005, 2)]", [3, -3, 1.01]),
        ("[Math.max(1, 3, 2), Math.min(...input.xs), Math.abs(-2)]", [3, 1, 2]),
        ("[Math.pow(2, 3), Math.sqrt(9), Math.log10(1000), Math.atan2(0, 1)]", [8, 3.0, 3.0, 0.0]),
        ("Math.floor(Math.PI * 100)", 314),
        ("now()", "2026-05-07T12:00:00Z"),
        ('DateTime.parse("2026-05-07T14:00:00+02:00") == DateTime.now()', True),
        ('DateTime.parse("2026-05-07")', "2026-05-07T00:00:00Z"),
        ('DateTime.add(now(), 90, "minutes")', "2026-05-07T13:30:00Z"),
        ('DateTime.add(now(), -1, "day")', "2026-05-06T12:00:00Z"),
        ('DateTime.diff("2026-05-08T00:00:00Z", now(), "hours")', 12),
        ('DateTime.diff(now(), "2026-05-07T12:00:00.5Z")', -0.5),
        ('DateTime.format(now(), "%A, %d %B %Y at %I:%M %p %%")',
         "Thursday, 07 May 2026 at 12:00 PM %"),
        ("Set.from([2, 1, 2])", [2, 1]),
        ("Set.union([1, 2], [2, 3])", [1, 2, 3]),
        ("[Set.intersection([1, 2], [2]), Set.difference([1, 2], [2])]", [[2], [1]]),
        ("[Set.add([1], 2), Set.delete([1, 2], 1), Set.has([1], 1), Set.size([1, 1])]",
         [[1, 2], [2], True, 1]),
        ('String.upper("a") + String.from(1.0) + String.length("ab")', "A12"),
    ],
)  # fmt: skip
def test_a_method_gives_its_value(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[].reduce((a, b) => a)", "a value to start with"),
        ('[1, "a"].sort()', "not a number with a text"),
        ("[2, 1].sort((a, b) => a > b)", "answers with a number"),
        ("[1].map(1)", "map needs a function, not a number."),
        ('["a"].sum()', "sum needs a number, not a text."),
        ('"a".repeat(-1)', "0 or more"),
        ('"a".repeat(1.5)', "whole number, not 1.5"),
        ('"a".includes(1)', "includes needs a text"),
        ("1.toFixed(99)", "0 to 20 places"),
        ("Math.sqrt(-1)", "Math.sqrt(-1) has no result."),
        ("Math.exp(1000)", "has no result"),
        ("Math.log(0)", "has no result"),
        ("Math.max()", "at least 1 value,"),
        ('JSON.parse("{")', "not JSON"),
        ('JSON.parse("NaN")', "not JSON"),
        ('DateTime.parse("2026-05-07T12:00:00")', "with its offset"),
        ('DateTime.add(now(), 1, "month")', 'no unit "month"'),
        ('DateTime.add(now(), 9e9, "days")', "1 to 9999"),
        ('DateTime.format(now(), "%c")', '"%c"'),
        ("Object.fromEntries([[1]])", "[key, value] pairs"),
        ("Object.keys(1)", "Object.keys needs a map"),
    ],
)
def test_a_method_says_what_it_needs(text: str, words: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value_of(text)
    assert words in str(caught.value)


def test_chance_comes_from_the_scope_and_repeats_with_it() -> None:
    text = "[Math.random(), UUID.generate(), UUID.v4()]"
    first, second = value_of(text), value_of(text)
    assert first == second
    assert first[1] != first[2]
    assert first[1][14] == "4"


def test_the_time_stands_still_during_a_run() -> None:
    scope = Scope()
    run = compile_node(parse_expression("now()"))
    assert run(scope) == run(scope)


def test_the_parser_knows_the_names_that_the_language_brings() -> None:
    assert {*NAMESPACES, *GLOBALS} == GLOBAL_NAMES
