"""The dashboard on the admin's index: its figures, and who sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone

from mashin_surfaces.dialects.incubator import Control
from mashin_surfaces.ledger import recent
from mashin_surfaces.ledger.chain import first_id
from mashin_surfaces.models import Gate, LedgerCheck, Room, Run, ServerProcess, SurfaceAccess
from mashin_surfaces.server import health
from tests.ledger.rows import access

from .conftest import LogIn
from .test_accesses import at, new_lane, tampered, write
from .test_incubators import make as make_incubator
from .test_incubators import write as write_on
from .test_machines import text_of
from .test_panels import make_panel, suspend

pytestmark = pytest.mark.django_db(transaction=True)  # the ledger's writer has its own connection

__all__ = ["new_lane"]  # a fixture for all tests

INDEX = "/admin/"


def make_run(status: str = "running", *, started: datetime | None = None) -> Run:
    id = uuid4().hex
    room = Room.objects.create(kind="run", key=id, epoch=uuid4().hex)
    return Run.objects.create(
        id=id, room=room, machine="m", revision=1, status=status, input={}, seed=1,
        max_parallel=1, started_at=started or timezone.now(),
    )  # fmt: skip


def open_gate(run: Run, kind: str = "step", status: str = "open") -> Gate:
    now = timezone.now()
    return Gate.objects.create(
        id=uuid4().hex, run=run, node="n", kind=kind, status=status, shown={}, opened_at=now
    )


def figures(client: Client) -> dict[str, tuple[str, str, str]]:
    """Value, note and look of each figure by its label."""
    found = client.get(INDEX).context["dashboard"].figures
    return {each.label: (each.value, each.note, each.look) for each in found}


def test_the_chart_counts_the_accesses_of_each_minute_of_the_last_hour() -> None:
    end = timezone.now().replace(second=0, microsecond=0)
    minutes = (0.5, 0.5, 1.5, 59.5, 60.5, 3000)
    write([at(end - timedelta(minutes=ago)) for ago in minutes])
    counted = recent.accesses_by_minute(end, 60)
    assert len(counted) == 60
    assert (counted[59], counted[58], counted[0]) == (2, 1, 1)
    assert sum(counted) == 4


def test_a_minute_is_counted_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_A_MINUTE", 3)
    end = timezone.now()
    write([at(end - timedelta(seconds=30)) for _ in range(5)])
    assert recent.accesses_by_minute(end, 2) == [0, 3]


def test_the_chart_is_drawn_on_the_server_and_can_be_read_as_a_table(admin: Client) -> None:
    write([at(timezone.now() - timedelta(seconds=30)) for _ in range(7)])
    page = admin.get(INDEX)
    html = page.content.decode()
    assert "at most 7, now 7." in html
    assert html.count("<rect") == 60
    assert 'y="0.0" width="8.0" height="96.0"' in html
    assert "<td>7</td>" in html
    assert "style=" not in html.partition('class="mashin-dashboard"')[2].partition("</section>")[0]


def test_what_was_not_allowed_is_counted_by_code(admin: Client) -> None:
    now = timezone.now()
    write(
        [
            at(now - timedelta(minutes=5), outcome="refused", code="rate_limited"),
            at(now - timedelta(minutes=4), outcome="refused", code="rate_limited"),
            at(now - timedelta(minutes=3), outcome="failed", code="execution_failed"),
            at(now - timedelta(minutes=2)),
            at(now - timedelta(minutes=61), outcome="refused", code="forbidden"),
        ]
    )
    since = now - timedelta(hours=1)
    assert recent.refusals_by_code(since) == [("rate_limited", 2), ("execution_failed", 1)]
    assert figures(admin)["Not allowed, last hour"] == ("3", "refused or failed", "warn")
    text = text_of(admin.get(INDEX))
    assert "rate_limited" in text
    assert "forbidden" not in text


def test_what_waits_and_what_failed_is_counted(admin: Client) -> None:
    first, second = make_run(), make_run()
    open_gate(first)
    open_gate(first)
    open_gate(second, status="decided")
    open_gate(make_run(), kind="wait")
    make_run("failed")
    make_run("failed", started=timezone.now() - timedelta(days=2))
    found = figures(admin)
    assert found["Runs waiting for a person"][0] == "1"
    assert found["Failed runs, last day"][0] == "1"
    assert found["Suspended panels"][0] == "0"


def test_stopped_incubators_and_suspended_panels_are_counted(admin: Client) -> None:
    panel = make_panel("waits")
    suspend(panel)
    suspend(panel)
    suspend(make_panel("done"), status="answered")
    stops = {
        "one": Control("halt", ""),
        "two": Control("pause", ""),
        "three": Control("resume", ""),
    }
    for namespace, control in stops.items():
        write_on(make_incubator(namespace), "", lambda w, c=control: w.control(c, by="root"))
    found = figures(admin)
    assert found["Suspended panels"] == ("1", "a tool of theirs waits for an answer", "warn")
    assert found["Incubators halted"] == ("1", "1 paused", "bad")


def test_the_connections_of_all_living_processes_are_added_up(admin: Client) -> None:
    now = timezone.now()
    # A minute ahead: this process may stand still before it looks.
    for id, beat, connections in (("a", 60, 3), ("b", 59, 40), ("dead", -60, 500)):
        ServerProcess.objects.create(
            id=id, host=f"host-{id}", pid=7, started_at=now, beat_at=now + timedelta(seconds=beat),
            connections=connections,
        )  # fmt: skip
    assert figures(admin)["Connections now"][0] == "43"
    text = text_of(admin.get(INDEX))
    assert "host-b:7" in text
    assert "host-dead" not in text


def test_the_ledger_says_whether_its_newest_row_holds(admin: Client) -> None:
    assert figures(admin)["Ledger"][0] == "empty"
    write([access()])
    value, note, look = figures(admin)["Ledger"]
    assert (value, look) == ("holds", "good")
    assert "lanes written now: 1" in note
    tampered(principal="mallory")
    value, note, look = figures(admin)["Ledger"]
    assert (value, look) == ("broken", "bad")
    assert "the row was changed" in note


def test_the_last_check_of_the_whole_ledger_is_told_with_what_to_do(admin: Client) -> None:
    def checked() -> tuple[str, str, str]:
        return figures(admin)["All rows of the ledger"]

    value, note, look = checked()
    assert (value, look) == ("never checked", "warn")
    assert "manage.py verify_ledger" in note

    write([access(), access()])
    call_command("verify_ledger", stdout=StringIO())
    value, note, look = checked()
    assert (value, look) == ("hold", "good")
    assert note.startswith("Rows: 2, lanes: 1, checked ")

    LedgerCheck.objects.update(at=timezone.now() - timedelta(days=8))
    value, note, look = checked()
    assert (value, look) == ("held", "warn")
    assert note.endswith("That is long ago: run manage.py verify_ledger.")

    tampered(principal="mallory")
    with pytest.raises(SystemExit):
        call_command("verify_ledger", stdout=StringIO())
    value, note, look = checked()
    assert (value, look) == ("broken", "bad")
    assert "row 1 " in note
    assert "it was changed" in note


def test_a_check_of_one_lane_is_none_of_the_whole_ledger(admin: Client) -> None:
    write([access()])
    lane = SurfaceAccess.objects.values_list("lane", flat=True).get()
    call_command("verify_ledger", lane=lane, stdout=StringIO())
    assert figures(admin)["All rows of the ledger"][0] == "never checked"


def test_what_fails_in_the_process_is_said(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    page = text_of(admin.get(INDEX))
    assert "Ledger's writer" in page
    monkeypatch.setitem(health.CHECKS, "disk", fail)
    monkeypatch.setitem(health.WARNINGS, "rooms", lambda: "Redis is away.")
    page = text_of(admin.get(INDEX))
    assert "OSError" in page
    assert "the disk is full" not in page
    assert "Redis is away." in page


def test_each_reader_sees_what_they_may_open(staff: LogIn) -> None:
    write([access()])
    assert "mashin-dashboard" not in staff(name="nobody").get(INDEX).content.decode()
    runs = staff("view_run", name="runs")
    assert set(figures(runs)) == {"Failed runs, last day"}
    page = runs.get(INDEX).content.decode()
    assert "Accesses a minute" not in page
    assert "Processes" not in page
    operator = staff("change_gate", "view_panel", name="operator")
    assert set(figures(operator)) == {"Runs waiting for a person", "Suspended panels"}
    auditor = staff("view_surfaceaccess", name="auditor")
    assert "Ledger" in figures(auditor)
    assert "Accesses a minute" in auditor.get(INDEX).content.decode()


def test_the_page_takes_as_many_queries_for_many_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    write([access(outcome="refused", code="forbidden") for _ in range(200)])
    for _ in range(20):
        open_gate(make_run("failed"))
    # Session, user, the log of the admin; processes and their sum; minutes, codes, the newest row
    # and the one before it, lanes, the last check; gates, runs, incubators, panels.
    with django_assert_max_num_queries(15) as queries:
        assert admin.get(INDEX).status_code == 200
    asked = [query["sql"] for query in queries.captured_queries]
    ours = [sql for sql in asked if "mashin_surfaces_" in sql and "serverprocess" not in sql]
    assert all("LIMIT" in sql or '"seq" =' in sql for sql in ours)


def test_an_index_of_a_projects_own_keeps_its_content(admin: Client, tmp_path: Any) -> None:
    """Its ``admin/index.html`` is extended, not replaced; the tag stands wherever it is put."""
    (tmp_path / "admin").mkdir()
    (tmp_path / "admin" / "index.html").write_text(
        "{% extends 'admin/index.html' %}{% load mashin_dashboard %}"
        "{% block content %}<p>ours</p>{{ block.super }}{% mashin_dashboard %}{% endblock %}"
    )
    templates = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    with override_settings(TEMPLATES=templates):
        page = admin.get(INDEX).content.decode()
    assert (
        page.index("<p>ours</p>") < page.index("app-mashin_surfaces") < page.index("mashin-figures")
    )


def test_ids_of_a_moment_are_in_its_order() -> None:
    now = timezone.now()
    assert first_id(now) < first_id(now + timedelta(milliseconds=1))
