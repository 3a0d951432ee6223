"""Reserving from a budget: what fits, what waits, what is beyond it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from mashin_surfaces.incubators import store
from mashin_surfaces.incubators.budget import Budget, NotYet, Reserved
from mashin_surfaces.incubators.bus import Writer
from mashin_surfaces.incubators.models import Incubator, RunningCall
from mashin_surfaces.incubators.tools import BusTool
from mashin_surfaces.panels.definition import ToolDefinition
from mashin_surfaces.rooms.models import Room
from mashin_surfaces.timers import process
from mashin_surfaces.timers.models import ServerProcess

pytestmark = pytest.mark.django_db(transaction=True)

DOLLAR = Budget(Decimal(1), None, Decimal("0.8"))
TOKENS = Budget(None, 100, Decimal("0.8"))


@pytest.fixture
def room(transactional_db: None) -> int:
    return int(store.find("hive").pk)


def tool(estimate: float | None = None, tokens: int | None = None) -> BusTool:
    definition = ToolDefinition(name="t", handler="test.t")
    return BusTool(definition, estimate=estimate, estimate_tokens=tokens)


def others_run(room: int, cost: str = "0", tokens: int = 0, seconds: float = 60) -> None:
    with transaction.atomic():
        process.ensure(connection)
        RunningCall.objects.create(
            room_id=room,
            principal="ada",
            call_id=str(RunningCall.objects.count()),
            process_id=process.process_id(),
            cost=Decimal(cost),
            tokens=tokens,
            until=datetime.now(UTC) + timedelta(seconds=seconds),
        )


def reserved(room: int, budget: Budget, tool: BusTool) -> Any:
    writer = Writer(room, "ada")
    got = budget.reserve(writer, tool)
    is_halted = Room.objects.get(pk=room).status == Room.Status.HALTED
    assert is_halted == (got is None)
    assert [event.type for event in writer.events] == (["control"] if is_halted else [])
    return got


@pytest.mark.parametrize(
    ("used", "running", "estimate", "expected"),
    [
        ("0", "0", 0.4, "0.4"),
        ("0.6", "0", 0.4, "0.4"),
        ("0.3", "0.3", 0.4, "0.4"),
        ("0.3", "0", None, "0.7"),  # without an estimate: all that is left
        ("0.3", "0.2", None, "0.5"),
        ("0.3", "0.7", 0, "0"),  # what costs nothing never waits
    ],
)
def test_what_fits_is_reserved(
    room: int, used: str, running: str, estimate: float | None, expected: str
) -> None:
    Incubator.objects.update(cost=Decimal(used))
    others_run(room, running)
    assert reserved(room, DOLLAR, tool(estimate)) == Reserved(Decimal(expected))


@pytest.mark.parametrize(
    ("used", "running", "estimate"), [("0.3", "0.4", 0.4), ("0", "1", None), ("0", "0.7", 1)]
)
def test_what_others_may_leave_is_waited_for(
    room: int, used: str, running: str, estimate: float | None
) -> None:
    Incubator.objects.update(cost=Decimal(used))
    others_run(room, running)
    with pytest.raises(NotYet):
        reserved(room, DOLLAR, tool(estimate))


@pytest.mark.parametrize(
    ("used", "running", "estimate"),
    [("0.7", "0", 0.4), ("1", "0", None), ("1", "0", 0), ("0.7", "0.1", 0.4), ("1.2", "0", None)],
)
def test_what_is_beyond_the_budget_halts_the_bus(
    room: int, used: str, running: str, estimate: float | None
) -> None:
    Incubator.objects.update(cost=Decimal(used))
    others_run(room, running)
    assert reserved(room, DOLLAR, tool(estimate)) is None


def test_tokens_are_reserved_alike(room: int) -> None:
    Incubator.objects.update(tokens=40)
    others_run(room, tokens=20)
    assert reserved(room, TOKENS, tool(tokens=40)) == Reserved(tokens=40)
    assert reserved(room, TOKENS, tool()) == Reserved(tokens=40)
    with pytest.raises(NotYet):
        reserved(room, TOKENS, tool(tokens=60))
    assert reserved(room, TOKENS, tool(tokens=61)) is None


def test_what_has_ended_without_a_word_reserves_nothing(room: int) -> None:
    others_run(room, "0.5", seconds=-1)
    assert reserved(room, DOLLAR, tool(1)) == Reserved(Decimal(1))


def test_what_a_dead_process_has_reserved_is_free_again(room: int) -> None:
    others_run(room, "0.5")
    with pytest.raises(NotYet):
        reserved(room, DOLLAR, tool(1))
    silent = datetime.now(UTC) - timedelta(seconds=process.ALIVE + 1)
    ServerProcess.objects.update(beat_at=silent)
    assert reserved(room, DOLLAR, tool(1)) == Reserved(Decimal(1))
