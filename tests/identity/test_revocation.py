"""What is told when a credential may be worth less, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core.signals import request_finished
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from mashin_surfaces.identity import api_keys, revocation
from mashin_surfaces.identity.models import ApiKey

pytestmark = pytest.mark.django_db


class Told:
    """How often it was told, since it was last asked."""

    def __init__(self) -> None:
        self.times = 0
        self.was_told = Event()

    def __call__(self) -> None:
        self.times += 1
        self.was_told.set()

    def now(self) -> int:
        times, self.times = self.times, 0
        return times


@pytest.fixture
def told() -> Iterator[Told]:
    counter = Told()
    revocation.on_change.append(counter)
    yield counter
    revocation.on_change.remove(counter)


def test_keys(told: Told) -> None:
    key, _ = api_keys.issue("billing", [])
    assert told.now() == 0, "nobody has used a new key"
    api_keys.revoke(key)
    assert told.now() == 1
    key.scopes = ["machines:run"]
    key.save()
    assert told.now() == 1
    key.delete()
    assert told.now() == 1


def test_a_use_of_a_key_is_no_change(told: Told) -> None:
    key, _ = api_keys.issue("billing", [])
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    assert told.now() == 0


def test_users(told: Told, alice: User) -> None:
    told.now()
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    assert told.now() == 1
    alice.delete()
    assert told.now() >= 1


def test_signing_in_is_no_change(told: Told, alice: User) -> None:
    told.now()
    assert Client().login(username="alice", password="secret")
    alice.refresh_from_db()
    assert alice.last_login is not None
    assert told.now() == 0


def test_groups_and_permissions(told: Told, alice: User) -> None:
    group = Group.objects.create(name="Operators")
    permission = Permission.objects.get(codename="view_group")
    told.now()
    changes: list[Callable[[], object]] = [
        lambda: alice.groups.add(group),
        lambda: group.permissions.add(permission),
        lambda: alice.user_permissions.add(permission),
        alice.user_permissions.clear,
        lambda: group.user_set.remove(alice),
        group.delete,
    ]
    for change in changes:
        change()
        assert told.now() >= 1


def test_signing_out(told: Told, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    told.now()
    client.logout()
    assert told.now() >= 1


@pytest.mark.django_db(transaction=True)
def test_where_sessions_are_no_rows_a_logout_is_told_again_when_its_session_is_gone(
    told: Told, alice: User, settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    told.now()
    user_logged_out.send(sender=User, request=None, user=alice)
    assert told.now() == 1
    told.was_told.clear()
    request_finished.send(sender=None)
    assert told.was_told.wait(timeout=20)
    assert told.now() == 1


def test_ended_sessions_but_not_those_that_were_over(told: Told, alice: User) -> None:
    for _ in range(2):
        Client().force_login(alice)
    told.now()
    live, over = Session.objects.all()
    over.expire_date = timezone.now()
    over.save()
    call_command("clearsessions")
    assert Session.objects.count() == 1
    assert told.now() == 0
    live.delete()
    assert told.now() == 1


def test_listening_twice_is_listening_once(told: Told, alice: User) -> None:
    revocation.connect_signals()
    told.now()
    alice.save()
    assert told.now() == 1


def test_after_sql_it_is_told_by_hand(told: Told, alice: User) -> None:
    told.now()
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert told.now() == 0
    revocation.changed()
    assert told.now() == 1
