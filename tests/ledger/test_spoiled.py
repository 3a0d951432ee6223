"""Rows that are hard to keep or that someone spoiled: kept as they were, or named as bad."""

from __future__ import annotations

import asyncio
import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Refusal
from mashin_surfaces.ledger.chain import rounded_cost
from mashin_surfaces.ledger.content import describe
from mashin_surfaces.ledger.models import LedgerCheck, SurfaceAccess
from mashin_surfaces.ledger.record import record, record_now
from mashin_surfaces.ledger.sink import AccessSink, sink
from mashin_surfaces.ledger.verify import lanes, verify
from tests.forks import forked, forks
from tests.ledger.rows import access

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = SurfaceAccess._meta.db_table


@pytest.fixture(autouse=True)
def new_lane() -> None:
    """Other tests' rows are gone: the lane that they were in must end."""
    sink.begin_lane()


def lane_of_now() -> str:
    lane: str = SurfaceAccess.objects.values_list("lane", flat=True)[0]
    return lane


@pytest.mark.parametrize(
    "cost",
    [
        "0",
        "-0",
        "0.000000005",
        "0.000000015",
        "12345678.12345678",
        "99999999.9999999",
        "-3.5",
        "1E-20",
    ],
)
def test_a_cost_comes_back_as_it_was_hashed(cost: str) -> None:
    record_now(access(cost=Decimal(cost)))
    assert verify(lane_of_now()) is None


@given(st.decimals(-(10**7), 10**7, allow_nan=False))
def test_a_cost_is_the_same_after_the_way_through_a_float(cost: Decimal) -> None:
    kept = rounded_cost(cost)
    assert rounded_cost(kept) == kept
    assert f"{rounded_cost(float(kept)):f}" == f"{kept:f}"
    assert not f"{kept:f}".startswith("-0.00000000")


TEXT = st.text(max_size=80)


@hypothesis_settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=20))
def test_any_rows_hold_when_they_are_read_again(rows: list[tuple[str, str, str]]) -> None:
    lane_sink = AccessSink()
    lane_sink.write(
        connection,
        [
            access(path=path, principal=principal, output=describe({"text": text}))
            for path, principal, text in rows
        ],
    )
    assert verify(lane_sink._lane.name) is None


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite takes such values")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "garbage"),
        ("at", "garbage"),
        ("at", "2026-13-45 00:00:00.000000"),
        ("cost", "abc"),
        ("revision", "many"),
        ("seq", "first"),
        ("seq", 5),
        ("lane", "another"),
        ("hash", ""),
    ],
)
def test_values_that_no_row_can_have_are_bad_rows_too(column: str, value: Any) -> None:
    record_now(access())
    record_now(access())
    with connection.cursor() as cursor:
        cursor.execute(f"update {TABLE} set {column} = %s where seq = 2", [value])
    output = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_ledger", stdout=output)
    assert ended.value.code == 1
    assert "BAD lane" in output.getvalue()


def test_a_row_that_no_database_takes_is_refused_alone() -> None:
    async def all_at_once() -> list[Any]:
        costs = [Decimal("Infinity") if number == 3 else None for number in range(8)]
        return await asyncio.gather(
            *(record(access(cost=cost)) for cost in costs), return_exceptions=True
        )

    results = asyncio.run(all_at_once())
    assert [type(result) for result in results if result is not None] == [Refusal]
    assert isinstance(results[3], Refusal)
    assert [verify(lane) for lane in lanes()] == [None] * len(lanes())


def test_a_lane_that_does_not_exist_can_not_be_verified() -> None:
    with pytest.raises(CommandError, match="no lane nowhere") as failed:
        call_command("verify_ledger", lane="nowhere")
    assert failed.value.returncode == 2


def test_a_ledger_that_can_not_be_read_is_not_called_good() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {TABLE} rename to hidden")
    try:
        with pytest.raises(CommandError, match="can't be read") as failed:
            call_command("verify_ledger")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"alter table hidden rename to {TABLE}")
    assert failed.value.returncode == 2


@forks
def test_a_forked_process_has_a_lane_of_its_own() -> None:
    record_now(access())
    assert forked(lambda: record_now(access())) == 0
    record_now(access())
    assert [verify(lane) for lane in lanes()] == [None, None]


@pytest.mark.parametrize("rows", [1, 2, 3, 511, 512, 513])
def test_batches_of_every_size_are_written_whole(rows: int) -> None:
    lane_sink = AccessSink()
    lane_sink.write(connection, [access() for _ in range(rows)])
    assert SurfaceAccess.objects.filter(lane=lane_sink._lane.name).count() == rows
    assert verify(lane_sink._lane.name) is None


@pytest.mark.parametrize(
    "value", [{"n": 2**70}, {"text": "\ud800"}, {"cost": Decimal("1.5")}, {1: 2**70, "a": 0}]
)
@pytest.mark.parametrize("content", ["digest", "full"])
def test_whatever_an_effect_answers_can_be_described(
    value: Any, content: str, settings: Any
) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"CONTENT": content}}
    record_now(access(output=describe(value)))
    assert verify(lane_of_now()) is None


def test_who_may_only_read_the_ledger_gets_the_result_all_the_same() -> None:
    record_now(access())
    table = LedgerCheck._meta.db_table
    output, problems = io.StringIO(), io.StringIO()
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {table} rename to hidden")
    try:
        call_command("verify_ledger", stdout=output, stderr=problems)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"alter table hidden rename to {table}")
    assert "1 rows in 1 lanes hold." in output.getvalue()
    assert "The dashboard won't know of this check" in problems.getvalue()
