"""Incubators in the admin: looked at, stopped, let go on, reset, all in a person's name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from mashin_surfaces import tool
from mashin_surfaces.admin import incubator_log, incubator_page
from mashin_surfaces.dialects.incubator import Control
from mashin_surfaces.exceptions import Recorded
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import anonymous
from mashin_surfaces.incubators import bus, commands, store
from mashin_surfaces.incubators.models import Agent, Claim, Incubator, RunningCall, StateEntry
from mashin_surfaces.ledger.sink import sink
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.models import ServerProcess, SurfaceAccess
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.appending import Append

from .conftest import LogIn, load
from .test_machines import text_of
from .test_rooms import enter

pytestmark = pytest.mark.django_db(transaction=True)  # what is done is written by a thread apart

LIST = "/admin/mashin_surfaces/incubator/"

HIVE = """\
machine hive
  ensures
    limits
      max_cost: 2
      max_tokens: 1000
      warn_at: 0.5
  tools
    count from "admin.count"
  expresses
    websocket
      path: "/ws"
      dialect: incubator
"""


@tool("admin.count")
def count(ctx: Any) -> None:
    """Does nothing."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Neither machines nor a ledger's lane of another test."""
    registry.forget()
    sink.settle(committed=False)
    yield
    registry.forget()


def make(namespace: str = "default", machine: str = "") -> Incubator:
    return store.find(namespace, machine)


def write(incubator: Incubator, agent: str, do: Any) -> None:
    """One change of the namespace, as an agent makes it."""
    writer = bus.Writer(incubator.pk, agent)
    log.put(Append(incubator.pk, writer.events, also=lambda: do(writer)))


def publish(incubator: Incubator, agent: str, *types: str) -> None:
    def do(writer: bus.Writer) -> None:
        for type in types:
            writer.publish(type, {"of": agent})

    write(incubator, agent, do)


def reserve(incubator: Incubator, cost: Decimal) -> None:
    """A call that runs in a process that lives (``enter`` has made it)."""
    RunningCall.objects.create(
        room=incubator.room, principal="ada", call_id="c", process=ServerProcess.objects.get(),
        cost=cost, until=timezone.now() + timedelta(minutes=1),
    )  # fmt: skip


def page_of(incubator: Incubator) -> str:
    return f"{LIST}{incubator.pk}/change/"


def look(client: Client, incubator: Incubator, **query: str) -> Any:
    page = client.get(page_of(incubator), query)
    assert page.status_code == 200
    return page


def do(client: Client, incubator: Incubator, verb: str, **posted: object) -> Any:
    return client.post(f"{LIST}{incubator.pk}/{verb}/", posted, follow=True)


def status_of(incubator: Incubator) -> str:
    return store.known(incubator.room.key).room.status


def entries(page: Any) -> list[str]:
    """The types of the log's entries that a page shows."""
    return [entry.type for entry in page.context["log"].entries]


def recorded() -> list[tuple[str, str, str, str]]:
    """Who did what in the ledger, and how it ended."""
    rows = SurfaceAccess.objects.order_by("seq")
    return list(rows.values_list("principal", "surface", "event", "outcome"))


# -- the list -------------------------------------------------------------------------------------


def test_the_list_says_how_namespaces_are(admin: Client) -> None:
    load(HIVE)
    busy, quiet = make("busy", "hive"), make("quiet")
    publish(busy, "ada", "task.done")
    enter(busy.room, "ada", "bob")
    store.seen(busy.pk, "ada", "worker", "ada")
    Incubator.objects.filter(pk=busy.pk).update(cost=Decimal("1.5"), tokens=10)
    write(quiet, "root", lambda writer: writer.control(Control("halt", "enough"), by="root"))
    page = admin.get(LIST)
    first, second = page.context["cl"].result_list
    assert (first.room.key, first.members_now, first.agents_seen) == ("busy", 2, 1)
    assert (second.room.key, second.members_now, second.agents_seen) == ("quiet", 0, 0)
    html = page.content.decode()
    assert '<span class="mashin-badge mashin-good">open</span>' in html
    assert '<span class="mashin-badge mashin-bad">halted</span>' in html
    assert 'aria-label="Cost: $1.50 of $2.00"' in html
    assert '<rect class="mashin-fill-warn" width="75.00%"' in html
    assert 'aria-label="Tokens: 10 of 1,000"' in html


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, settings: Any, django_assert_max_num_queries: Any
) -> None:
    settings.MASHIN_SURFACES = {"WATCH_INTERVAL": 60.0}  # however slow the page, it looks once
    for number in range(40):
        publish(make(f"ns{number}"), "ada", "task.done")
    registry.refresh()
    # Session, user, machines of the filter, the capped count, namespaces, members, last events,
    # agents, and whether definitions have changed.
    with django_assert_max_num_queries(9):
        assert admin.get(LIST).status_code == 200


def test_namespaces_are_found_by_status_machine_and_the_beginning_of_a_name(admin: Client) -> None:
    load(HIVE)
    write(make("one"), "", lambda writer: writer.control(Control("pause", ""), by="root"))
    make("oners")
    make("two", "hive")

    def shown(**query: str) -> set[str]:
        return {each.room.key for each in admin.get(LIST, query).context["cl"].result_list}

    assert shown() == {"one", "oners", "two"}
    assert shown(q="one") == {"one", "oners"}
    assert shown(q="hive") == shown(machine="hive") == {"two"}
    assert shown(status="paused") == {"one"}
    assert shown(q="ners") == set()


# -- the page -------------------------------------------------------------------------------------


def test_the_page_shows_all_that_a_namespace_is(admin: Client) -> None:
    machine = load(HIVE)
    hive = make("default", "hive")

    def work(writer: bus.Writer) -> None:
        writer.set_state("plan", {"deep": ["<b>"]})
        writer.set_state("plan", {"deep": ["<i>"]})
        writer.claim("file.txt", 60_000)
        writer.publish("telemetry.usage", {"tokens": 600, "cost": 0.25})

    write(hive, "ada", work)
    Incubator.objects.filter(pk=hive.pk).update(cost=Decimal("0.5"), tokens=600)
    enter(hive.room, "ada")
    reserve(hive, Decimal("0.25"))
    store.seen(hive.pk, "ada", "worker", "ada@example")
    Agent.objects.create(
        room=hive.room, name="old", principal="old", seen_at=timezone.now() - timedelta(hours=1)
    )
    page = look(admin, hive)
    text, html = text_of(page), page.content.decode()
    for each in (
        "version 2, by ada", "<i>", "file.txt", "worker", "connected", "away", "admin.count",
        "Cost: $0.50 of $2.00", "warns at $1.00", "Tokens: 600 of 1,000",
        "$0.25 reserved for what runs", "$0.75",
        "telemetry.usage", "claim_changed",
    ):  # fmt: skip
        assert each in text, each
    assert "<i>" not in html.partition("State</h2>")[2].partition("</section>")[0]
    assert f"/admin/mashin_surfaces/machine/{machine.pk}/change/" in html
    assert '<rect class="mashin-fill-warn" width="60.00%"' in html
    assert '<rect class="mashin-fill-reserved" x="25.00%" width="12.50%"' in html


def test_the_page_of_an_empty_namespace_says_so(admin: Client) -> None:
    text = text_of(look(admin, make()))
    for said in (
        "Its machine sets no budget", "Nothing is claimed.", "No agent was seen",
        "The state is empty.", "It has no tools.", "Nothing is kept of it.",
    ):  # fmt: skip
        assert said in text, said


def test_a_big_state_is_turned_page_by_page(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incubator_page, "MOST_KEYS", 3)
    hive = make()
    now = timezone.now()
    StateEntry.objects.bulk_create(
        StateEntry(room=hive.room, key=f"k{n}", value=n, set_by="ada", updated_at=now)
        for n in range(5)
    )
    first = look(admin, hive)
    assert first.context["state"].more == "key=k2"
    assert "k2" in text_of(first)
    assert "k3" not in text_of(first)
    second = look(admin, hive, key="k2")
    assert "k4" in text_of(second)
    assert second.context["state"].more == ""


def test_the_log_is_filtered_by_type_agent_and_offset(admin: Client) -> None:
    hive = make()
    publish(hive, "ada", "task.done", "task.failed", "note")
    publish(hive, "bob", "task.done")
    write(hive, "bob", lambda writer: writer.set_state("a", 1))
    everything = ["state_changed", "task.done", "note", "task.failed", "task.done"]
    assert entries(look(admin, hive)) == everything
    assert entries(look(admin, hive, type="task.*")) == ["task.done", "task.failed", "task.done"]
    assert entries(look(admin, hive, type="state_changed")) == ["state_changed"]
    assert entries(look(admin, hive, agent="bob")) == ["state_changed", "task.done"]
    assert entries(look(admin, hive, agent="bob", type="task.*")) == ["task.done"]
    assert entries(look(admin, hive, since="3")) == ["state_changed", "task.done"]
    assert entries(look(admin, hive, since="no number", before="-1")) == everything
    nothing = look(admin, hive, type="other")
    assert entries(nothing) == []
    assert "Nothing that is kept is like that." in text_of(nothing)
    wrong = look(admin, hive, type="two words")
    assert "two words can't be a type" in text_of(wrong)


def test_the_log_is_turned_back_to_its_beginning(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incubator_log, "MOST_ENTRIES", 4)
    hive = make()
    publish(hive, "ada", *(f"e{number}" for number in range(1, 11)))
    found: list[str] = []
    address = page_of(hive)
    while True:
        page = admin.get(address)
        found += entries(page)
        older = page.context["log"].older
        if not older:
            break
        address = f"{page_of(hive)}?{older}"
    assert found == [f"e{number}" for number in range(10, 0, -1)]


def test_so_much_of_a_log_is_looked_through_for_a_page_and_no_more(
    admin: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(incubator_log, "MOST_LOOKED", 40)
    monkeypatch.setattr(incubator_log, "CHUNK", 10)
    hive = make()
    publish(hive, "ada", "rare", *["often"] * 100)
    page = look(admin, hive, type="rare")
    assert "None of the entries from 62 on is like that." in text_of(page)
    again = admin.get(f"{page_of(hive)}?{page.context['log'].older}")
    assert again.context["log"].stopped_at == "22"
    last = admin.get(f"{page_of(hive)}?{again.context['log'].older}")
    assert entries(last) == ["rare"]
    assert last.context["log"].older == ""


# -- what can be done -----------------------------------------------------------------------------


def test_a_namespace_is_stopped_and_goes_on_in_the_name_of_who_asked(staff: LogIn) -> None:
    sam, hive = staff("change_incubator"), make()
    page = do(sam, hive, "control", command="halt", reason="It <burns>.")
    assert "It is halted" in text_of(page)
    assert "It <burns>." in text_of(page)
    assert status_of(hive) == "halted"
    assert store.known("default").stopped_by == "sam"
    (entry,) = log.read(hive.pk, 0)
    assert (entry.type, entry.actor) == ("control", "sam")
    assert [each["command"] for each in page.context["commands"]] == ["resume"]
    page = do(sam, hive, "control", command="resume")
    assert "It goes on." in text_of(page)
    assert [each["command"] for each in page.context["commands"]] == ["pause", "halt"]
    do(sam, hive, "control", command="pause", reason="lunch")
    assert status_of(hive) == "paused"
    assert recorded() == [("sam", "incubator:default", "message", "allowed")] * 3
    assert "It burns" not in LogEntry.objects.last().change_message  # type: ignore[union-attr]
    assert LogEntry.objects.count() == 3


def test_a_claim_is_taken_from_its_owner_as_it_was_shown(admin: Client) -> None:
    hive = make()
    write(hive, "ada", lambda writer: writer.claim("file.txt"))
    claim = Claim.objects.get()
    old = do(admin, hive, "free", resource="file.txt", fence=claim.fence - 1)
    assert "has been claimed again since, by ada" in text_of(old)
    assert Claim.objects.get().owner == "ada"
    page = do(admin, hive, "free", resource="file.txt", fence=claim.fence)
    assert 'The claim of "file.txt" is released.' in text_of(page)
    assert Claim.objects.get().owner == ""
    entry = log.read(hive.pk, 0)[-1]
    assert (entry.type, entry.actor) == ("claim_changed", "root")
    again = do(admin, hive, "free", resource="file.txt", fence=claim.fence)
    assert 'Nobody has claimed "file.txt".' in text_of(again)
    assert [row[3] for row in recorded()] == ["refused", "allowed", "refused"]


def test_a_claim_is_freed_on_a_halted_bus_too(admin: Client) -> None:
    hive = make()
    write(hive, "ada", lambda writer: writer.claim("file.txt"))
    do(admin, hive, "control", command="halt")
    do(admin, hive, "free", resource="file.txt", fence=Claim.objects.get().fence)
    assert Claim.objects.get().owner == ""


def test_a_reset_is_asked_for_once_more_and_then_done(admin: Client) -> None:
    hive = make()
    write(hive, "ada", lambda writer: writer.set_state("a", 1))
    question = do(admin, hive, "reset")
    assert "cleared for good" in text_of(question)
    assert store.state(hive.pk) == {"a": 1}
    page = do(admin, hive, "reset", post="yes")
    assert "It is reset" in text_of(page)
    assert store.state(hive.pk) == {}
    after = store.known("default")
    assert after.room.epoch != hive.room.epoch
    assert after.reset_by == "root"
    assert recorded() == [("root", "incubator:default", "reset", "allowed")]


@pytest.mark.parametrize(
    ("verb", "posted", "told"),
    [
        ("control", {"command": "explode"}, "Command: It is halt, pause or resume."),
        ("control", {"command": "halt", "reason": "x" * 1001}, "at most 1000 characters"),
        ("control", {"command": "halt", "reason": "a\0b"}, "NUL"),
        ("free", {"resource": "x"}, "Say which claim"),
        ("free", {"resource": "", "fence": "1"}, "Say which claim"),
        ("free", {"resource": "x", "fence": "9" * 30}, "Say which claim"),
    ],
)
def test_what_makes_no_sense_is_said_on_the_page(
    admin: Client, verb: str, posted: dict[str, str], told: str
) -> None:
    hive = make()
    assert told in text_of(do(admin, hive, verb, **posted))
    assert status_of(hive) == "open"


def test_who_may_only_look_is_offered_nothing_and_does_nothing(staff: LogIn) -> None:
    client, hive = staff("view_incubator"), make()
    write(hive, "ada", lambda writer: writer.claim("file.txt"))
    assert (
        "<button"
        not in look(client, hive)
        .content.decode()
        .partition("Incubator</h2>")[2]
        .partition("Log</h2>")[0]
    )
    assert do(client, hive, "control", command="halt").status_code == 403
    assert do(client, hive, "free", resource="file.txt", fence=2).status_code == 403
    assert do(client, hive, "reset", post="yes").status_code == 403
    assert status_of(hive) == "open"
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{hive.pk}/delete/", {"post": "yes"}).status_code == 403


def test_control_and_reset_are_two_permissions(staff: LogIn) -> None:
    hive = make()
    controls, resets = staff("change_incubator"), staff("delete_incubator", name="rosa")
    assert "Reset …" not in look(controls, hive).content.decode()
    assert do(controls, hive, "reset", post="yes").status_code == 403
    assert "Halt" not in look(resets, hive).content.decode()
    assert do(resets, hive, "control", command="halt").status_code == 403
    assert do(resets, hive, "reset", post="yes").status_code == 200
    assert store.known("default").reset_by == "rosa"


def test_a_namespace_that_is_gone_is_not_found(admin: Client) -> None:
    hive = make()
    hive.room.delete()
    assert do(admin, hive, "control", command="halt").status_code == 404
    assert admin.get(f"{LIST}{hive.pk}/control/").status_code == 405


def test_what_is_refused_at_the_door_is_recorded() -> None:
    """Without the scope the command itself refuses, whatever page called it."""
    hive, caller = make(), Caller(anonymous(()))

    async def command() -> None:
        with pytest.raises(Recorded, match="bus:control:default"):
            await commands.control(hive, Control("halt", ""), caller)
        with pytest.raises(Recorded, match="bus:reset:default"):
            await commands.reset(hive, caller)

    asyncio.run(command())
    rows = [(event, outcome) for _who, _where, event, outcome in recorded()]
    assert rows == [("message", "refused"), ("reset", "refused")]
