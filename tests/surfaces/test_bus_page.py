"""The page of an incubator without a script: looked at, filtered, published to, controlled."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from mashin_surfaces.incubators import store
from mashin_surfaces.incubators.bus import Writer
from mashin_surfaces.incubators.models import Incubator
from mashin_surfaces.models import Room, SurfaceAccess
from mashin_surfaces.rooms.appending import Append
from mashin_surfaces.rooms.events import NewEvent
from mashin_surfaces.rooms.log import append, put

from .test_page import declare, token_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_machines_left"),
]

PAGE = "/hive"
HIVE = """
machine hive "The hive"
  expresses
    websocket
      path: "/ws/hive"
      dialect: incubator
      auth: AUTH
    page
      path: "/hive"
      auth: AUTH
"""
#: Somebody who is not signed in, and may control, too.
ALL = "none\n      grant: bus"


def live(auth: str = "none") -> None:
    declare(HIVE.replace("AUTH", auth))


def text_of(answer: Any) -> str:
    """What somebody reads, with single spaces."""
    body = re.sub(r"<(script|title)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def names(answer: Any) -> list[str]:
    """Of the lines of the log, the newest first."""
    return [line.name for line in answer.context["lines"]]


def publish(*events: str, namespace: str = "default") -> None:
    """Append events to the log, as agents do."""
    room = store.find(namespace).pk
    payload = '{{"event_type":"{}","data":{{"n":1}},"agent_id":"worker"}}'
    made = [NewEvent("event", payload.format(each), "worker") for each in events]
    append(room, made)


def change(do: Any) -> None:
    """Write to the bus, as a tool does."""
    room = store.find("default").pk
    writer = Writer(room, "worker")
    put(Append(room, writer.events, also=lambda: do(writer)))


def post(client: Client, **fields: str) -> Any:
    return client.post(PAGE, fields)


def rows() -> list[tuple[str, str, str, str]]:
    found = SurfaceAccess.objects.order_by("lane", "seq")
    return list(found.values_list("surface", "event", "outcome", "code"))


# -- looked at ------------------------------------------------------------------------------------


def test_a_look_shows_the_bus_and_is_recorded(client: Client) -> None:
    live()
    answer = client.get(PAGE)
    assert answer.status_code == 200
    assert "The hive open Namespace default" in text_of(answer)
    assert "Replayed up to entry 0 of 0; kept from 1." in text_of(answer)
    assert 'data-websocket="/ws/hive?namespace=default"' in answer.content.decode()
    assert rows() == [("page:/hive", "view", "allowed", "")]


def test_events_state_and_claims_are_shown(client: Client) -> None:
    live()
    publish("task.started", "<b>task</b>")

    def work(writer: Writer) -> None:
        writer.set_state("plan", {"steps": [1, 2]})
        writer.claim("file.txt", 60_000)

    change(work)
    answer = client.get(PAGE)
    shown = text_of(answer)
    assert names(answer) == ["claim", "state", "<b>task</b>", "task.started"]
    assert 'task.started worker {"n":1}' in shown
    assert 'plan = {"steps":[1,2]}' in shown
    assert "file.txt: claimed" in shown
    assert "Claims file.txt worker fence 1 · until" in shown
    assert "State plan version 1" in shown
    assert "Events by type <b>task</b> 1 task.started 1" in shown


def test_the_log_is_paged_from_the_newest_to_the_oldest(client: Client) -> None:
    live()
    publish(*(f"e{number}" for number in range(1, 121)))
    answer = client.get(PAGE)
    seen = names(answer)
    while answer.context["older"] is not None:
        answer = client.get(f"{PAGE}?before={answer.context['older']}")
        assert "data-past" in answer.content.decode()
        assert "Newest" in text_of(answer)
        seen += names(answer)
    assert seen == [f"e{number}" for number in range(120, 0, -1)]


def test_a_filter_shows_these_events_alone(client: Client) -> None:
    live()
    publish("task.started", "other", "task.ended", "task.a.b")
    change(lambda writer: writer.set_state("plan", 1))
    answer = client.get(f"{PAGE}?type=task.*")
    assert names(answer) == ["task.ended", "task.started"]
    assert 'data-types="task.*"' in answer.content.decode()


def test_a_filter_finds_what_is_far_back(client: Client) -> None:
    live()
    publish("needle", *("hay" for _ in range(1_200)))
    assert names(client.get(f"{PAGE}?type=needle")) == ["needle"]


@pytest.mark.parametrize("query", ["type=a%20b", "before=x", "namespace=No%20such"])
def test_what_can_not_be_looked_at_is_refused(client: Client, query: str) -> None:
    live()
    answer = client.get(f"{PAGE}?{query}")
    assert answer.status_code == 422


def test_a_namespace_is_named_by_the_address_and_not_made_by_a_look(client: Client) -> None:
    live()
    assert client.get(f"{PAGE}?namespace=other").status_code == 404
    publish("here", namespace="other")
    answer = client.get(f"{PAGE}?namespace=other")
    assert names(answer) == ["here"]
    assert 'data-websocket="/ws/hive?namespace=other"' in answer.content.decode()


def test_a_page_has_no_script_and_no_style_of_its_own(client: Client) -> None:
    live()
    publish("some")
    body = client.get(PAGE).content.decode()
    inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", body)
    assert inline == []
    assert "<style" not in body
    assert " style=" not in body
    assert re.findall(r"\son\w+=", body) == []


# -- published to ---------------------------------------------------------------------------------


def test_a_form_publishes_an_event(client: Client) -> None:
    live()
    answer = post(client, do="publish", event="task.started", data='{"n": 1.5}')
    assert answer.status_code == 303
    shown = client.get(answer["Location"])
    assert names(shown) == ["task.started"]
    assert 'task.started anonymous {"n":1.5}' in text_of(shown)
    assert ("incubator:default", "message", "allowed", "") in rows()


def test_what_is_no_event_is_told_and_stays_typed(client: Client) -> None:
    live()
    answer = post(client, do="publish", event="task.started", data="{n: 1}")
    assert answer.status_code == 422
    assert "Please correct the marked fields." in text_of(answer)
    assert "{n: 1}</textarea>" in answer.content.decode()
    assert 'value="task.started"' in answer.content.decode()
    assert names(answer) == []


def test_a_form_that_asks_for_nothing_is_refused(client: Client) -> None:
    live()
    assert post(client, do="dance").status_code == 400


# -- controlled -----------------------------------------------------------------------------------


def test_who_may_control_pauses_and_resumes(client: Client) -> None:
    live(ALL)
    assert "Halt" in text_of(client.get(PAGE))
    post(client, do="control", command="pause", reason="Lunch.")
    shown = text_of(client.get(PAGE))
    assert "paused Namespace default · Lunch. · stopped by anonymous" in shown
    assert Incubator.objects.get().room.status == "paused"
    post(client, do="control", command="resume", reason="")
    assert "open Namespace" in text_of(client.get(PAGE))
    assert names(client.get(PAGE)) == ["resume", "pause"]


def test_a_command_that_there_is_not_is_refused(client: Client) -> None:
    live(ALL)
    assert post(client, do="control", command="destroy").status_code == 422


def test_who_may_not_control_has_no_buttons_and_is_refused(client: Client) -> None:
    live()
    assert "Halt" not in text_of(client.get(PAGE))
    assert post(client, do="control", command="halt", reason="").status_code == 403
    assert Incubator.objects.get().room.status == "open"
    assert ("incubator:default", "message", "refused", "forbidden") in rows()


def test_a_paused_bus_refuses_what_strangers_publish(client: Client) -> None:
    live()
    store.find("default")
    Room.objects.update(status=Room.Status.PAUSED)
    answer = post(client, do="publish", event="task.started")
    assert answer.status_code == 409
    assert names(answer) == []


# -- rights ---------------------------------------------------------------------------------------


def test_a_stranger_is_sent_to_sign_in(client: Client) -> None:
    live("session")
    answer = client.get(PAGE)
    assert answer.status_code == 302
    assert not Incubator.objects.exists()


def test_who_may_not_observe_is_refused(client: Client) -> None:
    live("session")
    client.force_login(get_user_model().objects.create_user("ada"))
    answer = client.get(PAGE)
    assert answer.status_code == 403
    assert "bus:observe:default" in text_of(answer)
    assert post(client, do="publish", event="e").status_code == 403


def test_who_is_signed_in_posts_with_a_token_and_not_without(client: Client) -> None:
    live("session")
    client.force_login(get_user_model().objects.create_superuser("root"))
    page = client.get(PAGE)
    assert post(client, do="publish", event="e").status_code == 403
    given = {"do": "publish", "event": "e", "csrfmiddlewaretoken": token_of(page)}
    assert client.post(PAGE, given).status_code == 303
    assert names(client.get(PAGE)) == ["e"]
