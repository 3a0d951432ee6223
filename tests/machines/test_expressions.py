"""The expression language's syntax: what is read as what, and how mistakes are told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mashin_surfaces.machines.expression_nodes import (
    Arrow,
    Binary,
    Body,
    Call,
    Chain,
    Conditional,
    Entry,
    Let,
    ListPattern,
    Literal,
    MapLiteral,
    Member,
    Name,
    NamePattern,
    Pipe,
    Range,
    Spread,
    Template,
    Unary,
)
from mashin_surfaces.machines.expressions import (
    ExpressionError,
    Node,
    literal,
    parse_body,
    parse_expression,
    parse_template,
    references,
)

A, B, C, ONE, TWO = Name("a"), Name("b"), Name("c"), Literal(1), Literal(2)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1", ONE),
        ("1.5e1", Literal(15.0)),
        ("nil", Literal(None)),
        ("'it'", Literal("it")),
        (r'"\u00e9\ud83d\ude00\n\$"', Literal("é😀\n$")),
        ('"a${b}c"', Template(("a", B, "c"))),
        ('"${"${a}"}"', Template((Template((A,)),))),
        ("a.b", Member(A, "b")),
        ("a?.in", Member(A, "in", optional=True)),
        ("-a ** b", Binary("**", Unary("-", A), B)),
        ("a ** b ** c", Binary("**", A, Binary("**", B, C))),
        ("not a in b", Binary("in", Unary("!", A), B)),
        ("a is at most b", Binary("<=", A, B)),
        ("a is less than b", Binary("<", A, B)),
        ("a is not b", Binary("!=", A, B)),
        ("a is b", Binary("==", A, B)),
        ("a + b + c", Chain("+", (A, B, C))),
        ("a + b - c", Binary("-", Chain("+", (A, B)), C)),
        ("a and b or c", Chain("||", (Chain("&&", (A, B)), C))),
        ("a ? b : c", Conditional(A, B, C)),
        ("1..2 by a", Range(ONE, TWO, A)),
        ("a |> b(1) |> c", Pipe(Pipe(A, Call(B, (ONE,))), C)),
        ("a => b", Arrow((NamePattern("a"),), B)),
        ("() => 1", Arrow((), ONE)),
        (
            "([a, b]) => c",
            Arrow((ListPattern((NamePattern("a"), NamePattern("b"))),), C),
        ),
        (
            '{a, "b": 1, [c]: 2, ...a, in: 1,}',
            MapLiteral(
                (
                    Entry("a", A),
                    Entry("b", ONE),
                    Entry(C, TWO),
                    Spread(A),
                    Entry("in", ONE),
                )
            ),
        ),
        ("a // the rest is a comment", A),
        ("a\n  .b", Member(A, "b")),
        ("1.toFixed(2)", Call(Member(ONE, "toFixed"), (TWO,))),
    ],
)
def test_an_expression_is_read_as_its_tree(text: str, tree: Node) -> None:
    assert parse_expression(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", A),
        ("let a = 1\na", Body((Let(NamePattern("a"), ONE),), A)),
        ("\n let a = 1 // one\n\n\n let b = [\n a,\n]\n b\n", None),
        ("let a = 1; a", Body((Let(NamePattern("a"), ONE),), A)),
        ("a\n  ? b\n  : c", Conditional(A, B, C)),
        ("a\n  |> b", Pipe(A, B)),
        ("let a =\n  1\n-b", Body((Let(NamePattern("a"), ONE),), Unary("-", B))),
    ],
)
def test_a_body_is_let_lines_and_a_value(text: str, tree: Node | None) -> None:
    found = parse_body(text)
    assert isinstance(found, Body) if tree is None else found == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", Literal("")),
        ('say "$5"\n', Literal('say "$5"\n')),
        (r"\${a}", Literal("${a}")),
        (r"C:\temp", Literal(r"C:\temp")),
        ('${ {a: "}"} }!', Template((MapLiteral((Entry("a", Literal("}")),)), "!"))),
    ],
)
def test_a_template_is_text_with_expressions(text: str, tree: Node) -> None:
    assert parse_template(text) == tree


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "Found the end, expected a value."),
        ("1 +", 1, 4, "Found the end, expected a value."),
        ("a\n  b", 2, 3, 'Found the name "b", expected an operator or the end.'),
        ("(1", 1, 1, 'The "(" that begins here is never closed.'),
        ("[1)", 1, 3, 'expected the end of the "["'),
        ("a)", 1, 2, "nothing opened"),
        ("{a 1}", 1, 4, 'expected ",", ":" or "}"'),
        ('"abc', 1, 1, "not closed"),
        ('"a${', 1, 3, "never closed"),
        (r'"\q"', 1, 2, r'Found the escape "\q"'),
        (r'"\ud800"', 1, 2, "surrogate"),
        ("a @ b", 1, 3, "no meaning"),
        ("1a", 1, 1, "space between"),
        ("9223372036854775808", 1, 1, "too large"),
        ("1e999", 1, 1, "too large"),
        ("(a, 1) => 2", 1, 5, "a name"),
        ("let a = 1", 1, 1, 'Found "let"'),
        ("1..2..3", 1, 5, 'Found ".."'),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in caught.value.message


def test_two_values_in_a_body_are_told() -> None:
    with pytest.raises(ExpressionError, match="only the last line is a value"):
        parse_body("1\n2")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100 + "1" + ")" * 100,
        '"${' * 100,
        "-" * 5000 + "1",
        "a" + ".b" * 5000,
        "1" + " * 1" * 5000,
        "1" + " ** 1" * 5000,
        "x => " * 5000 + "1",
        "1 ? " * 3000 + "1" + " : 1" * 3000,
        "a" * 70_000,
    ],
)
def test_what_is_nested_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_expression(text)


def test_a_long_sum_is_not_deep() -> None:
    assert isinstance(parse_expression(" + ".join(["a"] * 3000)), Chain)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("input.a + steps.b.c", {("input", "a"), ("steps", "b", "c")}),
        ('input["a"].b[0].c', {("input", "a", "b")}),
        ("input.xs.filter(x => x > input.min)", {("input", "xs"), ("input", "min")}),
        ("input.xs |> map(([k, v]) => k)", {("input", "xs")}),
        ("Math.max(now(), a)", {("a",)}),
        ('"${input.a}"', {("input", "a")}),
        ("{input, ...a}", {("input",), ("a",)}),
    ],
)
def test_references_are_what_comes_from_outside(text: str, paths: set[tuple[str, ...]]) -> None:
    assert references(parse_expression(text)) == paths


def test_let_names_are_no_references() -> None:
    body = parse_body("let f = n => f(n - 1)\nlet {x, y: [z]} = input.p\nlet q = q\nf(x) + z + q")
    assert references(body) == {("input", "p"), ("q",)}


def test_a_literal_is_a_json_value() -> None:
    value = literal(parse_expression('{a: [1, -2.5, "x", null, true]}'))
    assert value == {"a": [1, -2.5, "x", None, True]}


@pytest.mark.parametrize("text", ["a", "1 + 1", "[...[]]", '"${1}"', "-true", "{[1]: 1}"])
def test_what_is_computed_is_no_literal(text: str) -> None:
    with pytest.raises(ExpressionError):
        literal(parse_expression(text))


# -- precedence, against a reference that splits at the loosest operator --------------------------

_LEVELS = [
    ["??"],
    ["||", "or"],
    ["&&", "and"],
    ["|"],
    ["^"],
    ["&"],
    ["==", "!=", "is", "is not"],
    ["in"],
    ["<", ">", "<=", ">=", "is less than", "is greater than", "is at most", "is at least"],
    ["<<", ">>"],
    ["+", "-"],
    ["*", "/", "%"],
    ["**"],
]
_SAME = {"or": "||", "and": "&&"}


def _with_brackets(operands: list[str], operators: list[str]) -> str:
    """The expression with a bracket around every operation; a run of one chained operator is
    one operation."""
    if not operators:
        return operands[0]
    level = next(level for level in _LEVELS if any(sign in level for sign in operators))
    if level == ["**"]:
        return f"({operands[0]} ** {_with_brackets(operands[1:], operators[1:])})"
    parts, signs, begin = [], [], 0
    for place, sign in enumerate(operators):
        if sign in level:
            parts.append(_with_brackets(operands[begin : place + 1], operators[begin:place]))
            signs.append(_SAME.get(sign, sign))
            begin = place + 1
    parts.append(_with_brackets(operands[begin:], operators[begin:]))
    made, running = parts[0], ""
    for sign, part in zip(signs, parts[1:], strict=True):
        if sign == running and sign in {"+", "&&", "||", "??"}:
            made = f"{made} {sign} {part}"
        else:
            made = f"({made}) {sign} {part}" if running else f"{made} {sign} {part}"
        running = sign
    return f"({made})"


@given(st.data())
def test_operators_bind_as_the_table_says(data: st.DataObject) -> None:
    operators = data.draw(
        st.lists(st.sampled_from([sign for level in _LEVELS for sign in level]), max_size=8)
    )
    operands = [f"x{place}" for place in range(len(operators) + 1)]
    flat = operands[0] + "".join(
        f" {sign} {operand}" for sign, operand in zip(operators, operands[1:], strict=True)
    )
    assert parse_expression(flat) == parse_expression(_with_brackets(operands, operators))


# -- anything ------------------------------------------------------------------------------------

_WORDS = [
    "a", "b", "1", "2.5", "..", "...", "=>", "?.", "??", "|>", "**", "${", "let ", "is ", "in ",
    "not ", "and ", "or ", "by ", "is not ", "is less than ", "typeof ", "true", "null", "//",
]  # fmt: skip
_PIECES = st.sampled_from([*"()[]{}.,:;?=<>!&|^~+-*/%\"'$\\ \n", *_WORDS])


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map("".join)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    for parse in (parse_expression, parse_body, parse_template):
        try:
            references(parse(text))
        except ExpressionError as error:
            refused = error
        else:
            continue
        assert 1 <= refused.line <= text.count("\n") + 1
        assert 1 <= refused.column <= len(text) + 1
