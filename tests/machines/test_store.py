"""Machines in the database: revisions, doors, and who has a path."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction

from mashin_surfaces.admin.surfaces import save_overrides
from mashin_surfaces.exceptions import DefinitionError
from mashin_surfaces.machines.definition import MachineDefinition
from mashin_surfaces.machines.models import Epoch, Machine, MachineRevision, Surface
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.renderer import render
from mashin_surfaces.machines.store import (
    Stored,
    delete_machine,
    save_machine,
    set_enabled,
    touch_epoch,
)
from tests.timers.workers import until, waiting_for_locks

pytestmark = pytest.mark.django_db


def source(name: str = "shop", title: str = "Shop", *surfaces: str) -> str:
    lines = [f'machine {name} "{title}"', "  implements", "    compute a {b: 1}"]
    if surfaces:
        lines += ["  expresses", *(f"    {surface}" for surface in surfaces)]
    return "\n".join(lines)


def definition(*args: str) -> MachineDefinition:
    return parse(source(*args)).definition


def epoch() -> int:
    return Epoch.objects.filter(name="definitions").values_list("number", flat=True).first() or 0


def test_a_machine_is_created_then_left_alone_then_updated() -> None:
    text = source()
    first = save_machine(parse(text).definition, text)
    assert (first.status, first.machine.revision, first.machine.title) == ("created", 1, "Shop")
    number = epoch()
    second = save_machine(parse(text).definition, text)
    assert (second.status, second.machine.revision) == ("unchanged", 1)
    assert epoch() == number
    third = save_machine(definition("shop", "The shop"))
    assert (third.status, third.machine.revision, third.machine.title) == ("updated", 2, "The shop")
    assert epoch() > number
    assert Machine.objects.count() == 1


def test_every_revision_is_kept_with_who_made_it() -> None:
    user = get_user_model().objects.create_user("ada")
    save_machine(definition("shop", "One"), user=user)
    save_machine(definition("shop", "Two"))
    rows = MachineRevision.objects.order_by("revision")
    assert [(row.revision, row.definition["title"], row.created_by) for row in rows] == [
        (1, "One", user),
        (2, "Two", None),
    ]


def test_a_source_is_kept_as_it_was_written_and_rendered_when_there_is_none() -> None:
    text = "// mine\n" + source()
    assert save_machine(parse(text).definition, text).machine.source == text
    assert save_machine(definition()).machine.source == render(definition())


def test_a_definition_is_read_back_from_its_row() -> None:
    save_machine(definition("shop", "Shop", 'api path: "/shop"'))
    assert Machine.objects.get().parsed() == definition("shop", "Shop", 'api path: "/shop"')


def test_doors_that_stay_keep_what_an_operator_set() -> None:
    save_machine(
        definition("shop", "Shop", 'api path: "/a"', 'websocket path: "/w" idle_timeout: 5')
    )
    Surface.objects.filter(path="/a").update(auth_override="jwt", enabled=False)
    before = Surface.objects.get(path="/a").pk
    save_machine(definition("shop", "Shop", 'api path: "/a" method: "GET"', 'page path: "/p"'))
    rows = {row.path: row for row in Surface.objects.all()}
    assert set(rows) == {"/a", "/p"}
    kept = rows["/a"]
    assert (kept.pk, kept.auth_override, kept.enabled) == (before, "jwt", False)
    assert kept.options == {"method": "GET"}
    assert (rows["/p"].kind, rows["/p"].protocol) == ("page", "http")


def test_a_door_may_become_another_kind_on_its_path() -> None:
    save_machine(definition("shop", "Shop", 'api path: "/a"'))
    save_machine(definition("shop", "Shop", 'page path: "/a"'))
    assert [(row.kind, row.path) for row in Surface.objects.all()] == [("page", "/a")]


def test_two_machines_cannot_have_one_path_over_one_protocol() -> None:
    save_machine(definition("shop", "Shop", 'api path: "/a"'))
    save_machine(definition("chat", "Chat", 'websocket path: "/a"'))
    with pytest.raises(DefinitionError) as refused:
        save_machine(definition("other", "Other", 'page path: "/a"'))
    [problem] = refused.value.problems
    assert str(problem) == (
        'expresses.0.path: The machine "shop" has the path /a already (http); '
        "give one of them another path."
    )
    assert not Machine.objects.filter(name="other").exists()


def test_a_path_that_the_project_serves_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"The project serves /admin/ itself \(admin:index\)"):
        save_machine(definition("shop", "Shop", 'api path: "/admin/"'))


def test_a_machine_goes_with_its_doors() -> None:
    stored: Stored = save_machine(definition("shop", "Shop", 'api path: "/a"'))
    number = epoch()
    delete_machine(stored.machine)
    assert not Machine.objects.exists()
    assert not Surface.objects.exists()
    assert epoch() > number


def test_a_machine_is_disabled_and_enabled() -> None:
    machine = save_machine(definition()).machine
    for enabled in (False, True):
        number = epoch()
        set_enabled(machine, enabled)
        assert Machine.objects.get().enabled is enabled
        assert epoch() > number


def test_who_was_overtaken_does_not_save_over_it() -> None:
    machine = save_machine(definition("shop", "One")).machine
    save_machine(definition("shop", "Theirs"), begun_at=1)
    with pytest.raises(DefinitionError, match="Somebody saved another revision meanwhile"):
        save_machine(definition("shop", "Mine"), begun_at=1)
    machine.refresh_from_db()
    assert (machine.revision, machine.title) == (2, "Theirs")
    delete_machine(machine)
    with pytest.raises(DefinitionError):
        save_machine(definition("shop", "Mine"), begun_at=2)
    assert not Machine.objects.exists()


def close(machine: Machine) -> None:
    set_enabled(machine, False)


def close_its_door(machine: Machine) -> None:
    surface = machine.surfaces.get()
    surface.enabled = False
    assert save_overrides(surface, ["enabled"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for everything")
@pytest.mark.parametrize("click", [close, delete_machine, close_its_door])
def test_an_operator_waits_for_a_load_of_many_machines(click: Callable[[Machine], None]) -> None:
    """Whoever writes locks in one order, or the two would wait for each other."""
    save_machine(definition("first", "One", 'api path: "/first"'))
    machine = save_machine(definition("second", "One", 'api path: "/second"')).machine

    def operate() -> None:
        try:
            click(machine)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as operator:
        with transaction.atomic():
            save_machine(definition("first", "Two", 'api path: "/first"'))
            clicked = operator.submit(operate)
            until(waiting_for_locks)
            save_machine(definition("second", "Two", 'api path: "/second" rate: "5/s"'))
        clicked.result()


def test_an_epoch_can_be_moved_by_others() -> None:
    touch_epoch("credentials")
    touch_epoch("credentials")
    assert Epoch.objects.get(name="credentials").number == 2
