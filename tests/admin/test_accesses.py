"""The ledger in the admin: found, looked at, left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mashin_surfaces.admin.access_filters import days
from mashin_surfaces.admin.records import CappedPaginator
from mashin_surfaces.ledger.access import Access
from mashin_surfaces.ledger.chain import first_id, new_id
from mashin_surfaces.ledger.record import record_now, record_soon
from mashin_surfaces.ledger.sink import sink
from mashin_surfaces.models import Machine, SurfaceAccess
from tests.ledger.rows import access

from .conftest import LogIn
from .test_machines import text_of

pytestmark = pytest.mark.django_db(transaction=True)  # the ledger's writer has its own connection

LIST = "/admin/mashin_surfaces/surfaceaccess/"


@pytest.fixture(autouse=True)
def new_lane() -> None:
    """Other tests' rows are gone: the lane that they were in must end."""
    sink.settle(committed=False)


def write(rows: Sequence[Access]) -> None:
    """Into the ledger, in this order; returns when the last one is there."""
    *first, last = rows
    for row in first:
        record_soon(row)
    record_now(last)


def at(moment: datetime, **changed: Any) -> Access:
    """A row of that moment, with an id of that moment."""
    return access(at=moment, id=f"{first_id(moment).hex[:12]}{new_id()[12:]}", **changed)


def shown(client: Client, **query: str) -> set[str]:
    """The principals of the rows that the list shows."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return {row.principal for row in answer.context["cl"].result_list}


def page_of(row: Any) -> str:
    return f"{LIST}{row.pk}/change/"


def tampered(**values: Any) -> None:
    """Change rows as somebody with the database could, past the model."""
    from django.db import connection

    with connection.cursor() as cursor:
        for name, value in values.items():
            column = connection.ops.quote_name(name)
            table = SurfaceAccess._meta.db_table
            cursor.execute(f"update {table} set {column} = %s where seq = 1", [value])


def test_rows_are_found_by_every_filter(admin: Client) -> None:
    now = timezone.now()
    write(
        [
            access(principal="ada", machine="one", surface="page:/one", event="view"),
            access(principal="bob", outcome="refused", code="rate_limited"),
            at(now - timedelta(days=3), principal="eve"),
            at(now - timedelta(days=60), principal="old"),
        ]
    )
    everyone = {"ada", "bob", "eve", "old"}
    assert shown(admin) == everyone
    assert shown(admin, machine="one") == {"ada"}
    assert shown(admin, surface="page:/one") == {"ada"}
    assert shown(admin, event__exact="view") == {"ada"}
    assert shown(admin, outcome__exact="refused") == {"bob"}
    assert shown(admin, code="rate_limited") == {"bob"}
    assert shown(admin, principal="eve") == {"eve"}
    assert shown(admin, principal="nobody") == set()
    assert shown(admin, day="today") == {"ada", "bob"}
    assert shown(admin, day="7") == {"ada", "bob", "eve"}
    three_days_ago = timezone.localdate(now - timedelta(days=3))
    assert shown(admin, day=three_days_ago.isoformat()) == {"eve"}
    assert shown(admin, day="no day") == everyone
    assert shown(admin, day="9999-12-31") == set() | everyone  # the day after it has no name
    assert shown(admin, machine="x", day="today", outcome__exact="refused") == {"bob"}


def test_rows_are_found_by_whole_values(admin: Client) -> None:
    write([access(principal="ada", request_id="r-1"), access(principal="bob")])
    assert shown(admin, q="r-1") == {"ada"}
    assert shown(admin, q=" bob ") == {"bob"}
    row = SurfaceAccess.objects.get(principal="bob")
    assert shown(admin, q=str(row.pk)) == {"bob"}
    assert shown(admin, q="bo") == set()


@pytest.mark.usefixtures("echo")
def test_filters_offer_what_is_declared_and_keep_what_else_is_chosen(admin: Client) -> None:
    write([access()])
    page = admin.get(LIST, {"machine": "gone", "outcome__exact": "allowed"}).content.decode()
    assert '<option value="echo">' in page
    assert '<option value="gone" selected>' in page
    assert '<input type="hidden" name="outcome__exact" value="allowed">' in page
    assert "page:/echo" not in page  # not a surface of the chosen machine
    assert "page:/echo" in admin.get(LIST, {"machine": "echo"}).content.decode()


def test_nothing_can_be_added_changed_or_deleted(admin: Client) -> None:
    write([access()])
    row = SurfaceAccess.objects.get()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(page_of(row), {"outcome": "failed"}).status_code == 403
    assert admin.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    admin.post(LIST, chosen)
    assert SurfaceAccess.objects.get().outcome == "allowed"
    assert 'type="submit" value="Save' not in admin.get(page_of(row)).content.decode()


@pytest.mark.parametrize(
    ("permission", "status"),
    [("view_surfaceaccess", 200), ("change_surfaceaccess", 403), ("view_machine", 403)],
)
def test_looking_takes_the_permission_to_look(staff: LogIn, permission: str, status: int) -> None:
    assert staff(permission).get(LIST).status_code == status


def test_the_page_of_a_row_shows_everything_and_that_its_chain_holds(
    admin: Client, echo: Machine
) -> None:
    steps = '[{"step":"ask","effect":"reason","decision":"allowed","assumed":true}]'
    write([access(), access(machine="echo", input='{"a":1}', output="<b>", steps=steps)])
    row = SurfaceAccess.objects.get(seq=2)
    page = admin.get(page_of(row))
    text = text_of(page)
    assert '"a": 1' in text
    assert '"effect": "reason"' in text
    assert "assumed: no model was asked" in text
    assert row.hash in text
    assert row.prev_hash in text
    assert "holds" in text
    assert '<pre class="mashin-code" tabindex="0">&lt;b&gt;</pre>' in page.content.decode()
    assert f"/admin/mashin_surfaces/machine/{echo.pk}/change/" in page.content.decode()


def test_a_row_without_assumptions_does_not_speak_of_them(admin: Client) -> None:
    write([access(steps='[{"step":"ask","effect":"x","decision":"allowed"}]')])
    assert "assumed" not in text_of(admin.get(page_of(SurfaceAccess.objects.get())))


def test_a_tampered_row_is_told_on_its_page_and_on_the_next(admin: Client) -> None:
    write([access(), access()])
    first, second = SurfaceAccess.objects.order_by("seq")
    tampered(principal="mallory")
    assert "the row was changed" in text_of(admin.get(page_of(first)))
    assert "holds" in text_of(admin.get(page_of(second)))
    tampered(hash="0" * 64)
    assert "has another hash" in text_of(admin.get(page_of(second)))
    tampered(lane="elsewhere")
    assert "is missing" in text_of(admin.get(page_of(second)))


def test_a_broken_input_is_shown_as_it_came(admin: Client) -> None:
    write([access(input='{"a": </pre><script>')])
    page = admin.get(page_of(SurfaceAccess.objects.get())).content.decode()
    assert "{&quot;a&quot;: &lt;/pre&gt;&lt;script&gt;" in page


def test_the_list_takes_as_many_queries_for_many_rows_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    write([access(principal=f"p{number}") for number in range(500)])
    # Session, user, machines and surfaces of the filters, the bounded count, the rows.
    with django_assert_max_num_queries(6) as queries:
        assert admin.get(LIST).status_code == 200
    asked = [query["sql"] for query in queries.captured_queries]
    assert not any("DISTINCT" in sql for sql in asked)
    assert all("LIMIT" in sql for sql in asked if "mashin_surfaces_surfaceaccess" in sql)


def test_counting_stops_where_nobody_turns_pages(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "most", 150)
    write([access() for _ in range(160)])
    assert "more than 150" in text_of(admin.get(LIST))
    assert len(admin.get(LIST, {"p": "2"}).context["cl"].result_list) == 50
    assert "more than" not in text_of(admin.get(LIST, {"principal": "nobody"}))


@pytest.mark.parametrize("value", ["", "0", "-7", "2026-02-30", "2026-13-01", "9999-12-31"])
def test_what_names_no_day_is_no_day(value: str) -> None:
    assert days(value) is None


def test_a_day_ends_where_the_next_begins() -> None:
    first, last = days("2026-11-20") or (None, None)
    assert (str(first), str(last)) == ("2026-11-20", "2026-11-21")


def test_the_newest_rows_come_first(admin: Client) -> None:
    now = timezone.now()
    write([at(now - timedelta(hours=hours), principal=f"{hours}") for hours in (2, 0, 3, 1)])
    rows = admin.get(LIST).context["cl"].result_list
    assert [row.principal for row in rows] == ["0", "1", "2", "3"]
    rows = admin.get(LIST, {"o": "0"}).context["cl"].result_list
    assert [row.principal for row in rows] == ["3", "2", "1", "0"]


def test_an_access_that_ran_past_midnight_is_of_the_day_on_which_it_ended(admin: Client) -> None:
    ended = datetime(2026, 5, 7, 0, 5, tzinfo=UTC)
    began = ended - timedelta(hours=1)
    write([at(began, principal="slow")._replace(at=ended)])
    assert shown(admin, day="2026-05-07") == {"slow"}
    assert shown(admin, day="2026-05-06") == set()


def test_a_day_begins_at_midnight_where_the_admin_is(admin: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    write([at(datetime(2026, 5, 6, 16, 0, tzinfo=UTC), principal="early")])  # 01:00 on the 7th
    assert shown(admin, day="2026-05-07") == {"early"}
    assert shown(admin, day="2026-05-06") == set()
