"""The examples of docs/expressions.md are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mashin_surfaces.machines.expressions import parse_body, parse_expression
from mashin_surfaces.steps.evaluation import EvaluationError, Scope, compile_node
from mashin_surfaces.steps.evaluation.methods import METHODS
from mashin_surfaces.steps.evaluation.namespaces import CONSTANTS, NAMESPACES

PAGE = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


INPUT: dict[str, Any] = json.loads(blocks("json")[0])
EXAMPLES = [line for block in blocks("expression") for line in block.splitlines() if line]


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) > 50
    assert len(blocks("body")) == 1


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_has_the_value_that_is_written_beside_it(line: str) -> None:
    source, wanted = re.split(r"\s+// (?=error: |=> )", line, maxsplit=1)
    run = compile_node(parse_expression(source))
    if wanted.startswith("error: "):
        with pytest.raises(EvaluationError, match=re.escape(wanted.removeprefix("error: "))):
            run(Scope(INPUT))
    else:
        value = run(Scope(INPUT))
        assert json.dumps(value) == json.dumps(json.loads(wanted.removeprefix("=> ")))


@pytest.mark.parametrize("block", blocks("body"))
def test_a_body_has_the_value_that_is_written_under_it(block: str) -> None:
    wanted = block.rsplit("// => ", 1)[1]
    assert compile_node(parse_body(block))(Scope(INPUT)) == json.loads(wanted)


def test_every_method_and_function_is_on_the_page() -> None:
    words = set(re.findall(r"[A-Za-z0-9]+", PAGE))
    names = {name for table in [*METHODS.values(), *NAMESPACES.values()] for name in table}
    names |= {name for _, name in CONSTANTS}
    assert names - words == set()
