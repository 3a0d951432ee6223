"""What each revision changed, and the way back."""

from __future__ import annotations

import pytest
from django.test import Client

from mashin_surfaces.admin.revisions import difference
from mashin_surfaces.models import Machine, MachineRevision

from .conftest import ECHO, LogIn, load
from .test_machines import text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def pages(echo: Machine) -> str:
    """The address of the revisions of a machine that has two."""
    load(ECHO.replace('"Echo"', '"Louder"'))
    return f"/admin/mashin_surfaces/machine/{echo.pk}/revisions/"


def test_revisions_are_listed_newest_first(admin: Client, pages: str) -> None:
    text = text_of(admin.get(pages))
    assert text.index("Revision 2") < text.index("Revision 1")


def test_a_revision_shows_what_it_changed(admin: Client, pages: str) -> None:
    page = admin.get(f"{pages}2/")
    kinds = {line.text: line.kind for line in page.context["lines"]}
    assert kinds['-machine echo "Echo"'] == "removed"
    assert kinds['+machine echo "Louder"'] == "added"
    assert "mashin-added" in page.content.decode()
    assert admin.get(f"{pages}1/").context["lines"] == []


def test_lines_that_look_like_a_header_of_a_diff_are_lines() -> None:
    lines = difference("a\n-- b", "a\n++ b")
    assert [(line.kind, line.text) for line in lines[1:]] == [
        ("same", " a"), ("removed", "--- b"), ("added", "+++ b"),
    ]  # fmt: skip


def test_an_old_revision_comes_back_as_a_new_one(admin: Client, pages: str, echo: Machine) -> None:
    assert "Restore" in text_of(admin.get(f"{pages}1/")) or "Restore" in str(
        admin.get(f"{pages}1/").content
    )
    answer = admin.post(f"{pages}1/restore/", follow=True)
    assert "Revision 1 was restored as revision 3." in text_of(answer)
    echo.refresh_from_db()
    assert (echo.revision, echo.source, echo.title) == (3, ECHO, "Echo")
    assert echo.revisions.count() == 3


def test_a_revision_that_was_stored_without_a_source_comes_back(
    admin: Client, pages: str, echo: Machine
) -> None:
    MachineRevision.objects.update(source="")
    admin.post(f"{pages}1/restore/")
    echo.refresh_from_db()
    assert (echo.revision, echo.title) == (3, "Echo")


def test_a_revision_that_is_no_good_any_more_stays_where_it_is(
    admin: Client, pages: str, echo: Machine
) -> None:
    broken = ECHO.replace("compute echo\n      {text: input.text}", 'ask echo, from: "gone.effect"')
    MachineRevision.objects.filter(revision=1).update(source=broken)
    text = text_of(admin.post(f"{pages}1/restore/", follow=True))
    assert "Revision 1 can't be restored" in text
    assert "gone.effect" in text
    echo.refresh_from_db()
    assert echo.revision == 2


def test_looking_does_not_restore(admin: Client, pages: str) -> None:
    assert admin.get(f"{pages}1/restore/").status_code == 405


def test_who_may_only_look_restores_nothing(staff: LogIn, pages: str, echo: Machine) -> None:
    client = staff("view_machine")
    page = client.get(f"{pages}1/")
    assert page.status_code == 200
    assert "/restore/" not in page.content.decode()
    assert client.post(f"{pages}1/restore/").status_code == 403
    echo.refresh_from_db()
    assert echo.revision == 2


def test_without_a_permission_there_are_no_revisions(staff: LogIn, pages: str) -> None:
    client = staff("view_surface")
    assert client.get(pages).status_code == 403
    assert client.get(f"{pages}1/").status_code == 403


@pytest.mark.parametrize("address", ["9/", "../../999/revisions/", "../../x/revisions/1/"])
def test_what_is_not_there_is_not_found(admin: Client, pages: str, address: str) -> None:
    parts = pages + address
    while "/../" in parts:
        before, after = parts.split("/../", 1)
        parts = f"{before.rsplit('/', 1)[0]}/{after}"
    assert admin.get(parts).status_code == 404
