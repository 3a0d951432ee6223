"""Machines in the admin: source in, machine out, or problems at their places."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, connections
from django.test import Client
from django.urls import reverse

from mashin_surfaces.admin import machines
from mashin_surfaces.machines.store import Stored, save_machine
from mashin_surfaces.models import Epoch, Machine, Surface

from .conftest import ECHO, LogIn, load

pytestmark = pytest.mark.django_db

ADD = "/admin/mashin_surfaces/machine/add/"
LIST = "/admin/mashin_surfaces/machine/"
NO_INLINE = {"surfaces-TOTAL_FORMS": "0", "surfaces-INITIAL_FORMS": "0"}


def change(machine: Machine) -> str:
    return reverse("admin:mashin_surfaces_machine_change", args=(machine.pk,))


def fields_of(page: Any) -> dict[str, str]:
    """What the browser would post of a machine's page, when nobody touched it."""
    posted: dict[str, str] = {}
    forms = [page.context["adminform"].form]
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            if value is True:
                posted[bound.html_name] = "on"
            elif value not in {None, False}:
                posted[bound.html_name] = str(value).replace("\n", "\r\n")
    return posted


def text_of(page: Any) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.content.decode()))


def epoch() -> int:
    return Epoch.objects.get(name="definitions").number


# -- adding ---------------------------------------------------------------------------------------


def test_a_good_source_makes_a_machine_with_its_surfaces_and_a_revision(admin: Client) -> None:
    answer = admin.post(ADD, {"source": ECHO.replace("\n", "\r\n"), "enabled": "on"})
    assert answer.status_code == 302
    machine = Machine.objects.get()
    assert (machine.name, machine.title, machine.revision) == ("echo", "Echo", 1)
    assert machine.source == ECHO  # with the line ends of files, not of forms
    assert machine.enabled
    assert set(machine.surfaces.values_list("path", flat=True)) == {
        "/ws/echo", "/api/echo", "/echo",
    }  # fmt: skip
    revision = machine.revisions.get()
    assert revision.created_by is not None
    assert revision.created_by.get_username() == "root"
    assert LogEntry.objects.get().object_id == str(machine.pk)


def test_a_machine_can_be_added_closed(admin: Client) -> None:
    admin.post(ADD, {"source": ECHO})
    assert not Machine.objects.get().enabled


def test_every_problem_is_told_with_its_line_and_column_and_a_caret(admin: Client) -> None:
    source = ECHO.replace("    text as text, is required\n  resp", "    text as txt\n  resp")
    source = source.replace('"20/s burst 40"', '"often"')
    page = admin.post(ADD, {"source": source})
    assert page.status_code == 200
    assert not Machine.objects.exists()
    text = text_of(page)
    assert re.search(r"line 3, column \d+: ", text)
    assert re.search(r"line 12, column \d+: .*often.* is no rate", text)
    quote = re.search(r"( *)text as (txt)\n( *)\^", text)
    assert quote is not None
    assert len(quote[3]) >= len(quote[1])  # the caret stands below the line's text
    assert 'data-line="3"' in page.content.decode()
    assert "text as txt" in page.context["adminform"].form["source"].value()  # nothing is lost


def test_html_in_a_source_is_shown_as_text(admin: Client) -> None:
    page = admin.post(ADD, {"source": "machine <script>alert(1)</script>"}).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_an_empty_source_is_no_machine(admin: Client) -> None:
    page = admin.post(ADD, {"source": "  \r\n"})
    assert page.status_code == 200
    assert "expected" in text_of(page)


def test_a_name_that_is_taken_is_told(admin: Client, echo: Machine) -> None:
    source = ECHO.replace("/ws/echo", "/a").replace("/api/echo", "/b").replace('"/echo"', '"/c"')
    page = admin.post(ADD, {"source": source})
    assert 'line 1, column 9: There is a machine "echo" already' in text_of(page)
    echo.refresh_from_db()
    assert echo.revision == 1


@pytest.mark.usefixtures("echo")
def test_a_path_that_is_taken_is_told_at_its_place(admin: Client) -> None:
    other = ECHO.replace("machine echo", "machine other").replace('"/echo"', '"/other"')
    text = text_of(admin.post(ADD, {"source": other.replace("/api/echo", "/admin/")}))
    assert 'line 11, column 13: The machine "echo" has the path /ws/echo already' in text
    assert "line 14, column 13: The project serves /admin/ itself" in text
    assert Machine.objects.count() == 1


def test_an_unknown_effect_is_told(admin: Client) -> None:
    source = ECHO.replace("compute echo\n      {text: input.text}", 'ask echo, from: "no.such"')
    assert "no.such" in text_of(admin.post(ADD, {"source": source}))
    assert not Machine.objects.exists()


def test_warnings_are_told_and_do_not_stop_a_save(admin: Client) -> None:
    source = 'machine quiet\n  expresses\n    page\n      path: "/quiet"\n'
    text = text_of(admin.post(ADD, {"source": source, "enabled": "on"}, follow=True))
    assert Machine.objects.get().name == "quiet"
    assert 'The machine "quiet" has no implements' in text


# -- changing -------------------------------------------------------------------------------------


def test_saving_a_page_untouched_changes_nothing(admin: Client, echo: Machine) -> None:
    before = epoch()
    page = admin.get(change(echo))
    assert admin.post(change(echo), fields_of(page)).status_code == 302
    echo.refresh_from_db()
    assert (echo.revision, echo.source, echo.enabled, epoch()) == (1, ECHO, True, before)


def test_a_changed_source_is_the_next_revision(admin: Client, echo: Machine) -> None:
    posted = fields_of(admin.get(change(echo)))
    posted["source"] = posted["source"].replace('"Echo"', '"Louder"')
    assert admin.post(change(echo), posted).status_code == 302
    echo.refresh_from_db()
    assert (echo.revision, echo.title) == (2, "Louder")
    assert echo.revisions.count() == 2


def test_a_machine_keeps_its_name(admin: Client, echo: Machine) -> None:
    posted = fields_of(admin.get(change(echo)))
    posted["source"] = posted["source"].replace("machine echo", "machine other")
    text = text_of(admin.post(change(echo), posted))
    assert 'line 1, column 9: This is the machine "echo", and the source says "other".' in text
    assert Machine.objects.get().name == "echo"


def test_a_machine_can_be_closed_without_a_new_revision(admin: Client, echo: Machine) -> None:
    before = epoch()
    posted = fields_of(admin.get(change(echo)))
    del posted["enabled"]
    admin.post(change(echo), posted)
    echo.refresh_from_db()
    assert (echo.enabled, echo.revision) == (False, 1)
    assert epoch() > before


def test_who_was_overtaken_by_another_is_told(admin: Client, echo: Machine) -> None:
    posted = fields_of(admin.get(change(echo)))
    load(ECHO.replace('"Echo"', '"Theirs"'))
    posted["source"] = posted["source"].replace('"Echo"', '"Mine"')
    assert "somebody saved revision 2" in text_of(admin.post(change(echo), posted))
    echo.refresh_from_db()
    assert echo.title == "Theirs"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for everything")
def test_who_is_overtaken_in_the_moment_of_saving_is_told(
    admin: Client, echo: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtake() -> None:
        try:
            load(ECHO.replace('"Echo"', '"Theirs"'))
        finally:
            connections.close_all()

    def save(*args: Any, **options: Any) -> Stored:
        with ThreadPoolExecutor(1) as other:  # between the check and the lock
            other.submit(overtake).result()
        return save_machine(*args, **options)

    posted = fields_of(admin.get(change(echo)))
    posted["source"] = posted["source"].replace('"Echo"', '"Mine"')
    monkeypatch.setattr(machines, "save_machine", save)
    assert "somebody saved revision 2" in text_of(admin.post(change(echo), posted))
    echo.refresh_from_db()
    assert echo.title == "Theirs"


def test_a_machine_without_a_source_shows_a_rendered_one(admin: Client, echo: Machine) -> None:
    Machine.objects.update(source="")
    page = admin.get(change(echo))
    assert 'machine echo "Echo"' in page.context["adminform"].form["source"].value()
    admin.post(change(echo), fields_of(page))
    echo.refresh_from_db()
    assert echo.revision == 1  # looked at, and saved as it was


def test_a_damaged_row_can_be_looked_at_and_mended(admin: Client, echo: Machine) -> None:
    Machine.objects.update(source="", definition={"name": "echo", "no": "such"})
    page = admin.get(change(echo))
    assert page.status_code == 200
    posted = fields_of(page) | {"source": ECHO}
    assert admin.post(change(echo), posted).status_code == 302
    echo.refresh_from_db()
    assert echo.parsed().title == "Echo"


def test_the_definition_is_shown_as_json(admin: Client, echo: Machine) -> None:
    assert '"name": "echo"' in text_of(admin.get(change(echo)))


def test_live_surfaces_are_linked_and_closed_ones_are_not(admin: Client, echo: Machine) -> None:
    Surface.objects.filter(path="/api/echo").update(enabled=False)
    for address in (change(echo), LIST):
        page = admin.get(address).content.decode()
        assert 'href="/echo"' in page
        assert 'href="/ws/echo"' in page
        assert 'href="/api/echo"' not in page
    Machine.objects.update(enabled=False)
    assert 'href="/echo"' not in admin.get(LIST).content.decode()


def test_assumed_model_answers_are_said(admin: Client, settings: Any, echo: Machine) -> None:
    model = load(
        """
machine judge
  ensures
    permissions
      allowed to
        reason
  implements
    ask verdict, using: "anthropic:x"
      with task "?"
      returns
        verdict as text
      assuming
        verdict: "yes"
"""
    )
    assert "Model answers are assumed" not in text_of(admin.get(change(model)))
    settings.MASHIN_SURFACES = {"ASK": "assume"}
    assert "Model answers are assumed" in text_of(admin.get(change(model)))
    assert "Model answers are assumed" not in text_of(admin.get(change(echo)))


# -- overrides ------------------------------------------------------------------------------------


def override(admin: Client, machine: Machine, path: str, **values: str) -> Any:
    """Post overrides of the surface at ``path``."""
    page = admin.get(change(machine))
    posted = fields_of(page)
    formset = page.context["inline_admin_formsets"][0].formset
    form = next(form for form in formset.forms if form.instance.path == path)
    posted |= {form.add_prefix(name): value for name, value in values.items()}
    return admin.post(change(machine), posted)


def test_overrides_are_kept_and_move_the_epoch(admin: Client, echo: Machine) -> None:
    before = epoch()
    answer = override(
        admin, echo, "/ws/echo",
        auth_override=" jwt,,api_key ", rate_override="5/m", idle_timeout_override="12.5",
    )  # fmt: skip
    assert answer.status_code == 302
    surface = Surface.objects.get(path="/ws/echo")
    assert surface.effective_options() == {
        "auth": ["jwt", "api_key"], "rate": "5/m", "idle_timeout": 12.5,
    }  # fmt: skip
    assert epoch() > before
    echo.refresh_from_db()
    assert echo.revision == 1


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("auth_override", "jwt, password", '"password"'),
        ("auth_override", "jwt, jwt", "twice"),
        ("scopes_override", "run it", '"run it" is no scope'),
        ("rate_override", "often", "is no rate"),
        ("idle_timeout_override", "-1", "more than 0"),
        ("dialect_override", "klingon", '"klingon"'),
    ],
)
def test_overrides_keep_the_rules_of_the_source(
    admin: Client, echo: Machine, field: str, value: str, told: str
) -> None:
    page = override(admin, echo, "/ws/echo", **{field: value})
    assert page.status_code == 200
    assert told in text_of(page)
    assert getattr(Surface.objects.get(path="/ws/echo"), field) in {"", None}


def test_what_only_websockets_have_is_not_taken_by_others(admin: Client, echo: Machine) -> None:
    override(admin, echo, "/echo", idle_timeout_override="5", dialect_override="machine")
    surface = Surface.objects.get(path="/echo")
    assert (surface.idle_timeout_override, surface.dialect_override) == (None, "")


def test_an_override_of_a_surface_that_the_same_save_removes_is_told(
    admin: Client, echo: Machine
) -> None:
    page = admin.get(change(echo))
    posted = fields_of(page)
    formset = page.context["inline_admin_formsets"][0].formset
    form = next(form for form in formset.forms if form.instance.path == "/echo")
    posted[form.add_prefix("rate_override")] = "1/s"
    posted["source"] = posted["source"].replace('"/echo"', '"/new"')
    answer = admin.post(change(echo), posted, follow=True)
    assert "The surface page /echo is gone" in text_of(answer)
    assert set(echo.surfaces.values_list("path", flat=True)) == {"/ws/echo", "/api/echo", "/new"}


# -- the list, and who may what -------------------------------------------------------------------


def test_machines_are_closed_and_opened_in_the_list(admin: Client, echo: Machine) -> None:
    before = epoch()
    for action, wanted in (("disable", False), ("enable", True)):
        admin.post(LIST, {"action": action, "_selected_action": [echo.pk]})
        echo.refresh_from_db()
        assert echo.enabled is wanted
    assert epoch() == before + 2


def test_a_deleted_machine_takes_its_surfaces_and_moves_the_epoch(
    admin: Client, echo: Machine
) -> None:
    before = epoch()
    answer = admin.post(f"{LIST}{echo.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 302
    assert not Surface.objects.exists()
    assert epoch() > before
    load()
    answer = admin.post(
        LIST, {"action": "delete_selected", "_selected_action": [Machine.objects.get().pk],
               "post": "yes"},
    )  # fmt: skip
    assert answer.status_code == 302
    assert not Machine.objects.exists()


def test_who_may_only_look_sees_the_source_and_changes_nothing(staff: LogIn, echo: Machine) -> None:
    client = staff("view_machine")
    page = client.get(change(echo))
    assert 'machine echo "Echo"' in text_of(page)
    assert "<textarea" not in page.content.decode()
    assert page.context["inline_admin_formsets"] == []  # surfaces are another permission
    assert client.post(change(echo), {"source": "", **NO_INLINE}).status_code == 403
    assert client.get(ADD).status_code == 403
    client.post(LIST, {"action": "disable", "_selected_action": [echo.pk]})
    echo.refresh_from_db()
    assert echo.enabled


def test_without_a_permission_there_is_nothing(staff: LogIn, echo: Machine) -> None:
    client = staff()
    assert client.get(LIST).status_code == 403
    assert client.get(change(echo)).status_code == 403


def test_the_list_takes_as_many_queries_for_many_machines_as_for_one(
    admin: Client, echo: Machine, django_assert_max_num_queries: Any
) -> None:
    machines = Machine.objects.bulk_create(
        Machine(name=f"m{number}", definition={"name": f"m{number}"}) for number in range(499)
    )
    Surface.objects.bulk_create(
        Surface(machine=machine, kind="page", protocol="http", path=f"/p/{machine.name}")
        for machine in machines
    )
    # Session, user, count, full count, rows, surfaces.
    with django_assert_max_num_queries(6):
        assert admin.get(LIST).status_code == 200
