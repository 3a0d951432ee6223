"""Runs and gates in the admin: looked at, decided, paused, cancelled and retried by who may."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import Q
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from mashin_surfaces.admin import run_page
from mashin_surfaces.admin.run_timeline import timeline_of
from mashin_surfaces.governance.door import governed
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.models import CostEntry, Decision, Gate, Node, Run, SurfaceAccess
from mashin_surfaces.runs import drawing
from mashin_surfaces.runs.engine import engine
from mashin_surfaces.runs.store import NewRun
from mashin_surfaces.runs.words import dollars, duration
from mashin_surfaces.steps.effects import effect

from .conftest import LogIn, load
from .test_machines import text_of

pytestmark = pytest.mark.django_db(transaction=True)  # runs are written by connections apart

LIST = "/admin/mashin_surfaces/run/"
GATES = "/admin/mashin_surfaces/gate/"
#: Runs with nothing to do before anybody decides or a gate expires.
_AT_REST = Q(due_at=None) | Q(due_at__gt=Now() + timedelta(minutes=1))
RELEASE = """\
machine release "Release"
  accepts
    amount as number, is required
  responds with
    total as number
  implements
    compute left
      {n: input.amount + 1}
    compute right, after: none
      {n: input.amount * 2}
    gate review, after: left, right
      title: "Release the <total>?"
      question: "The sum is ${steps.left.n + steps.right.n}."
      class: "quality"
      timeout: "1h"
    compute total, after: review
      {total: steps.left.n + steps.right.n}
"""
FRAIL = """\
machine frail "Frail"
  responds with
    done as boolean
  ensures
    permissions
      allowed to
        admin.break
  implements
    ask first, from: "admin.break"
    compute second
      {done: true}
"""


PATIENT = """\
machine patient "Patient"
  responds with
    done as boolean
  implements
    wait for paid
      event: "invoice.paid"
    compute second
      {done: true}
"""


@effect("admin.break")
def fail() -> dict[str, Any]:
    """An effect that fails."""
    raise RuntimeError("It is broken.")


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    registry.forget()
    yield
    registry.forget()


def start(source: str = RELEASE, **values: Any) -> Run:
    """A run of a machine, as far as it comes by itself."""
    load(source)
    return start_again(source.split()[1], **values)


def start_again(name: str, given: dict[str, Any] | None = None, **values: Any) -> Run:
    registry.refresh()
    machine = governed(registry.snapshot.machines[name])
    given = given if given is not None else {"amount": 10}

    new = NewRun(machine, given, "ada", **values)

    async def create() -> Run:
        return await engine().create(new)

    made = asyncio.run(create())
    go_on(made)
    return made


def go_on(run: Run) -> None:
    """What a server process does, until there is nothing to do."""

    async def work() -> None:
        rows = Run.objects.filter(_AT_REST, pk=run.pk, holder="")
        engine().start()
        async with asyncio.timeout(20):
            while not await rows.aexists():  # noqa: ASYNC110  it waits for the database
                await asyncio.sleep(0.01)
        await engine().close()

    asyncio.run(work())
    run.refresh_from_db()


def page_of(run: Run) -> str:
    return f"{LIST}{run.pk}/change/"


def decide(client: Client, run: Run, option: str, **more: str) -> Any:
    gate = Gate.objects.get(run=run)
    given = {"revision": str(gate.revision), "digest": gate.digest, "option": option, "ref": "r1"}
    return client.post(f"{LIST}{run.pk}/gates/{gate.pk}/", given | more, follow=True)


def control(client: Client, run: Run, to: str, **more: str) -> Any:
    answer = client.post(f"{LIST}{run.pk}/{to}/", more, follow=True)
    run.refresh_from_db()
    return answer


def shown(client: Client, address: str = LIST, **query: str) -> list[str]:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


# -- the list -------------------------------------------------------------------------------------


def test_the_list_says_how_far_runs_are_and_which_wait(admin: Client) -> None:
    run = start(budget=Decimal(2))
    page = text_of(admin.get(LIST))
    assert re.search(r"release\s+" + run.pk[:8], page)
    assert "running" in page
    assert "2/4" in page
    assert "$0.00 of $2.00" in page
    assert "1 gate" in page


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    start()
    for _ in range(20):
        start_again("release")
    # Session, user, machines of the filter, the capped count, runs, nodes, gates.
    with django_assert_max_num_queries(7):
        assert len(shown(admin)) == 21


def test_runs_are_found_by_status_machine_and_the_beginning_of_an_id(admin: Client) -> None:
    waits, failed = start(), start(FRAIL, given={})
    assert failed.status == "failed"
    assert shown(admin) == [failed.pk, waits.pk]
    assert shown(admin, status__exact="failed") == [failed.pk]
    assert shown(admin, machine="release") == [waits.pk]
    assert shown(admin, q=waits.pk[:10]) == [waits.pk]
    assert shown(admin, q="frail") == [failed.pk]
    assert shown(admin, q=waits.pk[1:10]) == []


def test_what_waits_for_me_is_what_i_may_decide(staff: LogIn, settings: Any) -> None:
    run = start()
    settings.MASHIN_SURFACES = {
        "SCOPES": {
            "group:Nobody": ["*"],
            "perm:mashin_surfaces.view_panel": ["runs:decide:release"],
            "perm:mashin_surfaces.view_room": ["runs:decide:other"],
        }
    }
    by_permission = staff("view_run", "change_gate", name="gil")
    by_scope = staff("view_run", "view_panel", name="ren")
    of_others = staff("view_run", "view_room", name="oda")
    assert shown(by_permission, waiting="me") == [run.pk]
    assert shown(by_scope, waiting="me") == [run.pk]
    assert shown(of_others, waiting="me") == []
    assert shown(of_others, waiting="anybody") == [run.pk]


def test_a_run_that_waits_for_nobody_is_not_among_those_that_wait(admin: Client) -> None:
    run, other = start(), start_again("release")
    decide(admin, run, "approve")
    assert shown(admin, waiting="anybody") == [other.pk]


# -- the page -------------------------------------------------------------------------------------


def test_the_page_shows_nodes_timeline_gate_and_log(admin: Client) -> None:
    run = start()
    page = admin.get(page_of(run))
    text, html = text_of(page), page.content.decode()
    assert "Waiting for you" in text
    assert "Release the <total>?" in text
    assert "The sum is 31." in text
    assert '{"n": 20}' in text
    assert re.search(r"review\s+gate", text)
    assert "‖ waits" in text
    assert '<tr id="node-review">' in html
    assert "human_gate_waiting" in text
    lines = page.context["timeline"].lines
    assert {line.name for line in lines} == {"left", "right", "review"}
    assert "style=" not in html, "a strict policy would refuse it"
    assert not re.search(r"<script(?![^>]*(src=|application/json))", html)


def test_who_waits_for_an_event_waits_for_nobody(admin: Client) -> None:
    run = start(PATIENT, given={})
    page = admin.get(page_of(run))
    assert "waits for the event invoice.paid" in text_of(page)
    assert 'name="option"' not in page.content.decode()
    gate = Gate.objects.get()
    assert admin.post(f"{LIST}{run.pk}/gates/{gate.pk}/", {"option": "approve"}).status_code == 404
    assert shown(admin, waiting="anybody") == shown(admin, GATES) == []


def test_the_graph_is_given_to_the_script(admin: Client) -> None:
    run = start()
    drawing = admin.get(page_of(run)).context["drawing"]
    assert drawing["stream"] == f"/api/dags/{run.pk}/stream"
    assert [(node["id"], node["needs"], node["status"]) for node in drawing["nodes"]] == [
        ("left", [], "completed"),
        ("right", [], "completed"),
        ("review", ["left", "right"], "paused"),
        ("total", ["review"], "pending"),
    ]
    assert drawing["states"]["paused"] == {"look": "warn", "sign": "‖", "word": "waits"}
    run.room.refresh_from_db()
    assert drawing["offset"] == run.room.head > 0


def test_who_may_not_open_the_socket_is_not_sent_there(staff: LogIn) -> None:
    page = staff("view_run").get(page_of(start()))
    assert page.context["drawing"]["stream"] is None


def test_a_page_takes_as_many_queries_for_a_large_graph_as_for_a_small_one(
    admin: Client, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    admin.get(page_of(run))  # what Django reads once for all

    def queries() -> int:
        with django_assert_num_queries(10):
            page = admin.get(page_of(run))
        return len(page.context["nodes"])

    assert queries() == 4
    Node.objects.bulk_create(
        Node(run=run, name=f"n{n}", title=f"n{n}", kind="compute", position=10 + n, needs=["left"])
        for n in range(40)
    )
    assert queries() == 44
    monkeypatch.setattr(drawing, "MOST_DRAWN", 10)
    monkeypatch.setattr(run_page, "MOST_NODES", 20)
    page = admin.get(page_of(run))
    assert page.context["drawing"] is None
    assert "There are too many nodes to draw them." in text_of(page)
    assert "and 24 more" in text_of(page)


def test_costs_are_summed_by_node_and_measured_by_the_budget(admin: Client) -> None:
    run = start(budget=Decimal(1))
    for amount in ("0.25", "0.125"):
        CostEntry.objects.create(
            run=run, node="left", attempt=1, amount=Decimal(amount), model="m", input_tokens=1200,
            output_tokens=5, at=timezone.now(),
        )  # fmt: skip
    Run.objects.update(spent=Decimal("0.375"), reserved=Decimal("0.1"), is_warned=True)
    page = admin.get(page_of(run))
    assert page.context["costs"] == [
        {"node": "left", "model": "m", "entries": 2, "amount": "0.375",
         "input_tokens": 2400, "output_tokens": 10}
    ]  # fmt: skip
    account = page.context["account"]
    assert (account["spent"], account["reserved"], account["look"]) == ("37.50", "10.00", "warn")
    assert "$0.375 of $1.00" in text_of(page)
    assert "$0.10 reserved" in text_of(page)


def test_the_log_is_turned_back_page_by_page(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    run.room.refresh_from_db()
    monkeypatch.setattr(run_page, "MOST_EVENTS", 4)
    page = admin.get(page_of(run))
    seen = [event["number"] for event in page.context["events"]]
    while (older := page.context["older"]) is not None:
        page = admin.get(page_of(run), {"before": older})
        seen += [event["number"] for event in page.context["events"]]
    assert seen == list(range(run.room.head, 0, -1))
    assert "Newest" in text_of(page)


def test_a_run_has_links_to_who_launched_it_and_whom_it_launched(admin: Client) -> None:
    parent, child = start(), start_again("release")
    Run.objects.filter(pk=child.pk).update(parent=parent, parent_node="left")
    assert page_of(child) in admin.get(page_of(parent)).content.decode()
    assert f"{page_of(parent)}#node-left" in admin.get(page_of(child)).content.decode()


# -- what can be done -----------------------------------------------------------------------------


def test_a_gate_is_decided_in_the_users_name_and_the_run_goes_on(admin: Client) -> None:
    run = start()
    answer = decide(admin, run, "approve", feedback="Fine.")
    assert "The gate review is decided: Approve." in text_of(answer)
    decision = Decision.objects.get()
    assert (decision.by, decision.decision, decision.feedback) == ("root", "approve", "Fine.")
    row = SurfaceAccess.objects.get(event="decide")
    assert (row.principal, row.outcome) == ("root", "allowed")
    assert row.credential.startswith("session:")
    assert "decided" in LogEntry.objects.get().change_message
    go_on(run)
    assert (run.status, run.output) == ("completed", {"total": 31})
    page = text_of(admin.get(page_of(run)))
    assert "Waiting" not in page
    assert "Fine." in page


def test_the_same_form_sent_twice_decides_once(admin: Client) -> None:
    run = start()
    decide(admin, run, "approve")
    answer = decide(admin, run, "approve")
    assert "The gate review is decided" in text_of(answer)
    assert Decision.objects.count() == 1


def test_a_rejection_has_the_scope_that_was_chosen_and_an_approval_none(admin: Client) -> None:
    run, other = start(), start_again("release")
    decide(admin, run, "reject", scope="abort", feedback="No.")
    assert Decision.objects.get(gate__run=run).scope == "abort"
    decide(admin, other, "approve", scope="abort")
    assert Decision.objects.get(gate__run=other).scope == "node"


def test_who_decides_what_has_changed_meanwhile_is_told_and_keeps_their_text(admin: Client) -> None:
    run = start()
    answer = decide(admin, run, "approve", revision="7", feedback="As I said.")
    text = text_of(answer)
    assert "Something else is shown at this gate now: look again." in text
    assert "As I said." in text
    assert not Decision.objects.exists()


def test_what_is_no_option_decides_nothing(admin: Client) -> None:
    run = start()
    assert "Choose one of the gate's options." in text_of(decide(admin, run, "maybe"))
    assert not Decision.objects.exists()


def test_who_holds_neither_permission_nor_scope_decides_nothing(staff: LogIn) -> None:
    run = start()
    client = staff("view_run")
    page = client.get(page_of(run)).content.decode()
    assert "Release the" in page
    assert 'name="option"' not in page
    assert "scope" in text_of(decide(client, run, "approve"))
    assert not Decision.objects.exists()
    assert SurfaceAccess.objects.get(event="decide").outcome == "refused"
    able = staff("view_run", "change_gate", name="gil")
    assert "The gate review is decided" in text_of(decide(able, run, "approve"))


def test_a_run_is_paused_and_resumed(admin: Client) -> None:
    run = start()
    assert "It pauses as soon as" in text_of(control(admin, run, "pause"))
    assert run.status == "pausing"
    go_on(run)
    assert run.status == "paused"
    assert "It goes on." in text_of(control(admin, run, "resume"))
    assert run.status == "running"
    assert set(SurfaceAccess.objects.values_list("event", flat=True)) == {"control"}


def test_a_run_is_cancelled_after_a_question(admin: Client) -> None:
    run = start()
    question = control(admin, run, "cancel")
    assert "A cancelled run does not go on again." in text_of(question)
    assert run.status == "running"
    assert "It is being cancelled" in text_of(control(admin, run, "cancel", post="yes"))
    go_on(run)
    assert (run.status, run.outcome) == ("cancelled", "cancelled")
    page = admin.get(page_of(run))
    assert not page.context["controls"]
    assert not page.context["waiting"]


def test_a_command_that_comes_too_late_is_refused_on_the_page(admin: Client) -> None:
    run = start()
    decide(admin, run, "approve")
    go_on(run)
    assert "The run is completed: it can't pause now." in text_of(control(admin, run, "pause"))


def test_a_failed_node_is_retried(admin: Client) -> None:
    run = start(FRAIL, given={})
    page = text_of(admin.get(page_of(run)))
    assert "✕ failed" in page
    assert "» skipped" in page
    answer = admin.post(f"{LIST}{run.pk}/nodes/first/retry/", follow=True)
    assert "The node first runs again." in text_of(answer)
    run.refresh_from_db()
    assert run.status == "running"
    answer = admin.post(f"{LIST}{run.pk}/nodes/second/retry/", follow=True)
    assert 'The node "second" is pending, not failed.' in text_of(answer)


def test_who_may_only_look_controls_nothing(staff: LogIn) -> None:
    client = staff("view_run", "change_gate")
    run = start(FRAIL, given={})
    assert "Retry" not in client.get(page_of(run)).content.decode()
    assert control(client, run, "cancel", post="yes").status_code == 403
    assert client.post(f"{LIST}{run.pk}/nodes/first/retry/").status_code == 403
    assert run.status == "failed"
    able = staff("change_run", name="gil")
    assert "Retry" in able.get(page_of(run)).content.decode()
    assert staff("view_room", name="eve").get(LIST).status_code == 403


def test_nothing_can_be_added_changed_or_deleted(admin: Client) -> None:
    run = start()
    for address in (LIST, GATES):
        assert admin.get(f"{address}add/").status_code == 403
    assert admin.post(page_of(run), {"id": "x"}).status_code == 403
    assert admin.post(f"{LIST}{run.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin.get(f"{LIST}{run.pk}/pause/").status_code == 405


# -- gates ----------------------------------------------------------------------------------------


def test_the_list_of_gates_has_the_open_ones_and_leads_to_their_runs(admin: Client) -> None:
    run, done = start(), start_again("release")
    decide(admin, done, "approve")
    open_gate, decided = Gate.objects.get(run=run), Gate.objects.get(run=done)
    page = admin.get(GATES)
    assert f'href="{page_of(run)}#gate-{open_gate.pk}"' in page.content.decode()
    assert shown(admin, GATES) == shown(admin, GATES, status="me") == [open_gate.pk]
    assert shown(admin, GATES, status="decided") == [decided.pk]
    assert shown(admin, GATES, machine="other") == []


def test_the_list_of_gates_takes_as_many_queries_for_many_as_for_one(
    admin: Client, staff: LogIn, django_assert_max_num_queries: Any
) -> None:
    start()
    for _ in range(10):
        start_again("release")
    # Session, user, machines of the filter, the capped count, gates.
    with django_assert_max_num_queries(5):
        assert len(shown(admin, GATES)) == 11
    assert len(shown(staff("change_gate"), GATES)) == 11
    assert staff("view_run", name="eve").get(GATES).status_code == 403


# -- small things ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0042, "4 ms"),
        (5.06, "5.1 s"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
        (0.0002, "< 1 ms"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("0", "0.00"), ("12.5", "12.50"), ("0.000120", "0.00012"), ("3", "3.00")]
)
def test_money_is_told_to_the_cent_and_further_where_it_has_to(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def test_a_timeline_has_a_bar_for_each_attempt() -> None:
    began = timezone.now()
    at = [began + timedelta(seconds=second) for second in range(11)]
    failed = {"attempt": 1, "started_at": at[0].isoformat(), "ended_at": at[2].isoformat()}
    node = Node(
        name="a", position=0, status="completed", attempt=2, attempts=[failed],
        started_at=at[5], ended_at=at[10],
    )  # fmt: skip
    again = Node(name="b", position=1, status="pending", started_at=at[1])
    run = Run(started_at=at[0], ended_at=at[10])
    timeline = timeline_of(run, [node, again], at[10])
    assert timeline is not None
    (line,) = timeline.lines
    assert [(bar.x, bar.width, bar.look) for bar in line.bars] == [
        ("0.00", "20.00", "bad"),
        ("50.00", "50.00", "good"),
    ]
    assert (line.length, timeline.length) == ("10.0 s", "10.0 s")


def test_a_run_in_which_nothing_has_begun_has_no_timeline() -> None:
    now = timezone.now()
    run = Run(started_at=now)
    assert timeline_of(run, [Node(name="a", status="pending")], now) is None
