"""The examples of docs/mashintalk.md are machines, and its list of what is missing is the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mashin_surfaces.governance.trial import run_tests
from mashin_surfaces.machines.definition import Field, Limits, WebsocketSurface
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.machines.renderer import render
from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.step_heads import SETTINGS
from mashin_surfaces.machines.support import NOT_YET

PAGE = (Path(__file__).parents[2] / "docs" / "mashintalk.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```mashin\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 8


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda source: source.split()[1])
def test_an_example_is_a_machine_without_a_warning(source: str) -> None:
    effects = {"shop.price", "mail.send", "clock.ticks"}
    parsed = examine(source, effects=effects, generators={"clock.ticks"})
    assert parsed.warnings == []
    assert parse(render(parsed.definition)).definition == parsed.definition


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda source: source.split()[1])
async def test_the_tests_in_an_example_pass(source: str) -> None:
    results = await run_tests(CompiledMachine.of(parse(source).definition))
    assert [result.message for result in results if not result.passed] == []


@pytest.mark.parametrize("setting", sorted({*SETTINGS, *Limits.model_fields} - {"max_tokens"}))
def test_every_setting_of_a_step_and_every_limit_is_described(setting: str) -> None:
    assert f"| `{setting}" in PAGE


@pytest.mark.parametrize("feature", sorted(NOT_YET))
def test_what_is_not_supported_yet_is_listed(feature: str) -> None:
    listed = PAGE.partition("## Not supported yet")[2]
    for word in re.findall(r"[a-z_0-9]{3,}", feature.removeprefix("dialect: ")):
        assert word in listed


@pytest.mark.parametrize("modifier", sorted(set(Field.model_fields) - {"name", "type", "required"}))
def test_every_modifier_is_described(modifier: str) -> None:
    assert f"`{modifier}" in PAGE


@pytest.mark.parametrize("key", sorted(set(WebsocketSurface.model_fields) - {"kind", "dialect"}))
def test_every_key_of_a_websocket_is_named(key: str) -> None:
    assert f"`{key}`" in PAGE
