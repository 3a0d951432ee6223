"""The page of a panel without a script: looked at, tools triggered by forms, an answer given."""

from __future__ import annotations

import re
from html import unescape
from typing import Any, Literal

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from mashin_surfaces.models import Panel, SurfaceAccess, Suspension
from mashin_surfaces.panels import store
from mashin_surfaces.steps.tools import tool

from .test_page import declare, token_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

PAGE = "/board"
BOARD = """
machine board "The board"
  tools
    add from "page.add"
    paint from "page.paint"
    anything from "page.anything"
    ask from "page.ask"
    fail from "page.fail"
    double from "doubler"
    clock from "page.clock", every: "1h"
  expresses
    websocket
      path: "/ws/board"
      dialect: panel
      auth: AUTH
    page
      path: "/board"
      auth: AUTH
"""
DOUBLER = """
machine doubler
  accepts
    number as number, is required, max: 10, label "The number"
  responds with
    twice as number
  implements
    compute answer
      {twice: input.number * 2}
  expresses
    api
      path: "/double"
"""
#: Somebody who is not signed in, and may answer, too.
ALL = "none\n      grant: machines:run, panels:resume"


@tool("page.add")
def add(ctx: Any, by: int = 1, note: str = "") -> int:
    """Adds to the count.

    More that nobody reads.
    """
    ctx.state["count"] = ctx.state.get("count", 0) + by
    ctx.emit("added", {"by": by, "note": note})
    return int(ctx.state["count"])


@tool("page.paint")
def paint(ctx: Any, colour: Literal["red", "blue"], thick: bool, dots: list[int]) -> list[Any]:
    return [colour, thick, dots]


@tool("page.anything")
def anything(ctx: Any, **given: Any) -> Any:
    return given


@tool("page.ask")
async def ask(ctx: Any, question: str) -> Any:
    return await ctx.suspend("person", "ask", [question])


@tool("page.fail")
def fail(ctx: Any) -> None:
    ctx.state["count"] = -1
    raise RuntimeError("It is broken.")


@tool("page.clock")
def clock(ctx: Any) -> None:
    ctx.emit("tick")


def live(auth: str = "none") -> None:
    declare(DOUBLER)
    declare(BOARD.replace("AUTH", auth))


def text_of(answer: Any) -> str:
    """What somebody reads, with single spaces."""
    body = re.sub(r"<(script|title)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def form_of(answer: Any, name: str) -> str:
    """The HTML of one tool's form."""
    found = re.search(rf'<form [^>]*data-tool="{name}".*?</form>', answer.content.decode(), re.S)
    assert found is not None
    return found[0]


def target_of(answer: Any, name: str) -> str:
    found = re.search(r'action="([^"]*)"', form_of(answer, name))
    assert found is not None
    return PAGE + unescape(found[1])


def run(client: Client, name: str, **fields: str) -> Any:
    """Fill in the tool's form and send it."""
    return client.post(target_of(client.get(PAGE), name), fields)


def state() -> Any:
    return store.find("board").room.state


def rows() -> list[tuple[str, str, str, str]]:
    found = SurfaceAccess.objects.order_by("lane", "seq")
    return list(found.values_list("surface", "event", "outcome", "code"))


# -- looked at ------------------------------------------------------------------------------------


def test_a_look_shows_state_tools_and_log_and_is_recorded(client: Client) -> None:
    live()
    answer = client.get(PAGE)
    assert answer.status_code == 200
    assert "The board running" in text_of(answer)
    assert "Adds to the count." in text_of(answer)
    assert "More that nobody reads" not in text_of(answer)
    assert "every 3600 s" in form_of(answer, "clock")
    assert 'data-websocket="/ws/board"' in answer.content.decode()
    assert rows() == [("page:/board", "view", "allowed", "")]


def test_each_tool_has_the_fields_that_it_declares(client: Client) -> None:
    live()
    answer = client.get(PAGE)
    add_form, paint_form = form_of(answer, "add"), form_of(answer, "paint")
    assert re.search(r'name="by" value="1" data-type="number" type="number" step="1"', add_form)
    assert "required" not in add_form
    assert re.search(r'<select [^>]*name="colour"[^>]* required', paint_form)
    assert re.search(r'<input type="checkbox"[^>]*name="thick"', paint_form)
    assert "As JSON, for example [1]" in paint_form
    assert "The number" in form_of(answer, "double")
    assert "A JSON object." in form_of(answer, "anything")


def test_the_controls_of_two_tools_have_no_id_twice(client: Client) -> None:
    live()
    ids = re.findall(r' id="([^"]*)"', client.get(PAGE).content.decode())
    assert len(ids) == len(set(ids))


def test_a_page_has_no_script_and_no_style_of_its_own(client: Client) -> None:
    live()
    body = client.get(PAGE).content.decode()
    inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", body)
    assert inline == []
    assert "<style" not in body
    assert " style=" not in body
    assert re.findall(r"\son\w+=", body) == []


# -- triggered ------------------------------------------------------------------------------------


def test_a_form_runs_its_tool_and_the_page_shows_what_came_of_it(client: Client) -> None:
    live()
    answer = run(client, "add", by="4", note="<b>bold</b>")
    assert answer.status_code == 200
    assert state() == {"count": 4}
    assert "done" in form_of(answer, "add")
    assert '<span class="number">4</span>' in form_of(answer, "add")
    shown = text_of(answer)
    assert "State count 4" in shown
    assert 'added {"by":4,"note":"<b>bold</b>"}' in shown
    assert "count = 4" in shown
    assert ("panel:board", "trigger", "allowed", "") in rows()


def test_a_form_that_is_sent_twice_runs_its_tool_once(client: Client) -> None:
    live()
    target = target_of(client.get(PAGE), "add")
    client.post(target, {"by": "4"})
    again = client.post(target, {"by": "4"})
    assert state() == {"count": 4}
    assert '<span class="number">4</span>' in form_of(again, "add")


def test_values_of_all_kinds_come_as_the_tool_wants_them(client: Client) -> None:
    live()
    answer = run(client, "paint", colour="red", thick="true", dots="[1, 2]")
    assert [each.text for each in answer.context["tools"][1].outcome.value.items[:1]] == ["red"]
    answer = run(client, "anything", args='{"a": [1.5], "b": null}')
    assert "1.5" in form_of(answer, "anything")


def test_a_machine_as_a_tool_takes_its_input(client: Client) -> None:
    live()
    assert '<span class="number">6' in form_of(run(client, "double", number="3"), "double")
    wrong = run(client, "double", number="11")
    assert wrong.status_code == 422
    assert 'aria-invalid="true"' in form_of(wrong, "double")


def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(client: Client) -> None:
    live()
    answer = run(client, "add", by="many", note="kept")
    assert answer.status_code == 422
    form = form_of(answer, "add")
    assert "Please correct the marked fields." in form
    assert "Expected an integer" in form
    assert 'value="many"' in form
    assert 'value="kept"' in form
    assert state() == {}
    assert ("panel:board", "trigger", "refused", "invalid_input") in rows()


def test_what_is_no_json_is_told(client: Client) -> None:
    live()
    form = form_of(run(client, "anything", args="{a: 1}"), "anything")
    assert 'aria-invalid="true"' in form
    assert "{a: 1}</textarea>" in form


def test_a_tool_that_fails_says_so_and_leaves_nothing(client: Client) -> None:
    live()
    form = form_of(run(client, "fail"), "fail")
    assert "failed" in form
    assert "It is broken" not in form, "what an exception says is not for everybody"
    assert state() == {}


def test_a_tool_that_is_not_there_is_refused(client: Client) -> None:
    live()
    answer = client.post(f"{PAGE}?trigger=nothing", {})
    assert answer.status_code == 404
    assert 'This panel has no tool "nothing".' in text_of(answer)


def test_a_form_that_says_nothing_of_what_it_wants_is_refused(client: Client) -> None:
    live()
    answer = client.post(PAGE, {})
    assert answer.status_code == 400
    assert "?trigger=<tool>" in text_of(answer)


# -- answered -------------------------------------------------------------------------------------


def waits(client: Client) -> Suspension:
    answer = run(client, "ask", question="red or blue?")
    assert "waits for an answer" in form_of(answer, "ask")
    assert "red or blue?" in text_of(answer)
    return Suspension.objects.get()


@pytest.mark.parametrize(
    ("given", "value"), [("blue", "blue"), ("5", 5), ('{"a": true}', {"a": True}), ("", "")]
)
def test_an_answer_is_json_or_a_text(client: Client, given: str, value: Any) -> None:
    live(ALL)
    row = waits(client)
    answer = client.post(f"{PAGE}?answer={row.pk}", {"given": given, "as": "value"})
    assert (answer.status_code, answer["Location"]) == (303, f"{PAGE}?answered={row.pk}")
    row.refresh_from_db()
    assert (row.status, row.answers) == ("answered", [{"value": value}])
    assert "It is answered" in text_of(client.get(answer["Location"]))
    assert ("panel:board", "resume", "allowed", "") in rows()


def test_an_error_is_an_answer(client: Client) -> None:
    live(ALL)
    row = waits(client)
    client.post(f"{PAGE}?answer={row.pk}", {"given": "Nobody knows.", "as": "error"})
    row.refresh_from_db()
    assert row.answers == [{"error": "Nobody knows."}]


def test_json_that_is_broken_is_no_answer_and_stays_typed(client: Client) -> None:
    live(ALL)
    row = waits(client)
    answer = client.post(f"{PAGE}?answer={row.pk}", {"given": '{"a": ', "as": "value"})
    assert answer.status_code == 422
    assert "This begins like JSON, and is none." in text_of(answer)
    assert "{&quot;a&quot;: </textarea>" in answer.content.decode()
    row.refresh_from_db()
    assert row.status == "open"


def test_what_was_answered_meanwhile_is_refused(client: Client) -> None:
    live(ALL)
    row = waits(client)
    Suspension.objects.update(status=Suspension.Status.CANCELLED)
    answer = client.post(f"{PAGE}?answer={row.pk}", {"given": "blue", "as": "value"})
    assert answer.status_code == 409
    assert "This suspension is cancelled already." in text_of(answer)


# -- rights ---------------------------------------------------------------------------------------


def test_who_may_not_answer_has_no_form_for_it_and_is_refused(client: Client) -> None:
    live()
    row = waits(client)
    shown = client.get(PAGE)
    assert "?answer=" not in shown.content.decode()
    assert "This needs the scope panels:resume:board." in text_of(shown)
    answer = client.post(f"{PAGE}?answer={row.pk}", {"given": "blue", "as": "value"})
    assert answer.status_code == 403
    assert Suspension.objects.get().status == "open"
    assert ("panel:board", "resume", "refused", "forbidden") in rows()


def test_a_stranger_is_sent_to_sign_in_and_comes_back(client: Client) -> None:
    live("session")
    answer = client.get(PAGE)
    assert answer.status_code == 302
    assert answer["Location"].endswith("next=%2Fboard")
    assert not Panel.objects.exists(), "nobody made a panel who may not see it"


def test_who_is_signed_in_triggers_with_a_token_and_not_without(client: Client) -> None:
    live("session")
    client.force_login(get_user_model().objects.create_user("ada"))
    page = client.get(PAGE)
    target = target_of(page, "add")
    assert client.post(target, {"by": "1"}).status_code == 403
    assert state() == {}
    given = {"by": "1", "csrfmiddlewaretoken": token_of(page)}
    assert client.post(target, given).status_code == 200
    assert state() == {"count": 1}


def test_the_scope_of_the_page_is_what_it_takes_to_trigger(client: Client) -> None:
    live("none\n      grant: other:scope")
    assert client.get(PAGE).status_code == 403
    answer = client.post(f"{PAGE}?trigger=add", {"by": "1"})
    assert answer.status_code == 403
    assert not Panel.objects.exists()


def test_another_panel_with_the_machines_name_is_said(client: Client) -> None:
    live()
    store.create(store.NewPanel(kind="other", key="board"))
    answer = client.get(PAGE)
    assert answer.status_code == 409
    assert "that is not of the machine" in text_of(answer)
