"""The ledger: chained, append-only, and every change to it is found."""

from __future__ import annotations

import asyncio
import io
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from django.core.management import call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.ledger.access import storable
from mashin_surfaces.ledger.chain import GENESIS, HASHED, new_id, row_hash
from mashin_surfaces.ledger.content import describe
from mashin_surfaces.ledger.models import AppendOnlyError, SurfaceAccess
from mashin_surfaces.ledger.record import record, record_now
from mashin_surfaces.ledger.sink import sink
from mashin_surfaces.ledger.verify import BadRow, lanes, verify
from tests import plans
from tests.ledger.rows import access

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = SurfaceAccess._meta.db_table


def sql(statement: str, *values: Any) -> None:
    """What someone with access to the database could do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def lane_of_now() -> str:
    lane: str = SurfaceAccess.objects.order_by("-seq").values_list("lane", flat=True)[0]
    return lane


@pytest.fixture(autouse=True)
def new_lane() -> None:
    """Other tests' rows are gone: the lane that they were in must end."""
    sink.settle(committed=False)


@pytest.fixture
def chain() -> str:
    """A lane with ten rows."""
    for number in range(10):
        record_now(access(duration_us=number, cost=Decimal("0.5") if number else None))
    return lane_of_now()


def test_a_chain_that_nobody_touched_holds(chain: str) -> None:
    assert verify(chain) is None
    first = SurfaceAccess.objects.get(lane=chain, seq=1)
    assert first.prev_hash == GENESIS
    assert SurfaceAccess.objects.get(lane=chain, seq=2).prev_hash == first.hash


@pytest.mark.parametrize(("first", "after"), [(1, 2), (1, 9), (3, 4), (4, 7), (2, 10), (6, 8)])
def test_missing_rows_are_found_wherever_a_part_ends(
    chain: str, monkeypatch: pytest.MonkeyPatch, first: int, after: int
) -> None:
    monkeypatch.setattr("mashin_surfaces.ledger.verify.CHUNK", 3)
    sql(f"delete from {TABLE} where lane = %s and seq >= %s and seq < %s", chain, first, after)
    bad = verify(chain)
    assert bad is not None
    assert bad.seq == after
    assert f"expected row {first}" in bad.problem


@plans.on_postgresql
def test_a_part_of_a_chain_costs_no_more_than_that_part_whatever_the_plan(
    chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL may know nothing of a lane that has just grown, and sort all of it each time."""
    monkeypatch.setattr("mashin_surfaces.ledger.verify.CHUNK", 3)
    with plans.without_ordered_indexes() as most_rows:
        seen: list[int] = []
        assert verify(chain, seen.append) is None
        assert most_rows() == 3
    assert seen == [3, 3, 3, 1]


CHANGES: dict[str, Any] = {
    "at": datetime(2020, 1, 1, tzinfo=UTC),
    "event": "connect",
    "surface_kind": "api",
    "surface": "api:/x",
    "path": "/elsewhere",
    "machine": "y",
    "revision": 2,
    "principal": "mallory",
    "credential": "none",
    "client": "10.0.0.1",
    "request_id": "other",
    "outcome": "refused",
    "code": "forbidden",
    "duration_us": 99,
    "cost": "0.25",
    "input": "other",
    "output": "other",
    "steps": "other",
    "prev_hash": "f" * 64,
    "hash": "f" * 64,
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_to_any_column_is_found(chain: str, column: str) -> None:
    sql(f"update {TABLE} set {column} = %s where lane = %s and seq = 5", CHANGES[column], chain)
    bad = verify(chain)
    assert bad is not None
    assert bad.seq == 5


@pytest.mark.parametrize("seq", [1, 5])
def test_a_row_that_was_removed_is_missed(chain: str, seq: int) -> None:
    sql(f"delete from {TABLE} where lane = %s and seq = %s", chain, seq)
    bad = verify(chain)
    assert bad is not None
    assert (bad.seq, "missing" in bad.problem) == (seq + 1, True)


def test_the_command_names_the_first_bad_row_and_exits_with_1(chain: str) -> None:
    call_command("verify_ledger", stdout=io.StringIO())
    sql(f"update {TABLE} set principal = 'x' where lane = %s and seq >= 3", chain)
    output = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_ledger", stdout=output)
    assert ended.value.code == 1
    assert f"lane {chain} row 3 " in output.getvalue()


def test_every_lane_is_found(chain: str) -> None:
    sink.settle(committed=False)
    record_now(access())
    assert set(lanes()) == set(SurfaceAccess.objects.values_list("lane", flat=True))
    assert len(lanes()) == 2


def test_rows_can_not_be_changed_or_deleted_through_the_model(chain: str) -> None:
    row = SurfaceAccess.objects.get(lane=chain, seq=1)
    for attempt in (
        row.save,
        row.delete,
        SurfaceAccess.objects.all().delete,
        lambda: SurfaceAccess.objects.update(code="x"),
        lambda: SurfaceAccess.objects.bulk_update([row], ["code"]),
        lambda: SurfaceAccess.objects.bulk_create([row]),
        lambda: SurfaceAccess.objects.create(id=new_id()),
    ):
        with pytest.raises(AppendOnlyError):
            attempt()


async def test_concurrent_records_are_one_chain() -> None:
    await asyncio.gather(*(record(access(duration_us=n)) for n in range(300)))

    def look() -> BadRow | None:
        try:
            return verify(lane_of_now())
        finally:
            connection.close()

    assert await asyncio.to_thread(look) is None


TEXT = st.text(max_size=600)


@given(path=TEXT, principal=TEXT)
def test_any_text_can_be_stored_and_fits(path: str, principal: str) -> None:
    stored = storable(access(path=path, principal=principal))
    assert "\x00" not in "".join(str(value) for value in stored)
    assert len(stored[5]) <= 500
    assert len(stored[8]) <= 200
    row_hash([*stored, "lane", 1, GENESIS])


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\ud800", "é" * 600, "\u202e", "\n", "日本" * 300]
)
def test_odd_text_survives_the_database(text: str, settings: Any) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"CONTENT": "full"}}
    record_now(access(path=text, principal=text, input=describe(text)))
    lane = lane_of_now()
    assert verify(lane) is None


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.none() | st.decimals(0, 10**6, places=8),
    st.integers(1, 2**31 - 1),
)
def test_the_hash_does_not_depend_on_how_a_database_gives_values_back(
    at: datetime, cost: Decimal | None, revision: int
) -> None:
    row = storable(access(at=at, cost=cost, revision=revision))
    values = [*row, "lane", 1, GENESIS]
    again = list(values)
    again[HASHED.index("at")] = at.astimezone(UTC) + timedelta(0)
    if cost is not None:
        again[HASHED.index("cost")] = Decimal(str(cost)).normalize()
    assert row_hash(values) == row_hash(again)


def test_ids_are_version_7_and_rise_with_time() -> None:
    ids = [UUID(new_id()) for _ in range(1000)]
    assert {(id.version, id.variant) for id in ids} == {(7, RFC_4122)}
    assert len(set(ids)) == 1000
    assert [id.int >> 80 for id in ids] == sorted(id.int >> 80 for id in ids)


def test_ids_differ_where_a_project_seeds_random() -> None:
    random.seed(1)
    one = new_id()
    random.seed(1)
    another = new_id()
    random.seed()
    assert another[12:] != one[12:]


def test_a_digest_does_not_show_what_it_is_of_and_is_the_same_for_the_same(settings: Any) -> None:
    one = describe({"pin": 1234, "a": [1]})
    assert one == describe({"a": [1], "pin": 1234})
    assert one.startswith("blake2b:")
    settings.SECRET_KEY = "another"
    assert one != describe({"pin": 1234, "a": [1]})


def test_full_content_keeps_all_but_secrets(settings: Any) -> None:
    settings.MASHIN_SURFACES = {"LEDGER": {"CONTENT": "full"}}
    kept = describe({"name": "ada", "card": {"pin": 1234}}, ["/card/pin"])
    assert '"name":"ada"' in kept
    assert "1234" not in kept
    assert describe("{oops") == "{oops"
    settings.MASHIN_SURFACES = {"LEDGER": {"CONTENT": "none"}}
    assert describe({"name": "ada"}) == ""


def test_a_row_that_can_not_be_written_refuses_the_access(settings: Any) -> None:
    sql(f"alter table {TABLE} rename to hidden")
    try:
        with pytest.raises(Refusal) as refused:
            record_now(access())
        assert refused.value.code is Code.LEDGER_UNAVAILABLE
        settings.MASHIN_SURFACES = {"LEDGER": {"ON_FAILURE": "answer"}}
        record_now(access())
    finally:
        sql(f"alter table hidden rename to {TABLE}")
    settings.MASHIN_SURFACES = {}
    record_now(access())
    assert verify(lane_of_now()) is None
