"""Rows with the longest values that people are likely to meet, one or more in each admin list.

For the database of a project that is served: ``fill()`` runs in its own shell.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from django.utils import timezone

from mashin_surfaces.identity.api_keys import issue
from mashin_surfaces.incubators import store as incubators
from mashin_surfaces.ledger.record import record_now
from mashin_surfaces.machines.review import examine
from mashin_surfaces.machines.store import save_machine
from mashin_surfaces.models import (
    Gate,
    Incubator,
    Machine,
    Panel,
    Room,
    Run,
    ServerProcess,
    Surface,
)
from mashin_surfaces.panels.store import NewPanel
from mashin_surfaces.panels.store import create as new_panel
from tests.ledger.rows import access

MACHINE = "customer_correspondence_review"
SOURCE = f"""\
machine {MACHINE} "Reviews what is written to customers before it leaves"
  accepts
    text as text, is required
  responds with
    text as text, is required
  implements
    compute answer
      {{text: input.text}}
  expresses
    websocket
      path: "/ws/customers/correspondence/review"
      rate: "20/s burst 40"
      auth: session, jwt, api_key
    api
      path: "/api/customers/correspondence/review"
    page
      path: "/customers/correspondence/review"
"""
BUS = "customer_correspondence_agents"
BUS_SOURCE = f"""\
machine {BUS}
  ensures
    limits
      max_cost: 1250
      max_tokens: 12000000
  expresses
    websocket
      path: "/ws/customers/correspondence/agents"
      dialect: incubator
"""
PRINCIPAL = "correspondence-review@services.example.org"


def fill() -> None:
    """Everything in every list, once."""
    machine = save_machine(examine(SOURCE).definition, SOURCE).machine
    save_machine(examine(BUS_SOURCE).definition, BUS_SOURCE)
    _override(machine)
    _access()
    _runs()
    _panel()
    _incubator()
    names = ("view", "control", "decide")
    _process()
    issue(f"{PRINCIPAL} in production", [f"runs:{name}:{MACHINE}" for name in names], ttl=86_400)


def _process() -> None:
    now = timezone.now()
    ServerProcess.objects.create(
        id="long", host="ip-10-20-30-40.eu-central-1.compute.internal", pid=4_194_304,
        started_at=now, beat_at=now + timedelta(days=1), connections=12_345,
    )  # fmt: skip


def _override(machine: Machine) -> None:
    Surface.objects.filter(machine=machine).update(
        auth_override="session, jwt, api_key",
        scopes_override="correspondence:review:write",
        rate_override="1000/s burst 4000",
    )


def _access() -> None:
    record_now(
        access(
            surface=f"websocket:/ws/{MACHINE}", machine=MACHINE, principal=PRINCIPAL,
            client="2001:db8:85a3:8d3:1319:8a2e:370:7348", outcome="failed",
            code="ledger_unavailable", duration_us=86_399_999_999,
        )
    )  # fmt: skip


def _runs() -> None:
    now = timezone.now()
    for status in Run.Status:
        id = uuid4().hex
        room = Room.objects.create(kind=Room.Kind.RUN, key=id, machine=MACHINE, epoch=id)
        has_ended = status in {Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED}
        run = Run.objects.create(
            id=id, room=room, machine=MACHINE, revision=1, status=status, input={}, seed=1,
            outcome="budget_exceeded" if has_ended else "", max_parallel=4, principal=PRINCIPAL,
            budget=Decimal("1250"), spent=Decimal("1249.995"),
            started_at=now - timedelta(hours=23, minutes=59), ended_at=now if has_ended else None,
        )  # fmt: skip
        shown = {
            "title": "Release the answer to the customer?",
            "question": "The model is not sure about what it has written to the customer. " * 3,
            "options": [],
        }
        Gate.objects.create(
            id=uuid4().hex, run=run, node="review_by_a_person", kind=Gate.Kind.APPROVAL,
            shown=shown, opened_at=now, expires_at=now + timedelta(days=1),
        )  # fmt: skip


def _panel() -> None:
    panel: Panel = new_panel(
        NewPanel(
            "correspondence-board",
            key=f"panel:{uuid4()}",
            title="What waits for an answer, by customer and by day",
            machine=MACHINE,
        )
    )
    Room.objects.filter(pk=panel.pk).update(head=12_345_678, floor=12_000_000)


def _incubator() -> None:
    incubator = incubators.find(f"team-correspondence-{uuid4()}", BUS)
    Incubator.objects.filter(pk=incubator.pk).update(cost=Decimal("1249.995"), tokens=11_999_999)
    Room.objects.filter(pk=incubator.pk).update(status=Room.Status.HALTED, head=12_345_678)
