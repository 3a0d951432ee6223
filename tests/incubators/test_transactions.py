"""What stands in a namespace's log and rows, whatever its transactions went through."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from mashin_surfaces.dialects.incubator import Control
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.incubators import clock, metrics, store
from mashin_surfaces.incubators.bus import Writer
from mashin_surfaces.incubators.models import Claim, Incubator, StateEntry
from mashin_surfaces.machines.json_values import dumps
from mashin_surfaces.rooms import log, retention
from mashin_surfaces.rooms.appending import Append, write
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.models import Room, RoomEvent
from mashin_surfaces.timers.clock import clock as process_clock
from tests import plans

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(transactional_db: None) -> int:
    return int(store.find("hive").pk)


def append(writer: Writer, do: Any) -> Append:
    """A request as the bus makes it."""

    def also() -> None:
        do(writer)
        item.status = writer.status

    item = Append(writer.room, writer.events, also=also)
    return item


def written(*items: Append) -> None:
    """All of them in one batch, which is committed."""
    with transaction.atomic():
        write(connection, items, held=None)


def published(room: int, *events: tuple[str, Any]) -> None:
    payloads = [dumps({"event_type": type, "data": data, "agent_id": "a"}) for type, data in events]
    log.append(room, [NewEvent("event", payload.decode()) for payload in payloads])


def types(room: int) -> list[str]:
    return [event.type for event in log.read(room, 0)]


# -- batches --------------------------------------------------------------------------------------


def test_a_batch_that_is_written_again_says_everything_once(room: int) -> None:
    item = append(Writer(room, "ada"), lambda writer: writer.set_state("k", 1))
    with transaction.atomic():
        write(connection, [item], held=None)
        transaction.set_rollback(True)
    written(item)
    assert types(room) == ["state_changed"]
    assert item.outcome().last == 1


def test_what_stands_behind_a_halt_in_the_same_batch_is_refused(room: int) -> None:
    halt = append(Writer(room, "boss"), lambda writer: writer.control(HALT, by="boss"))
    late = append(Writer(room, "ada"), lambda writer: writer.publish("late", {}))
    written(halt, late)
    assert types(room) == ["control"]
    with pytest.raises(Refusal) as refused:
        late.outcome()
    assert refused.value.subject == "halted"


def test_a_halt_that_was_not_committed_stops_nobody(room: int) -> None:
    def halt_and_fail(writer: Writer) -> None:
        writer.control(HALT, by="boss")
        raise Refusal(Code.CONFLICT, "No.")

    publish = append(Writer(room, "ada"), lambda writer: writer.publish("x", {}))
    written(append(Writer(room, "boss"), halt_and_fail), publish)
    assert types(room) == ["event"]


HALT = Control("halt", "enough")


# -- what tools may give --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 5, None])
@pytest.mark.parametrize("verb", ["set", "claim", "publish"])
def test_what_no_column_has_place_for_is_refused(room: int, verb: str, name: Any) -> None:
    does = {
        "set": lambda writer: writer.set_state(name, 1),
        "claim": lambda writer: writer.claim(name),
        "publish": lambda writer: writer.publish(name, 1),
    }
    item = append(Writer(room, "ada"), does[verb])
    written(item)
    with pytest.raises(Refusal) as refused:
        item.outcome()
    assert refused.value.code is Code.INVALID_INPUT


# -- limits ---------------------------------------------------------------------------------------


def limited(settings: Any, **limits: int) -> None:
    settings.MASHIN_SURFACES = {**settings.MASHIN_SURFACES, "INCUBATORS": limits}


def test_what_was_given_back_counts_for_nothing(room: int, settings: Any) -> None:
    limited(settings, MAX_CLAIMS=2, MAX_KEYS=2)
    for number in range(5):
        writer = Writer(room, "ada")
        writer.claim(f"r{number}")
        writer.release(f"r{number}")
        writer.set_state(f"k{number}", 1)
        writer.delete_state(f"k{number}")
    writer = Writer(room, "ada")
    for number in range(2):
        writer.claim(f"r{number}")
        writer.set_state(f"k{number}", 1)
    with pytest.raises(Refusal):
        writer.claim("r4")
    with pytest.raises(Refusal):
        writer.set_state("k4", 1)


def test_forgotten_claims_leave_fences_that_only_rise(room: int) -> None:
    fences = {}
    for resource in ("one", "two"):
        for _ in range(3):
            fences[resource] = Writer(room, "ada").claim(resource)
            Writer(room, "ada").release(resource)
    held = Writer(room, "ada").claim("held")
    long_ago = datetime.now(UTC) - timedelta(days=2)
    Claim.objects.update(claimed_at=long_ago)
    Writer(room, "ada").set_state("gone", 1)
    Writer(room, "ada").delete_state("gone")
    StateEntry.objects.update(updated_at=long_ago)
    clock.keep()
    assert list(Claim.objects.values_list("resource", flat=True)) == ["held"]
    assert not StateEntry.objects.exists()
    assert Writer(room, "bob").claim("one") > max(held, *fences.values())


def test_a_closed_namespace_does_not_keep_others_from_expiring(room: int) -> None:
    other = store.find("other").pk
    for each in (room, other):
        Writer(each, "ada").claim("r", 1)
    Claim.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    Room.objects.filter(pk=min(room, other)).update(status=Room.Status.CLOSED)
    clock.expire_claims()
    assert types(max(room, other)) == ["claim_changed"]


@pytest.mark.parametrize("job", [clock.expire_claims, metrics.count_all])
def test_a_long_job_asks_between_namespaces_whether_to_go_on(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, job: Callable[[], None]
) -> None:
    """As it does so, its process goes on beating."""
    for name in ("one", "two", "three"):
        room = store.find(name).pk
        Writer(room, "ada").claim("r", 1)
        published(room, ("a", 1))
    Claim.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    answers = iter([True, False])
    monkeypatch.setattr(process_clock, "go_on", lambda: next(answers))
    job()
    is_expired = Claim.objects.filter(owner="").count()
    is_counted = Incubator.objects.filter(counted_to__gt=0).count()
    assert is_expired + is_counted == 1


# -- whose it is ----------------------------------------------------------------------------------


def test_a_namespace_is_the_machines_that_was_first(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.find("shared")
    look_up = store.look_up

    def look_up_early(*given: Any) -> Any:
        found = look_up(*given)
        monkeypatch.undo()
        store.find("shared", "one")
        return found

    monkeypatch.setattr(store, "look_up", look_up_early)
    with pytest.raises(Refusal) as refused:
        store.find("shared", "two")
    assert refused.value.code is Code.CONFLICT
    assert Incubator.objects.get(room__key="shared").machine == "one"


# -- metrics --------------------------------------------------------------------------------------


def test_what_agents_say_that_they_used_is_counted_once(room: int) -> None:
    published(room, ("telemetry.llm", {"tokens": 10, "cost": 0.25}), ("a", 1), ("a", 2))
    for _ in range(2):
        counted = metrics.snapshot(room)
        assert (counted["totalTokens"], counted["totalCost"]) == (10, 0.25)
        assert counted["eventCounts"] == {"telemetry.llm": 1, "a": 2}
    clock.keep()
    published(room, ("telemetry.llm", {"tokens": 1, "cost": 0.5}))
    assert metrics.snapshot(room)["totalTokens"] == 11
    assert metrics.snapshot(room)["totalCost"] == 0.75


@pytest.mark.parametrize("number", [-5, 1e300, 10**40, True, "7", None, [1]])
def test_what_nobody_can_have_used_is_not_counted(room: int, number: Any) -> None:
    data = {"tokens": number, "cost": number}
    log.append(
        room, [NewEvent("event", telemetry(data)), NewEvent("event", telemetry({"tokens": 3}))]
    )
    assert metrics.snapshot(room)["totalTokens"] == 3
    assert metrics.snapshot(room)["totalCost"] == 0


def telemetry(data: Any) -> str:
    return json.dumps({"event_type": "telemetry.x", "data": data, "agent_id": "a"})


def test_more_than_the_account_has_digits_for_is_not_reached_by_words(room: int) -> None:
    published(room, *[("telemetry.x", {"cost": 9e8, "tokens": 2**31 - 1})] * 12)
    assert metrics.snapshot(room)["totalCost"] == 1e9
    assert metrics.snapshot(room)["totalTokens"] == 12 * (2**31 - 1)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_a_log_is_counted_to_its_end_whatever_is_read_at_once(
    room: int, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    published(room, *[("a", n) for n in range(12)])
    RoomEvent.objects.filter(room=room, offset__lte=5).delete()
    Room.objects.filter(pk=room).update(floor=5)
    metrics.keep(room)
    assert metrics.snapshot(room)["eventCounts"] == {"a": 7}
    published(room, ("b", 1), ("b", 2))
    assert metrics.snapshot(room)["eventCounts"] == {"a": 7, "b": 2}


@plans.on_postgresql
def test_a_part_of_a_count_costs_no_more_than_that_part_whatever_the_plan(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CHUNK", 3)
    published(room, *[("a", n) for n in range(12)])
    with plans.without_ordered_indexes() as most_rows:
        assert metrics.snapshot(room)["eventCounts"] == {"a": 12}
        assert most_rows() == 3


def test_what_is_trimmed_was_counted(room: int, settings: Any) -> None:
    settings.MASHIN_SURFACES = {**settings.MASHIN_SURFACES, "ROOMS": {"incubator": {"COUNT": 2}}}
    published(room, *[("a", n) for n in range(10)])
    assert retention.trim("incubator").events == 8
    published(room, ("b", 1))
    assert metrics.snapshot(room)["eventCounts"] == {"a": 10, "b": 1}
