"""Changes after which a credential may be worth less than before: keys, users, groups, sessions.

Told by Django's signals to everyone in ``on_change``, on the thread and in the transaction of the
change. How other processes learn of it is the callbacks' business. ``QuerySet.update()`` and SQL
send no signals: call ``changed()`` after them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.core.signals import request_finished
from django.db import Error
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from . import threads
from .models import ApiKey
from .sessions import session_model

logger = logging.getLogger(__name__)

on_change: list[Callable[[], object]] = []

#: A logout is told before its session is gone: look again when the request is over.
_has_logged_out: ContextVar[bool] = ContextVar("mashin_surfaces_has_logged_out", default=False)


def changed() -> None:
    """Tell everyone that credentials may have changed."""
    for callback in tuple(on_change):
        callback()


def connect_signals() -> None:
    """Listen from now on; once is enough, more does no harm. Call it when the apps are ready."""
    users = get_user_model()
    _connect(post_save, _saved, ApiKey, users, Group)
    _connect(post_delete, _deleted, ApiKey, users, Group)
    for model, name in ((users, "groups"), (users, "user_permissions"), (Group, "permissions")):
        field = getattr(model, name, None)  # a project's own user model may do without
        if field is not None:
            _connect(m2m_changed, _relations_changed, field.through)
    sessions = session_model()
    if sessions is not None:
        _connect(post_delete, _session_deleted, sessions)
    user_logged_out.connect(_logged_out, dispatch_uid=__name__)
    request_finished.connect(_request_finished, dispatch_uid=__name__)


def _connect(signal: Any, receiver: Callable[..., None], *senders: type[Model]) -> None:
    for sender in senders:
        signal.connect(receiver, sender=sender, dispatch_uid=__name__)


def _saved(
    *, sender: type[Model], created: bool, update_fields: frozenset[str] | None, **_: Any
) -> None:
    if created and sender is ApiKey:
        return  # nobody has used it yet
    if update_fields is not None and set(update_fields) <= {"last_login", "last_used_at"}:
        return
    changed()


def _deleted(**_: Any) -> None:
    changed()


def _relations_changed(*, action: str, **_: Any) -> None:
    if action.startswith("post_"):
        changed()


def _session_deleted(*, instance: Any, **_: Any) -> None:
    # ``clearsessions`` removes many that are over; signing in ends one in which nobody was.
    if instance.expire_date > timezone.now() and SESSION_KEY in instance.get_decoded():
        changed()


def _logged_out(**_: Any) -> None:
    """Where sessions are no rows, nothing else says that one has ended."""
    if session_model() is None:
        _has_logged_out.set(True)
        changed()


def _request_finished(**_: Any) -> None:
    if _has_logged_out.get():
        _has_logged_out.set(False)
        # Django has put this thread's connections away by now.
        threads.submit(_tell)


def _tell() -> None:
    try:
        changed()
    except Error as error:
        logger.warning("A logout can't be told to the other processes: %s", error)
