"""A run on the page of its machine, without a script: started, looked at, decided, controlled."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.test import AsyncClient, Client

from mashin_surfaces.machines.registry import DEFINITIONS, registry
from mashin_surfaces.models import (
    Decision,
    Epoch,
    Gate,
    Machine,
    Node,
    Run,
    Surface,
    SurfaceAccess,
)
from mashin_surfaces.runs.engine import engine
from mashin_surfaces.steps.effects import effect
from mashin_surfaces.surfaces.run_shown import Reader, Typed, page_of

from .test_page import declare

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

PAGE = "/release"
AMOUNT = {"amount": "10"}
#: Runs with nothing to do before anybody decides or a gate expires.
AT_REST = Q(due_at=None) | Q(due_at__gt=Now() + timedelta(minutes=1))
RELEASE = """
machine release "Release"
  accepts
    amount as number, is required
  responds with
    total as number, label "The total"
  ensures
    limits
      max_cost: 4
  implements
    compute left
      {n: input.amount + 1}
    compute right, after: none
      {n: input.amount * 2, note: "<b>bold</b>"}
    gate review, after: left, right
      title: "Release the <total>?"
      context: "Of ${input.amount}."
      question: "The sum is ${steps.left.n + steps.right.n}."
      class: "quality"
      timeout: "1h"
    compute total, after: review
      {total: steps.left.n + steps.right.n}
  expresses
    page
      path: "/release"
      auth: AUTH
"""
FRAIL = """
machine frail
  responds with
    done as boolean
  ensures
    permissions
      allowed to
        page.break
  implements
    wait for paid
      event: "invoice.paid"
    ask broken, from: "page.break", after: none
  expresses
    page
      path: "/release"
      auth: none
"""
ASKS = """
machine asks
  responds with
    done as boolean
  ensures
    permissions
      allowed to
        page.break
      requires approval for
        page.break
  implements
    ask broken, from: "page.break"
  expresses
    page
      path: "/release"
      auth: none
"""
#: Somebody who is not signed in, and may do everything.
ALL = "none\n      grant: machines:run, runs:view, runs:decide, runs:control"


@effect("page.break")
def fail() -> dict[str, Any]:
    """An effect that fails."""
    raise RuntimeError("It is broken.")


def live(source: str = RELEASE, auth: str = "none") -> None:
    declare(source.replace("AUTH", auth))


def go_on(run: Run) -> None:
    """What a server process does, until there is nothing to do."""

    async def work() -> None:
        rows = Run.objects.filter(AT_REST, pk=run.pk, holder="")
        engine().start()
        async with asyncio.timeout(20):
            while not await rows.aexists():  # noqa: ASYNC110  it waits for the database
                await asyncio.sleep(0.01)
        await engine().close()

    asyncio.run(work())
    run.refresh_from_db()


def start(client: Client, input: Mapping[str, str] = AMOUNT) -> Run:
    """A run that was started by the form, as far as it comes by itself."""
    answer = client.post(PAGE, input)
    assert answer.status_code == 303, answer.content.decode()
    run = Run.objects.get()
    assert answer["Location"] == f"{PAGE}?run={run.pk}"
    go_on(run)
    return run


def open_socket(run: Run) -> None:
    """Give the run's machine a websocket of its own that shows its runs to everybody."""
    machine = Machine.objects.get(name=run.machine)
    Surface.objects.create(
        machine=machine,
        kind="websocket",
        protocol="websocket",
        path="/ws/release",
        options={"dialect": "dag", "auth": ["none"]},
    )
    look_again()


def look_again() -> None:
    """Have this process see what was changed in the database."""
    Epoch.objects.filter(name=DEFINITIONS).update(number=F("number") + 1)
    registry.refresh()


def address(run: Run) -> str:
    return f"{PAGE}?run={run.pk}"


def text_of(answer: Any) -> str:
    """What somebody reads, with single spaces."""
    body = re.sub(r"<(script|title)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def signed_start(client: Client) -> Run:
    """A run that somebody started who is signed in."""
    return start(client, {**AMOUNT, "csrfmiddlewaretoken": token_of(client.get(PAGE))})


def decide(client: Client, run: Run, option: str = "approve:approve", **more: str) -> None:
    answer = client.post(address(run), choice(run, option, **more))
    assert (answer.status_code, answer["Location"]) == (303, address(run))


def choice(run: Run, option: str = "approve:approve", **more: str) -> dict[str, str]:
    gate = Gate.objects.get(run=run)
    shown = {"gate": gate.pk, "revision": str(gate.revision), "digest": gate.digest, "ref": "r1"}
    return {**shown, "option": option, **more}


def token_of(answer: Any) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.content.decode())
    assert found is not None
    return found[1]


# -- looked at ------------------------------------------------------------------------------------


def test_a_run_is_started_by_the_form_and_shown_at_its_address(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    answer = client.get(address(run))
    shown = text_of(answer)
    assert answer.status_code == 200
    assert "running 2 of 4 steps are done. Somebody has to decide." in shown
    assert "Release the <total>? Of 10. The sum is 31." in shown
    assert "note <b>bold</b>" in shown
    assert "Review: waits for a decision." in shown
    assert "Right: done." in shown
    assert "$0.00 of $4.00" in shown


def test_what_the_scripts_are_given_says_where_the_run_is_followed(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    drawing = client.get(address(run)).context["drawing"]
    statuses = {node["id"]: node["status"] for node in drawing["nodes"]}
    assert statuses == {
        "left": "completed", "right": "completed", "review": "paused", "total": "pending",
    }  # fmt: skip
    assert drawing["stream"] is None, "runs have no socket for who is not signed in"
    open_socket(run)
    drawing = client.get(address(run)).context["drawing"]
    assert drawing["stream"] == f"/ws/release?run={run.pk}"


def test_a_result_is_shown_when_there_is_one(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    decide(client, run, feedback="Go\r\nahead.")
    go_on(run)
    shown = text_of(client.get(address(run)))
    assert "completed 4 of 4 steps are done." in shown
    assert "Result The total 31" in shown
    assert "Review: approved by anonymous: Go ahead." in shown
    assert "The run has ended: completed." in shown
    assert "Approve" not in shown
    assert "Pause" not in shown


def test_failures_and_waits_are_told(client: Client) -> None:
    live(FRAIL)
    shown = text_of(client.get(address(start(client, {}))))
    assert "This waits for the event invoice.paid ." in shown
    assert re.search(r"Broken: failed: .+\(\w+\)", shown)
    assert "Somebody has to decide" not in shown


def test_the_budget_is_a_bar_with_a_text(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    Run.objects.update(spent=Decimal(1))
    answer = client.get(address(run))
    assert 'aria-label="Budget: $1.00 of $4.00"' in answer.content.decode()
    assert "$1.00 of $4.00 · 25 %" in text_of(answer)


def test_a_large_run_takes_as_many_queries_as_a_small_one(
    client: Client, django_assert_num_queries: Any
) -> None:
    live(auth=ALL)
    run = start(client)
    machine = registry.snapshot.machines["release"]

    def rows() -> int:
        isolation = int(connection.vendor == "postgresql")  # it is asked for one moment
        with django_assert_num_queries(10 + isolation):
            shown = page_of(run.pk, machine, Reader(True, True, None), Typed())
        return len(shown["nodes"])

    assert rows() == 4
    Node.objects.bulk_create(
        Node(run=run, name=f"n{n}", title=f"n{n}", kind="compute", position=10 + n, needs=["left"])
        for n in range(40)
    )
    assert rows() == 44


# -- sent twice -----------------------------------------------------------------------------------


def form_of(answer: Any) -> str:
    """Where the form of the page sends what is filled in."""
    found = re.search(r'<form [^>]*action="([^"]+)"', answer.content.decode())
    assert found is not None
    return f"{PAGE}{unescape(found[1])}"


def test_a_form_that_is_sent_twice_starts_one_run(client: Client) -> None:
    live(auth=ALL)
    form = form_of(client.get(PAGE))
    answers = [client.post(form, AMOUNT) for _ in range(2)]
    run = Run.objects.get()
    assert [answer["Location"] for answer in answers] == [address(run)] * 2
    rows = SurfaceAccess.objects.filter(event="message", outcome="allowed")
    assert {row.request_id for row in rows} == {answer["X-Request-ID"] for answer in answers}
    assert len(rows) == 2, "both are in the ledger"


def test_a_form_that_is_filled_in_anew_starts_another_run(client: Client) -> None:
    live(auth=ALL)
    form = form_of(client.get(PAGE))
    assert client.post(form, AMOUNT).status_code == 303
    assert client.post(form, {"amount": "11"}).status_code == 303
    assert sorted(run.input["amount"] for run in Run.objects.all()) == [10, 11]


def test_every_form_starts_a_run_of_its_own(client: Client) -> None:
    live(auth=ALL)
    for _ in range(2):
        assert client.post(form_of(client.get(PAGE)), AMOUNT).status_code == 303
    assert Run.objects.count() == 2


def test_a_form_that_was_refused_comes_back_as_another_one(client: Client) -> None:
    live(auth=ALL)
    first = form_of(client.get(PAGE))
    refused = client.post(first, {"amount": "much"})
    assert refused.status_code == 422
    assert form_of(refused) != first
    assert client.post(form_of(refused), AMOUNT).status_code == 303


# -- who may --------------------------------------------------------------------------------------


def test_who_has_the_address_may_look_and_is_asked_to_sign_in_to_decide(client: Client) -> None:
    live(auth="session, none")
    run = start(client)
    answer = client.get(address(run))
    shown = text_of(answer)
    assert "Release the <total>?" in shown
    assert "Approve" not in shown
    assert "Pause" not in shown
    login = re.search(r'href="([^"]+)">Sign in to decide<', answer.content.decode())
    assert login is not None
    assert login[1] == f"/admin/login/?next=%2Frelease%3Frun%3D{run.pk}"


def test_who_is_signed_in_without_the_scope_is_told_which_it_takes(client: Client) -> None:
    live(auth="session")
    client.force_login(get_user_model().objects.create_user("eve"))
    run = signed_start(client)
    shown = text_of(client.get(address(run)))
    assert "You may not decide here. This needs the scope runs:decide:release." in shown
    assert "Approve" not in shown
    assert "Sign in" not in shown


@pytest.mark.parametrize("sent", [{"option": "approve:approve"}, {"control": "cancel"}])
def test_what_takes_a_scope_is_refused_without_it(client: Client, sent: dict[str, str]) -> None:
    live()
    run = start(client)
    answer = client.post(address(run), {**choice(run), **sent})
    assert answer.status_code == 403
    assert "This needs the scope runs:" in text_of(answer)
    assert not Decision.objects.exists()
    row = SurfaceAccess.objects.get(outcome="refused")
    assert (row.surface, row.code) == (f"run:{run.pk}", "forbidden")
    assert row.request_id == answer["X-Request-ID"]


def test_who_may_not_enter_the_page_is_sent_to_the_login(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    Surface.objects.update(options={"auth": ["session"]})
    look_again()
    answer = client.get(address(run))
    assert (answer.status_code, answer["Location"]) == (
        302, f"/admin/login/?next=%2Frelease%3Frun%3D{run.pk}",
    )  # fmt: skip
    sent = client.post(address(run), choice(run))
    assert sent.status_code == 401
    assert not Decision.objects.exists()


@pytest.mark.parametrize("id", ["0" * 32, "nonsense", ""])
def test_other_ids_lead_nowhere(client: Client, id: str) -> None:
    live(auth=ALL)
    start(client)
    assert client.get(f"{PAGE}?run={id}").status_code == 404
    assert client.post(f"{PAGE}?run={id}", {"control": "pause"}).status_code == 404


def test_runs_of_other_machines_are_not_shown(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    Run.objects.update(machine="other")
    assert client.get(address(run)).status_code == 404


def test_each_look_is_recorded(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    answer = client.get(address(run))
    row = SurfaceAccess.objects.get(request_id=answer["X-Request-ID"])
    assert (row.event, row.surface, row.outcome) == ("view", "page:/release", "allowed")
    assert row.path == address(run)


# -- recent runs ----------------------------------------------------------------------------------


def listed(client: Client) -> list[str]:
    found = re.findall(r'href="\?run=(\w+)"', client.get(PAGE).content.decode())
    return list(found)


def test_nobody_in_particular_finds_only_runs_that_everybody_may_view(client: Client) -> None:
    live(auth="none")
    run = start(client)
    assert listed(client) == []
    Surface.objects.update(options={"auth": ["none"], "grant": ["machines:run", "runs:view"]})
    look_again()
    assert listed(client) == [run.pk]


def test_who_is_signed_in_finds_what_they_started_and_a_viewer_all(client: Client) -> None:
    live(auth="session")
    users = get_user_model().objects
    client.force_login(users.create_user("eve"))
    run = signed_start(client)
    assert listed(client) == [run.pk]
    client.force_login(users.create_user("ada"))
    assert listed(client) == []
    client.force_login(users.create_superuser("root"))
    assert listed(client) == [run.pk]


# -- decided --------------------------------------------------------------------------------------


def test_a_decision_is_taken_in_the_name_of_who_is_signed_in(client: Client) -> None:
    live(auth="session")
    client.force_login(get_user_model().objects.create_superuser("root"))
    run = signed_start(client)
    token = token_of(client.get(address(run)))
    sent = choice(run, "reject:reject", scope="abort", feedback="No.")
    assert client.post(address(run), sent).status_code == 403, "without a CSRF token"
    assert not Decision.objects.exists()
    answer = client.post(address(run), {**sent, "csrfmiddlewaretoken": token})
    assert (answer.status_code, answer["Location"]) == (303, address(run))
    made = Decision.objects.get()
    assert (made.by, made.decision, made.scope, made.feedback) == ("root", "reject", "abort", "No.")
    row = SurfaceAccess.objects.get(event="decide", outcome="allowed")
    assert (row.principal, row.request_id) == ("root", answer["X-Request-ID"])
    go_on(run)
    assert run.status == "cancelled"


def test_a_form_that_is_sent_twice_counts_once(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    sent = choice(run)
    assert [client.post(address(run), sent).status_code for _ in range(2)] == [303, 303]
    assert Decision.objects.count() == 1


def test_who_comes_too_late_is_told_so(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    late = choice(run, "reject:reject", ref="r2")
    decide(client, run)
    answer = client.post(address(run), late)
    assert answer.status_code == 409
    assert "This gate is not open any more." in text_of(answer)
    assert Decision.objects.count() == 1


@pytest.mark.parametrize("stale", [{"revision": "7"}, {"digest": "0" * 64}])
def test_nobody_decides_what_they_have_not_seen_and_what_was_typed_stays(
    client: Client, stale: dict[str, str]
) -> None:
    live(auth=ALL)
    run = start(client)
    answer = client.post(address(run), choice(run, **stale, feedback="Well, <b>", scope="phase"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Something else is shown at this gate now: look again." in text_of(answer)
    assert "Well, &lt;b&gt;</textarea>" in page
    assert '<option value="phase" selected>' in page
    assert not Decision.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"option": "approve:other"},
        {"option": "other"},
        {"option": ""},
        {"revision": "none"},
        {"gate": ""},
        {"feedback": "x" * 10_001},
        {"option": "reject:reject", "scope": "other"},
        {"ref": "r" * 65},
    ],
)
def test_what_is_no_decision_is_refused(client: Client, wrong: dict[str, str]) -> None:
    live(auth=ALL)
    run = start(client)
    answer = client.post(address(run), {**choice(run), **wrong})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()
    assert SurfaceAccess.objects.get(outcome="refused").code == "invalid_input"
    assert not Decision.objects.exists()


# -- controlled -----------------------------------------------------------------------------------


def test_a_run_is_paused_resumed_and_cancelled(client: Client) -> None:
    live(auth=ALL)
    run = start(client)
    for to, status, button in (
        ("pause", "paused", "Resume"), ("resume", "running", "Pause"), ("cancel", "cancelled", ""),
    ):  # fmt: skip
        answer = client.post(address(run), {"control": to})
        assert (answer.status_code, answer["Location"]) == (303, address(run))
        go_on(run)
        assert run.status == status
        assert button in text_of(client.get(address(run)))
    answer = client.post(address(run), {"control": "resume"})
    assert answer.status_code == 409
    assert "The run is cancelled: it can't resume now." in text_of(answer)


# -- approvals ------------------------------------------------------------------------------------


async def test_an_effect_that_needs_approval_leads_to_the_run_it_waits_in() -> None:
    await sync_to_async(live)(ASKS)
    engine().start()
    try:
        answer = await AsyncClient().post(PAGE, {})
    finally:
        await engine().close()
    run = await Run.objects.aget()
    assert (answer.status_code, answer["Location"]) == (303, address(run))


async def test_two_at_once_wait_for_the_same_approval() -> None:
    await sync_to_async(live)(ASKS)
    engine().start()
    try:
        form = form_of(await AsyncClient().get(PAGE))
        answers = await asyncio.gather(*(AsyncClient().post(form, {}) for _ in range(2)))
    finally:
        await engine().close()
    run = await Run.objects.aget()
    assert [answer["Location"] for answer in answers] == [address(run)] * 2
