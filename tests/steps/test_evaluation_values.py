"""What operators and literals give: the rules of values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mashin_surfaces.machines.expressions import parse_body, parse_expression, parse_template
from mashin_surfaces.steps.evaluation import EvaluationError, Scope, compile_node

INPUT = {
    "name": "Ada",
    "xs": [3, 1, 2],
    "price": Decimal("1.10"),
    "deep": {"a": None},
    "half": 0.5,
}


def value_of(text: str) -> Any:
    return compile_node(parse_expression(text))(Scope(INPUT, steps={"latest": {"value": 42.5}}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-2 ** 2", 4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", -1),
        ("7.5 % 2", 1.5),
        ("1 << 4 | 1", 17),
        ("~5 & 255", 250),
        ('"a" + 1 + 2', "a12"),
        ('1 + 2 + "a"', "3a"),
        ('"x" + 3.0 + true + null', "x3truenull"),
        ('"list " + [1, {a: 2.5}]', 'list [1,{"a":2.5}]'),
        ("1 == 1.0", True),
        ('"1" == 1', False),
        ("true == 1", False),
        ("[1, {a: 2}] == [1.0, {a: 2}]", True),
        ("{a: 1, b: 2} == {b: 2, a: 1}", True),
        ("null == false", False),
        ('"a" < "b" and 1 <= 1.0', True),
        ("2 in input.xs", True),
        ('"name" in input', True),
        ('"d" in input.name', True),
        ("0 || null || 'x'", "x"),
        ("1 && 2", 2),
        ("0 && boom", 0),
        ("null ?? 0 ?? 1", 0),
        ("[] ? 1 : 2", 1),
        ("{} ? 1 : 2", 1),
        ('"" ? 1 : 2', 2),
        ("0.0 ? 1 : 2", 2),
        ("not input.missing", True),
        ("1..4", [1, 2, 3, 4]),
        ("0..10 by 5", [0, 5, 10]),
        ("3..1", []),
        ("3..1 by -1", [3, 2, 1]),
        ("input.xs[0] + input.xs[2]", 5),
        ("input.xs[9]", None),
        ("input.xs[-1]", None),
        ("input.name[1]", "d"),
        ('input["na" + "me"]', "Ada"),
        ("input.missing", None),
        ("input.missing?.x.y.z()", None),
        ("input.deep.a?.[0]", None),
        ("input.name?.length", 3),
        ("steps.latest.value", 42.5),
        ("latest.value", 42.5),
        ('"${1 + 1} and ${"x${2}"}"', "2 and x2"),
        ("[...input.xs, 4]", [3, 1, 2, 4]),
        ("{...input.deep, b: 1, ['c' + 1]: 2, ...null}", {"a": None, "b": 1, "c1": 2}),
        ("typeof [] + typeof {} + typeof 1 + typeof null", "listmapnumbernull"),
        ("input.xs |> filter(x => x > 1) |> map((x, i) => x * i)", [0, 2]),
        ("-1.5 |> Math.abs", 1.5),
        ("3 |> (x => x + 1)", 4),
        ("{f: x => x + 1}.f(2)", 3),
        ("[[1, 2], [3, 4]].map(([a, ...rest]) => rest)", [[2], [4]]),
        ("[{a: 1, b: 2}].map(({a, ...rest}) => [a, rest])", [[1, {"b": 2}]]),
        ("[1, 2].map(a => [10, 20].map(b => a * b))", [[10, 20], [20, 40]]),
    ],
)
def test_an_expression_has_its_value(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.price + 1", "2.10"),
        ("input.price * 0.1", "0.110"),
        ("1 / (input.price - 1.10 + 3)", "0.3333333333333333333333333333333333"),
        ("-input.price", "-1.10"),
    ],
)
def test_decimals_keep_their_digits(text: str, value: str) -> None:
    found = value_of(text)
    assert isinstance(found, Decimal)
    assert str(found) == value


def test_a_decimal_equals_the_float_written_with_the_same_digits() -> None:
    assert value_of("input.price == 1.1 and input.price < 1.2") is True
    assert value_of('"costs " + input.price') == "costs 1.10"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("input.price / 0", "division by zero"),
        ("1e308 * 10", "too large"),
        ("9223372036854775807 + 1", "too large"),
        ("2 ** 10 ** 10", "too large"),
        ("1 << 64", "0 to 63"),
        ("(-8) ** 0.5", "whole exponent"),
        ('"a" * 2', "two numbers, not a text and a number"),
        ("1 + null", "not a number and null"),
        ("true + 1", "not a boolean"),
        ("[1] + [2]", "concat"),
        ('1 < "a"', "not a number with a text"),
        ("null < 1", "not null with a number"),
        ("1 in 2", '"in" looks into'),
        ("1.5 | 1", "whole number"),
        ("1..2 by 0", "by 0"),
        ("input.deep.a.b", '"b" is asked of null'),
        ("input.missing.x()", '"x" is asked of null'),
        ("nope", 'There is no "nope" here.'),
        ("inptu.x", 'Did you mean "input"?'),
        ("error.message", "on failure"),
        ("Math", "group of functions"),
        ("Math.flor(1.5)", 'Did you mean "floor"?'),
        ("Math.PI()", "a number, not a function"),
        ("1(2)", "Only functions are called"),
        ("x => x", "A function is no result"),
        ("[x => x]", "A function is no result"),
        ('"abc".map(x => x)', 'A text has no method "map"'),
        ("[1].fliter(x => x)", 'Did you mean "filter"'),
        ("input.name.trim", "call it with ()"),
        ("null |> trim", '"trim" is asked of null'),
        ("[[1]].map(({a}) => a)", "out of a map, not a list"),
        ("[1].map(([a]) => a)", "takes a list apart"),
        ("{[null]: 1}", "A key is a text"),
        ("Math.round(1, 2, 3)", "Math.round takes 1 to 2 values, not 3."),
        ('"a".padStart()', "padStart takes 1 to 2 values, not 0."),
    ],
)
def test_what_has_no_value_is_told_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value_of(text)
    assert words in str(caught.value)


def test_the_last_line_of_a_body_is_its_value() -> None:
    body = compile_node(
        parse_body(
            "let found = input.xs.filter(x => x > 1)\n"
            "let {length} = {length: found.length}\n"
            "let double = n => n == 0 ? 0 : 2 + double(n - 1)\n"
            "{found, length, doubled: double(length)}"
        )
    )
    assert body(Scope(INPUT)) == {"found": [3, 2], "length": 2, "doubled": 4}


def test_a_name_means_nothing_before_its_own_line() -> None:
    with pytest.raises(EvaluationError, match='There is no "x" here'):
        compile_node(parse_body("let x = x\nx"))(Scope())


def test_error_is_known_on_failure() -> None:
    scope = Scope(error={"message": "late", "type": "timeout"})
    assert compile_node(parse_template("${error.type}: ${error.message}"))(scope) == "timeout: late"


def test_a_compiled_expression_runs_again_with_a_fresh_budget() -> None:
    run = compile_node(parse_expression("(1..40000).map(x => x).length"))
    scope = Scope()
    assert [run(scope) for _ in range(3)] == [40_000] * 3
