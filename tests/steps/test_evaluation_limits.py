"""Expressions come from people: none of them gets out, none of them takes over the process."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mashin_surfaces.machines.expressions import ExpressionError, parse_body
from mashin_surfaces.steps.evaluation import EvaluationError, Scope, compile_node
from mashin_surfaces.steps.evaluation.methods import METHODS
from mashin_surfaces.steps.evaluation.namespaces import NAMESPACES

INPUT: dict[str, Any] = {"name": "Ada", "xs": [3, 1, 2], "big": ["x" * 1000] * 100}


def value_of(text: str) -> Any:
    return compile_node(parse_body(text))(Scope(dict(INPUT)))


@pytest.mark.parametrize("name", ["__class__", "__proto__", "constructor", "__dict__", "apply"])
@pytest.mark.parametrize(
    "target", ['""', "[]", "1", "1.5", "true", "Math", "Math.floor", "(x => x)", "now", "null"]
)
@pytest.mark.parametrize("form", ["{}.{}", "{}.{}()", '{}["{}"]'])
def test_no_python_attribute_is_within_reach(target: str, name: str, form: str) -> None:
    with pytest.raises(EvaluationError):
        value_of(form.format(target, name))


@pytest.mark.parametrize("name", ["__class__", "__proto__", "constructor", "items", "pop"])
def test_a_map_has_only_its_keys(name: str) -> None:
    assert value_of(f"input.{name}") is None
    with pytest.raises(EvaluationError):
        value_of(f"input.{name}()")


@pytest.mark.parametrize(
    "text",
    [
        '"x".repeat(1000000000)',
        '"x".padStart(1e12)',
        '"x".padEnd(1e12, "ab")',
        "0..1000000000000",
        "1000000000000..0 by -1",
        "2 ** 10 ** 10",
        "9999999 ** 9999999",
        'let a = "x".repeat(100000)\na.replaceAll("x", a)',
        'let a = "x".repeat(100000)\na.replaceAll("", a)',
        '"x".repeat(300000).split("")',
        '(1..1000).map(x => "x".repeat(1000)).join("x".repeat(1000))',
        "(1..300).map(a => (1..300).map(b => (1..300).map(c => a)))",
        "let x = 1..9000\nx.sort((a, b) => x.sort((c, d) => d - c)[0])",
        "let x = 1..5000\nx.filter(a => x.includes(-a))",
        "(1..90000).map(i => [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])",
        "(1..1000).reduce((a, x) => {...a, ['k' + x]: x}, {})",
        "(1..1000).reduce((a, x) => a.concat(a), [1])",
        "(1..100).reduce((a, x) => [a], [])",
        "let a = (1..100).reduce((a, x) => [a], [])\na == a.concat()",
        "JSON.stringify((1..100).reduce((a, x) => [a], []))",
        "[(1..100).reduce((a, x) => [a], [])].unique()",
        '(1..40000).map(i => input.big.join(""))',
        'let b = "x".repeat(500000)\n(1..40000).filter(i => b.includes("yy"))',
        'JSON.parse("[" + "1,".repeat(200000) + "1]")',
        'JSON.parse("[".repeat(500) + "]".repeat(500))',
        "let f = n => f(n)\nf(1)",
        "let f = n => [n].map(f)\nf(1)",
        "let f = (g, n) => g(g, n)\nf(f, 1)",
        "let a0 = [1]\n" + "\n".join(f"let a{n + 1} = [a{n}, a{n}]" for n in range(40)) + "\na40",
        'let a0 = "xxxxxxxxxxxxxxxx"\n'
        + "\n".join(f"let a{n + 1} = a{n} + a{n}" for n in range(40))
        + "\na40",
        "[" + ", ".join(["input.big"] * 500) + "]",
        'DateTime.format(now(), "%A".repeat(400000))',
    ],
)  # fmt: skip
def test_a_bomb_is_stopped_before_it_takes_memory(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(EvaluationError):
            value_of(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "(1..45000).map(x => x + 1).length",
        "(1..20000).filter(x => x % 2 == 0).map(x => x * x).sum()",
        '(1..5000).map(x => "key ${x}").join(", ").length',
        "(1..2000).sort((a, b) => b - a).first()",
        "let f = n => n <= 1 ? 1 : n * f(n - 1)\nf(20)",
        "(1..20).map(a => (1..20).map(b => a * b)).flat().unique().length",
    ],
)
def test_ordinary_work_fits_in_the_budget(text: str) -> None:
    assert value_of(text) > 0


_NAMES = sorted({name for table in [*METHODS.values(), *NAMESPACES.values()] for name in table})
_ATOMS = st.sampled_from(
    ["1", "0", "-1.5", "1e300", '"a"', '""', "null", "true", "[]", "{}", "[1, 2]", '{a: "b"}',
     "input.xs", "input.name", "(x => x)", "((a, b) => a)", "9223372036854775807", "now()"]
)  # fmt: skip
_SIGNS = st.sampled_from(
    ["+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^", "<", ">=", "==", "!=", "in", "&&",
     "||", "??", "..", "|>"]
)  # fmt: skip


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    given_values = st.lists(inner, max_size=3).map(", ".join)
    return st.one_of(
        st.tuples(inner, _SIGNS, inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from(_NAMES), given_values).map(
            lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"
        ),
        st.tuples(
            st.sampled_from(
                [f"{space}.{name}" for space, table in NAMESPACES.items() for name in table]
            ),
            given_values,
        ).map(lambda parts: f"{parts[0]}({parts[1]})"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        inner.map(lambda part: f"(x => {part})"),
        inner.map(lambda part: f"[...{part}]"),
        inner.map(lambda part: '"${' + part + '}"'),
        st.tuples(st.sampled_from(["-", "~", "!", "typeof "]), inner).map("".join),
    )


@settings(deadline=None, max_examples=400)
@given(st.recursive(_ATOMS, _grown, max_leaves=12))
def test_any_expression_gives_json_or_says_why_not(text: str) -> None:
    try:
        value = value_of(text)
    except (EvaluationError, ExpressionError):
        return
    assert orjson.loads(orjson.dumps(value)) == value
