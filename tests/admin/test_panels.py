"""Panels in the admin: looked at, their tools answered and triggered, taken away."""

from __future__ import annotations

import json
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from mashin_surfaces.admin import panels as pages
from mashin_surfaces.admin.markup import json_tree
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.models import Due, Machine, Panel, PanelRequest, Room, Suspension
from mashin_surfaces.panels import store
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.steps.tools import tool

from .conftest import LogIn, load
from .test_machines import text_of
from .test_rooms import enter

pytestmark = pytest.mark.django_db(transaction=True)  # appends are written by a connection apart

LIST = "/admin/mashin_surfaces/panel/"


@tool("admin.add")
def add(ctx: Any, by: int) -> None:
    """A tool that takes a number."""


@tool("admin.say")
def say(ctx: Any, text: str) -> None:
    """A tool that takes a text."""


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server carries out what is triggered here."""
    monkeypatch.setattr(pages, "PATIENCE", 0.0)
    registry.forget()


def make_panel(key: str = "board", events: int = 0, **values: Any) -> Panel:
    tools = [
        {"name": "add", "handler": "admin.add"},
        {"name": "say", "handler": "admin.say"},
        {"name": "tick", "handler": "admin.add", "trigger": {"type": "interval", "ms": 5000}},
    ]
    made = store.create(store.NewPanel(**{"kind": "test", "key": key, "tools": tools} | values))
    if events:
        entries = [NewEvent("EVENT", f'{{"name":"e{n}"}}', "ada") for n in range(events)]
        log.append(made.pk, entries)
    made.room.refresh_from_db()
    return made


def suspend(panel: Panel, tool: str = "add", **values: Any) -> Suspension:
    now = timezone.now()
    given = {
        "id": uuid4().hex, "panel": panel, "tool": tool, "request_id": "r", "principal": "ada",
        "extension": "person", "method": "ask", "call": ["<red> or blue?"], "state": {},
        "deadline": now + timedelta(hours=1), "created_at": now,
    }  # fmt: skip
    return Suspension.objects.create(**given | values)


def page_of(panel: Panel) -> str:
    return f"{LIST}{panel.pk}/change/"


def answer(client: Client, suspension: Suspension, **posted: str) -> Any:
    address = f"{LIST}{suspension.panel_id}/answer/{suspension.pk}/"
    return client.post(address, {"as": "value", **posted}, follow=True)


def trigger(client: Client, panel: Panel, name: str, args: str) -> Any:
    posted = {"tool": name, "args": args}
    return client.post(f"{LIST}{panel.pk}/trigger/", posted, follow=True)


# -- looked at ------------------------------------------------------------------------------------


def test_the_list_says_how_panels_are(admin: Client) -> None:
    enter(make_panel("board", events=3, title="The board").room, "ada", "bob")
    suspend(make_panel("waits"))
    page = admin.get(LIST)
    waits, board = page.context["cl"].result_list
    assert (board.members_now, board.waiting) == (2, 0)
    assert (waits.members_now, waits.waiting) == (0, 1)
    assert waits.last_activity == waits.created_at
    assert board.last_activity > board.created_at
    html = page.content.decode()
    assert '<td class="field-head">3</td>' in html
    assert '<span class="mashin-badge mashin-warn">suspended</span>' in html
    assert '<span class="mashin-badge mashin-good">running</span>' in html


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        make_panel(f"p{number}")
    # Session, user, kinds and machines of the filters, the capped count, panels, members, last
    # entries, suspensions.
    with django_assert_max_num_queries(9):
        assert admin.get(LIST).status_code == 200


def test_panels_are_found_by_machine_and_the_beginning_of_an_id(admin: Client) -> None:
    load('machine game\n  tools\n    move from "admin.add"\n')
    make_panel("board-1")
    make_panel("board-2")
    make_panel("other", machine="game")

    def shown(**query: str) -> set[str]:
        return {panel.room.key for panel in admin.get(LIST, query).context["cl"].result_list}

    assert shown() == {"board-1", "board-2", "other"}
    assert shown(q="board-") == {"board-1", "board-2"}
    assert shown(q="game") == shown(machine="game") == {"other"}
    assert shown(q="oard") == set()


def test_the_page_of_a_panel_shows_all_that_it_is(admin: Client) -> None:
    machine = load('machine game\n  tools\n    move from "admin.add", on: "moved.*"\n')
    state = {"title": "<b>", "cells": [[1, None], {"deep": True}], "empty": {}}
    panel = make_panel(events=60, state=state, machine="game")
    enter(panel.room, "ada")
    page = admin.get(page_of(panel))
    text, html = text_of(page), page.content.decode()
    assert "<b>" not in html.partition("State</h2>")[2].partition("</fieldset>")[0]
    for each in ("title", "<b>", "deep", "true", "null", "[2]", "ada", "every 5 s", "on moved.*"):
        assert each in text
    assert '{"name":"e59"}' in text
    assert '{"name":"e9"}' not in text, "that is the 51st from the end"
    assert f"/admin/mashin_surfaces/machine/{machine.pk}/change/" in html


def test_the_page_of_an_empty_panel_says_so(admin: Client) -> None:
    text = text_of(admin.get(page_of(make_panel(tools=[]))))
    for said in ("The state is empty.", "It has no tools.", "Nobody is there."):
        assert said in text
    assert "There are no events." in text
    assert "Tools that wait" not in text
    assert "Trigger a tool" not in text


def test_a_large_state_is_counted_where_it_is_too_much() -> None:
    tree = json_tree({"many": list(range(5000)), "text": "x" * 5000})
    assert "… and 3002 more" in unescape(tree)
    assert len(tree) < 300_000
    assert tree.count("x") < 1100
    assert json_tree({"k" * 5000: 1}).count("k") < 200


def test_a_state_may_be_nested_as_deep_as_json_may_be(admin: Client) -> None:
    state: dict[str, Any] = {"deepest": "here"}
    for _ in range(63):
        state = {"a": state}
    assert "here" in text_of(admin.get(page_of(make_panel(state=state))))


# -- answered -------------------------------------------------------------------------------------


def test_what_a_tool_waits_for_is_shown_and_answered(admin: Client) -> None:
    waits = suspend(make_panel())
    assert "<red> or blue?" in text_of(admin.get(page_of(waits.panel)))
    page = answer(admin, waits, given='{"color": "red"}')
    assert "It is answered" in text_of(page)
    waits.refresh_from_db()
    assert (waits.status, waits.closed_by) == ("answered", "root")
    assert waits.answers == [{"value": {"color": "red"}}]
    assert Due.objects.get(kind="resume").payload == waits.pk, "a server goes on with it"
    assert waits.pk in LogEntry.objects.get().change_message
    assert waits.pk not in page.content.decode(), "it is not open any more"


def test_an_answer_may_be_an_error(admin: Client) -> None:
    waits = suspend(make_panel())
    answer(admin, waits, given="not today", **{"as": "error"})
    waits.refresh_from_db()
    assert waits.answers == [{"error": "not today"}]


@pytest.mark.parametrize(
    ("posted", "told"),
    [
        ({"given": "{red"}, "not valid JSON"),
        ({"given": ""}, "not valid JSON"),
        ({"given": '"\\u0000"'}, "NUL"),
        ({"given": " ", "as": "error"}, "Say what is wrong"),
    ],
)
def test_a_wrong_answer_is_told_and_what_was_typed_stays(
    admin: Client, posted: dict[str, str], told: str
) -> None:
    other, waits = suspend(panel := make_panel()), suspend(panel)
    page = answer(admin, waits, **posted)
    assert page.status_code == 200
    assert told in text_of(page)
    shown = {each["row"].pk: each["given"] for each in page.context["waiting"]}
    assert shown == {waits.pk: posted["given"], other.pk: ""}
    waits.refresh_from_db()
    assert waits.status == "open"


def test_what_somebody_else_has_answered_is_said(admin: Client) -> None:
    waits = suspend(make_panel(), status="answered")
    assert "answered already" in text_of(answer(admin, waits, given="1"))
    assert not Due.objects.filter(kind="resume").exists()


# -- triggered ------------------------------------------------------------------------------------


def test_a_tool_is_triggered_in_the_name_of_who_is_signed_in(admin: Client) -> None:
    panel = make_panel()
    page = trigger(admin, panel, "add", '{"by": 2}')
    assert "It waits for a server process" in text_of(page)
    due = Due.objects.get(kind="hand")
    assert due.tool == "add"
    assert due.payload is not None
    assert (due.payload["args"], due.payload["principal"]) == ({"by": 2}, "root")
    assert "add" in LogEntry.objects.get().change_message
    result = {"status": "success", "returnValue": "<done>"}
    PanelRequest.objects.create(
        panel=panel, principal="root", request_id=due.payload["requestId"], tool="add",
        result=json.dumps(result), created_at=timezone.now(),
    )  # fmt: skip
    address = page.request["PATH_INFO"] + "?" + page.request["QUERY_STRING"]
    again = admin.get(address)
    assert '"returnValue": "<done>"' in text_of(again)
    assert '<span class="mashin-badge mashin-good">success</span>' in again.content.decode()
    PanelRequest.objects.all().delete()
    due.delete()
    gone = admin.get(address)
    assert "It was refused, or" in text_of(gone)
    assert f"surfaceaccess/?q={due.payload['requestId']}" in gone.content.decode()
    stranger = text_of(admin.get(page_of(panel) + "?request=%00"))
    assert "refused" not in stranger, "nobody asked for anything here"


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("add", "{by", "not valid JSON"),
        ("add", "[1]", "are an object"),
        ("add", "{}", "/by: Field required."),
        ("add", '{"by": "many"}', "/by: "),
        ("say", '{"text": "\\u0000"}', "NUL"),
        ("none", "{}", 'no tool "none"'),
    ],
)
def test_a_wrong_trigger_is_told_and_what_was_typed_stays(
    admin: Client, name: str, args: str, told: str
) -> None:
    page = trigger(admin, make_panel(), name, args)
    assert told in text_of(page)
    assert page.context["args"] == args
    assert not Due.objects.filter(kind="hand").exists()


# -- taken away, and by whom ----------------------------------------------------------------------


def test_a_panel_is_deleted_after_a_question(admin: Client) -> None:
    panel, other = make_panel(events=3, title="The board"), make_panel("other")
    suspend(panel)
    question = admin.get(f"{LIST}{panel.pk}/delete/")
    assert "The board, with its state, its log up to offset 3" in text_of(question)
    admin.post(f"{LIST}{panel.pk}/delete/", {"post": "yes"})
    assert list(Room.objects.values_list("key", flat=True)) == ["other"]
    chosen = {"action": "delete_selected", "_selected_action": [str(other.pk)], "post": "yes"}
    admin.post(LIST, chosen)
    assert not Room.objects.exists()


def test_nothing_can_be_added_or_changed(admin: Client) -> None:
    panel = make_panel()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(page_of(panel), {"title": "other"}).status_code == 403
    assert admin.get(f"{LIST}{panel.pk}/trigger/").status_code == 405
    assert admin.post(f"{LIST}99999/trigger/", {"tool": "add"}).status_code == 404


def test_who_may_only_look_neither_answers_nor_triggers_nor_deletes(staff: LogIn) -> None:
    client = staff("view_panel")
    waits = suspend(make_panel())
    page = client.get(page_of(waits.panel))
    assert "<red> or blue?" in text_of(page)
    assert "<textarea" not in page.content.decode()
    assert answer(client, waits, given="1").status_code == 403
    assert trigger(client, waits.panel, "add", "{}").status_code == 403
    assert client.post(f"{LIST}{waits.panel_id}/delete/", {"post": "yes"}).status_code == 403
    waits.refresh_from_db()
    assert waits.status == "open"
    operator = staff("change_panel", name="olga")
    assert "It is answered" in text_of(answer(operator, waits, given="1"))
    assert operator.post(f"{LIST}{waits.panel_id}/delete/", {"post": "yes"}).status_code == 403
    assert staff("view_machine", name="eve").get(LIST).status_code == 403


def test_a_machine_that_is_gone_leaves_its_panels_readable(admin: Client) -> None:
    load('machine game\n  tools\n    move from "admin.add"\n')
    panel = make_panel(machine="game")
    Machine.objects.all().delete()
    assert "game" in text_of(admin.get(page_of(panel)))
