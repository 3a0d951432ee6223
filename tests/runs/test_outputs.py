"""Outputs as they are told: whole, or, when they are big, by reference."""

from __future__ import annotations

from typing import Any

import pytest

from mashin_surfaces.runs.outputs import MOST_RESULTS, MOST_SHOWN, shown, shown_results

QUOTES = 2


@pytest.mark.parametrize(("size", "is_whole"), [(MOST_SHOWN, True), (MOST_SHOWN + 1, False)])
def test_what_is_up_to_so_big_is_shown(size: int, is_whole: bool) -> None:
    output = "x" * (size - QUOTES)
    told = shown(output, "r1", "big")
    if is_whole:
        assert told == output
    else:
        assert told == {
            "$ref": "/api/dags/r1/nodes/big/output", "size": size, "preview": f'"{"x" * 199}',
        }  # fmt: skip


def test_bytes_are_counted_and_characters_are_shown() -> None:
    told = shown("é" * MOST_SHOWN, "r1", "big")
    assert told["size"] == 2 * MOST_SHOWN + QUOTES
    assert told["preview"] == '"' + "é" * 199


@pytest.mark.parametrize("output", [None, True, 0, 1.5, [], {}, ""])
def test_small_values_are_shown_as_they_are(output: Any) -> None:
    assert shown(output, "r1", "n") == output


def test_all_results_together_are_referred_to_when_they_are_many() -> None:
    each = "x" * (MOST_SHOWN - QUOTES)
    few = {f"n{number}": each for number in range(4)}
    assert shown_results(few, "r1") == few
    many = {f"n{number}": each for number in range(MOST_RESULTS // MOST_SHOWN + 1)}
    assert shown_results(many, "r1")["$ref"] == "/api/dags/r1/results"
    assert shown_results({"big": each + "xxx"}, "r1")["big"]["size"] == MOST_SHOWN + 3
