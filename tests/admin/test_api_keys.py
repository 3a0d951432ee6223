"""API keys in the admin: shown once, given with care, revoked."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from mashin_surfaces.exceptions import Refusal
from mashin_surfaces.identity.api_keys import issue, verify
from mashin_surfaces.models import ApiKey

from .conftest import LogIn
from .test_machines import text_of

pytestmark = pytest.mark.django_db

LIST = "/admin/mashin_surfaces/apikey/"
KEY = re.compile(r"msk_[0-9a-f]{16}_[0-9a-f]{48}")


def add(client: Client, **fields: Any) -> Any:
    posted = {"name": "robot", "owner": "", "scopes": "", "expires_at_0": "", "expires_at_1": ""}
    return client.post(f"{LIST}add/", posted | fields)


def change(key: ApiKey) -> str:
    return f"{LIST}{key.pk}/change/"


def test_a_new_key_is_shown_once_and_works(admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = add(admin, scopes="machines:run:b, reports:*\r\nmachines:run:a")
    assert answer.status_code == 200
    found = set(KEY.findall(answer.content.decode()))
    assert len(found) == 1
    text = found.pop()
    key = verify(text)
    assert key.scopes == ["machines:run:a", "machines:run:b", "reports:*"]
    assert "no-store" in answer["Cache-Control"]
    # In no other place: not on the next page, not in session, cookie, history or log.
    secret = text.rsplit("_", 1)[1]
    for address in (change(key), LIST, f"{LIST}{key.pk}/history/"):
        assert secret not in admin.get(address).content.decode()
    assert not any(secret in str(row.get_decoded()) for row in Session.objects.all())
    assert secret not in str(answer.cookies)
    assert secret not in caplog.text
    assert secret not in str(LogEntry.objects.values_list())
    assert secret not in str(ApiKey.objects.values_list())


def test_a_key_ends_at_the_moment_that_was_asked_for(admin: Client) -> None:
    add(admin, expires_at_0="2999-01-02", expires_at_1="03:04:05")
    assert str(ApiKey.objects.get().expires_at) == "2999-01-02 03:04:05+00:00"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "root"}, 'There is a user "root"'),
        ({"name": "anonymous"}, "is no name for a key"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "This moment is over"),
    ],
)
def test_what_can_be_no_key_is_told(admin: Client, fields: dict[str, str], told: str) -> None:
    answer = add(admin, **fields)
    assert told in text_of(answer)
    assert not ApiKey.objects.exists()


def test_a_key_can_be_a_users(admin: Client, superuser: User) -> None:
    add(admin, owner=str(superuser.pk))
    assert ApiKey.objects.get().owner == superuser


def test_nobody_gives_what_they_do_not_hold(staff: LogIn) -> None:
    client = staff("add_apikey", "view_apikey", "change_apikey")
    assert "You can't give what you don't hold: *." in text_of(add(client, scopes="*"))
    assert not ApiKey.objects.exists()
    assert KEY.search(add(client, scopes="machines:run:echo").content.decode())
    key = ApiKey.objects.get()
    posted = {"name": "robot", "scopes": "machines:run:echo *", "expires_at_0": ""}
    assert "You can't give" in text_of(client.post(change(key), posted))


def test_nobody_but_a_superuser_issues_keys_in_another_name(staff: LogIn, superuser: User) -> None:
    client = staff("add_apikey")
    assert "Only a superuser" in text_of(add(client, owner=str(superuser.pk)))
    own = User.objects.get(username="sam")
    assert KEY.search(add(client, owner=str(own.pk)).content.decode())
    assert ApiKey.objects.get().owner == own


def test_name_scopes_and_end_can_be_changed_and_nothing_else(
    admin: Client, superuser: User
) -> None:
    key, text = issue("robot", ["a"])
    posted = {
        "name": "android", "scopes": "b\r\nc", "expires_at_0": "2999-01-01",
        "expires_at_1": "00:00:00", "owner": str(superuser.pk), "hash": "0" * 64,
        "revoked_at_0": "2001-01-01", "revoked_at_1": "00:00:00",
    }  # fmt: skip
    assert admin.post(change(key), posted).status_code == 302
    changed = verify(text)
    assert (changed.name, changed.scopes, changed.owner) == ("android", ["b", "c"], None)
    assert changed.expires_at is not None
    assert changed.expires_at.year == 2999


def test_a_key_can_not_be_renamed_to_a_user(admin: Client) -> None:
    key, _text = issue("robot", [])
    answer = admin.post(change(key), {"name": "root", "scopes": "", "expires_at_0": ""})
    assert 'There is a user "root"' in text_of(answer)
    assert ApiKey.objects.get().name == "robot"


def test_a_revoked_key_is_good_for_nothing(admin: Client) -> None:
    key, text = issue("robot", [])
    answer = admin.post(f"{LIST}{key.pk}/revoke/", follow=True)
    assert "is revoked" in text_of(answer)
    with pytest.raises(Refusal):
        verify(text)
    assert "Revoke this key" not in text_of(admin.get(change(key)))


def test_keys_are_revoked_in_the_list(admin: Client) -> None:
    keys = [issue(name, [])[0] for name in ("a", "b")]
    chosen = {"action": "revoke_keys", "_selected_action": [key.pk for key in keys]}
    assert "2 keys were revoked." in text_of(admin.post(LIST, chosen, follow=True))
    assert not ApiKey.objects.filter(revoked_at=None).exists()


def test_revoking_takes_the_permission_to_change(staff: LogIn) -> None:
    key, text = issue("robot", [])
    client = staff("view_apikey")
    assert client.post(f"{LIST}{key.pk}/revoke/").status_code == 403
    assert "Revoke this" not in text_of(client.get(change(key)))
    assert client.get(f"{LIST}{key.pk}/revoke/").status_code == 405
    assert verify(text) == key


def test_the_state_of_each_key_is_shown_and_can_be_chosen(admin: Client) -> None:
    live, expired, revoked = (issue(name, [])[0] for name in ("live", "expired", "revoked"))
    past = timezone.now() - timedelta(days=1)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=past)
    ApiKey.objects.filter(pk=revoked.pk).update(revoked_at=past, expires_at=past)
    for state, key in (("live", live), ("expired", expired), ("revoked", revoked)):
        assert list(admin.get(LIST, {"state": state}).context["cl"].result_list) == [key]


def test_the_list_takes_as_many_queries_for_many_as_for_one(
    admin: Client, superuser: User, django_assert_max_num_queries: Any
) -> None:
    ApiKey.objects.bulk_create(
        ApiKey(id=f"{number:016x}", name=f"k{number}", hash="", owner=superuser)
        for number in range(500)
    )
    # Session, user, count, full count, rows with their owners.
    with django_assert_max_num_queries(5):
        assert admin.get(LIST).status_code == 200
