"""The messages of docs/runs.md are messages, and its tables know them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mashin_surfaces.dialects.dag import CONFLICTS, MUTATION_KINDS, SCOPES, VERDICTS, decode

PAGE = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
PROTOCOL = PAGE.partition("## The protocol")[2].partition("\n## ")[0]
FROM_SERVER, _, FROM_CLIENT = PROTOCOL.partition("### From the client")


def said(arrow: str) -> list[str]:
    """The messages of the example that go this way."""
    example = re.findall(r"^```\n(.*?)^```$", PROTOCOL, re.MULTILINE | re.DOTALL)[0]
    messages = re.split(r"^(?=[←→])", example, flags=re.MULTILINE)
    return [each.removeprefix(arrow) for each in messages if each.startswith(arrow)]


def fields_of(table: str, type: str) -> set[str]:
    """What the rows of a type name as its fields."""
    rows = re.findall(rf"^\| `{type}` \| (.*?) \|", table, re.MULTILINE)
    assert rows
    return {name for row in rows for name in re.findall(r"[a-z_]+", row)}


@pytest.mark.parametrize("text", said("→ "))
def test_what_the_client_says_is_a_command(text: str) -> None:
    frame: dict[str, Any] = json.loads(text)
    decode(text)
    assert frame.keys() - {"type"} <= fields_of(FROM_CLIENT, frame["type"])


@pytest.mark.parametrize("text", said("← "))
def test_what_the_server_says_is_in_its_table(text: str) -> None:
    frame: dict[str, Any] = json.loads(text)
    assert frame.keys() - {"type", "offset", "at"} <= fields_of(FROM_SERVER, frame["type"])


def test_offsets_of_the_example_have_no_holes() -> None:
    offsets = [json.loads(text).get("offset") for text in said("← ")]
    assert [offset for offset in offsets if offset] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("word", [*VERDICTS, *SCOPES, *MUTATION_KINDS, *sorted(CONFLICTS)])
def test_every_word_that_a_client_may_say_or_hear_is_explained(word: str) -> None:
    assert f"`{word}`" in FROM_CLIENT
