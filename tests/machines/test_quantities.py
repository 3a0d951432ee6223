"""Durations, rates and sizes, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.machines.quantities import (
    Rate,
    format_duration,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("200ms", 0.2),
        ("2s", 2),
        ("30m", 1800),
        ("24h", 86400),
        ("7d", 604800),
        ("1.5 s", 1.5),
        ("45", 45),
        (2, 2),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_a_number_of_seconds(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "5 weeks", "s", "-1s", "1e3s", "0", 0, -1, True, None, "400d"]
)
def test_what_is_no_duration_is_refused_with_a_sentence(written: object) -> None:
    with pytest.raises(ValueError, match="duration") as refused:
        parse_duration(written)  # type: ignore[arg-type]  # what a definition's JSON may hold
    assert str(refused.value).endswith(".")


@given(st.floats(0, 366 * 86400, exclude_min=True))
def test_a_duration_is_read_back_from_its_writing(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.2, "200ms"), (90, "90s"), (120, "2m"), (86400, "1d"), (2.5, "2500ms")],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("20/s burst 40", Rate(20, 40)),
        ("20/s", Rate(20, 20)),
        ("60/m", Rate(1, 1)),
        ("1800/h burst 5", Rate(0.5, 5)),
        ("0.5/s", Rate(0.5, 1)),
    ],
)
def test_a_rate_has_a_burst_of_a_second_when_it_says_none(written: str, rate: Rate) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize(
    "written",
    ["", "20", "20/d", "0/s", "20/s burst", "20/s burst 0", "99999999/s", "1/s burst 9999999999"],
)
def test_what_is_no_rate_is_refused_with_a_sentence(written: str) -> None:
    with pytest.raises(ValueError, match="rate") as refused:
        parse_rate(written)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("written", "size"),
    [(4096, 4096), ("4096", 4096), ("64KiB", 65536), ("1MiB", 1048576), ("2kB", 2000)],
)
def test_a_size_is_a_number_of_bytes(written: str | int, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "many", "1.5B", "3 GB", 1.5, True])
def test_what_is_no_size_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_size(written)
