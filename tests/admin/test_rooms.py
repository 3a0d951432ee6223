"""Rooms in the admin: who is there and what was said; trimmed, topics reset, never written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from mashin_surfaces.incubators import store
from mashin_surfaces.models import Machine, Room, RoomMember, ServerProcess
from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.events import NewEvent

from .conftest import LogIn
from .test_machines import text_of

pytestmark = pytest.mark.django_db(transaction=True)  # appends are written by a connection apart

LIST = "/admin/mashin_surfaces/room/"


def make_room(key: str = "echo:cpu", events: int = 0, **values: Any) -> Room:
    made = Room.objects.create(
        **{"kind": "topic", "key": key, "machine": "echo", "epoch": uuid4().hex} | values
    )
    if events:
        log.append(made.pk, [NewEvent("value", f'{{"number":{n}}}') for n in range(events)])
    made.refresh_from_db()
    return made


def enter(room: Room, *principals: str) -> None:
    now = timezone.now()
    alive = now + timedelta(minutes=1)  # this process may stand still before it looks
    process, _ = ServerProcess.objects.get_or_create(
        id="p", defaults={"host": "h", "pid": 1, "started_at": now, "beat_at": alive}
    )
    RoomMember.objects.bulk_create(
        RoomMember(room=room, process=process, connection=f"c{n}", principal=each, since=now)
        for n, each in enumerate(principals)
    )


def page_of(room: Room) -> str:
    return f"{LIST}{room.pk}/change/"


def shown(client: Client, **query: str) -> set[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return {room.key for room in answer.context["cl"].result_list}


def act(client: Client, action: str, *rooms: Room, **more: str) -> Any:
    chosen = [str(room.pk) for room in rooms]
    return client.post(LIST, {"action": action, "_selected_action": chosen, **more})


def test_the_list_says_what_is_kept_and_who_is_there(admin: Client) -> None:
    enter(make_room("echo:cpu", events=12), "ada", "bob")
    make_room("echo:empty", status="closed")
    page = admin.get(LIST)
    cpu, empty = page.context["cl"].result_list
    assert (cpu.members_now, empty.members_now) == (2, 0)
    assert '<td class="field-kept">12</td>' in page.content.decode()
    assert '<td class="field-member_count">2</td>' in page.content.decode()
    assert '<span class="mashin-badge mashin-quiet">closed</span>' in page.content.decode()


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        make_room(f"echo:{number}")
    # Session, user, machines of the filter, the capped count, rooms, members.
    with django_assert_max_num_queries(6):
        assert admin.get(LIST).status_code == 200


def test_rooms_are_found_by_kind_machine_and_the_beginning_of_a_key(admin: Client) -> None:
    make_room("echo:cpu")
    make_room("echo:heat")
    make_room("board", kind="panel", machine="")
    assert shown(admin) == {"echo:cpu", "echo:heat", "board"}
    assert shown(admin, kind__exact="panel") == {"board"}
    assert shown(admin, machine="echo") == {"echo:cpu", "echo:heat"}
    assert shown(admin, q="echo:c") == {"echo:cpu"}
    assert shown(admin, q=" echo ") == {"echo:cpu", "echo:heat"}
    assert shown(admin, q="cpu") == set()
    assert shown(admin, status__exact="closed") == set()


def test_the_page_of_a_room_shows_its_state_its_members_and_its_last_events(
    admin: Client, echo: Machine
) -> None:
    room = make_room(events=60, state={"title": "<b>"})
    enter(room, "ada")
    page = admin.get(page_of(room))
    text = text_of(page)
    assert '"title": "<b>"' in text
    assert "ada" in text
    assert '{"number":59}' in text
    assert '{"number":10}' in text
    assert '{"number":9}' not in text, "that is the 51st from the end"
    assert f"/admin/mashin_surfaces/machine/{echo.pk}/change/" in page.content.decode()


def test_the_page_of_an_empty_room_says_so(admin: Client) -> None:
    text = text_of(admin.get(page_of(make_room(machine="gone"))))
    assert "Nobody is there." in text
    assert "There are no events." in text
    assert "gone" in text


def test_of_many_members_the_first_are_shown(admin: Client) -> None:
    room = make_room()
    enter(room, *(f"p{number}" for number in range(130)))
    assert "The first 100 of 130." in text_of(admin.get(page_of(room)))


def test_nothing_can_be_added_changed_or_deleted(admin: Client) -> None:
    room = make_room()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(page_of(room), {"key": "other"}).status_code == 403
    assert admin.post(f"{LIST}{room.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Room.objects.get().key == "echo:cpu"


def test_chosen_rooms_are_trimmed_to_what_the_settings_keep(admin: Client, settings: Any) -> None:
    settings.MASHIN_SURFACES = {"ROOMS": {"topic": {"COUNT": 5}}}
    first, second = make_room("one", events=8), make_room("two", events=8)
    answer = admin.get(act(admin, "trim_rooms", first).url)
    assert "3 events are gone." in text_of(answer)
    for room in (first, second):
        room.refresh_from_db()
    assert (first.floor, second.floor) == (3, 0)


def test_a_reset_is_asked_for_once_more_and_then_done(admin: Client) -> None:
    room, other = make_room(events=3, state={"a": 1}), make_room("other", events=3)
    question = act(admin, "reset_rooms", room)
    assert question.status_code == 200
    assert "echo:cpu" in text_of(question)
    assert "other" not in text_of(question)
    room.refresh_from_db()
    assert room.head == 3
    assert room.floor == 0

    answer = admin.get(act(admin, "reset_rooms", room, post="yes").url)
    assert "1 topic was reset." in text_of(answer)
    epoch = room.epoch
    for each in (room, other):
        each.refresh_from_db()
    assert (room.head, room.floor, room.state) == (3, 3, {})
    assert room.epoch != epoch
    assert other.floor == 0
    assert "Reset" in LogEntry.objects.get().change_message


def test_all_that_a_filter_shows_is_reset_and_nothing_else(admin: Client) -> None:
    first, second = make_room("echo:a", events=1), make_room("echo:b", events=1)
    other = make_room("other", events=1)
    filtered = f"{LIST}?q=echo:"
    chosen = {"action": "reset_rooms", "_selected_action": [first.pk], "select_across": "1"}
    question = admin.post(filtered, chosen)
    assert {room.key for room in question.context["rooms"]} == {"echo:a", "echo:b"}
    assert '<form method="post">' in question.content.decode(), "it answers to the same address"
    admin.post(filtered, chosen | {"post": "yes"})
    for each in (first, second, other):
        each.refresh_from_db()
    assert (first.floor, second.floor, other.floor) == (1, 1, 0)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("panel", "Only its tools change a panel's state"),
        ("run", "A run's log is its history, and stays."),
        ("incubator", "An incubator is reset on its own page"),
    ],
)
def test_what_is_more_than_its_room_is_not_reset_here(admin: Client, kind: str, why: str) -> None:
    whole, topic = make_room("it", kind=kind, events=2, state={"a": 1}), make_room(events=2)
    question = act(admin, "reset_rooms", whole, topic)
    assert [room.key for room in question.context["rooms"]] == [topic.key]
    assert why in text_of(question)

    done = text_of(admin.get(act(admin, "reset_rooms", whole, topic, post="yes").url))
    assert "1 topic was reset." in done
    assert why in done
    alone = text_of(admin.get(act(admin, "reset_rooms", whole).url))
    assert "0 topics were reset." in alone
    assert why in alone
    topic.refresh_from_db()
    assert topic.floor == 2
    after = Room.objects.get(pk=whole.pk)
    assert (after.floor, after.state, after.epoch) == (0, {"a": 1}, whole.epoch)


def test_the_page_of_an_incubators_room_leads_to_where_it_is_reset(admin: Client) -> None:
    incubator = store.find("default", "")
    page = admin.get(page_of(incubator.room)).content.decode()
    own_page = f"/admin/mashin_surfaces/incubator/{incubator.pk}/change/"
    assert f'href="{own_page}"' in page
    assert "reset_rooms" not in page
    assert f"{incubator.pk}/reset/" in admin.get(own_page).content.decode()


def test_the_page_of_a_room_has_the_buttons_of_the_list(admin: Client) -> None:
    room = make_room(events=3)
    page = admin.get(page_of(room)).content.decode()
    assert 'name="action" value="trim_rooms"' in page
    assert 'name="action" value="reset_rooms"' in page
    assert f'<input type="hidden" name="_selected_action" value="{room.pk}">' in page


def test_who_may_only_look_neither_trims_nor_resets(staff: LogIn) -> None:
    client = staff("view_room")
    room = make_room(events=3)
    assert "reset_rooms" not in client.get(page_of(room)).content.decode()
    act(client, "reset_rooms", room, post="yes")
    room.refresh_from_db()
    assert room.floor == 0
    assert staff("change_room", name="olga").get(LIST).status_code == 200
    assert staff("view_machine", name="eve").get(LIST).status_code == 403
