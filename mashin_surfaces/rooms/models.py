"""Rooms as rows: the log's head and state, its events, and who is there.

Written through ``log.py``, ``presence.py`` and ``retention.py`` only.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..timers.models import ServerProcess


class Room(models.Model):
    """A durable object: a JSON state, an ordered log and members (``docs/rooms.md``).

    ``head``: the offset of the last event. ``floor``: every event after it is kept, none up to it.
    ``epoch``: changes when the log is cleared; offsets go on rising all the same.
    """

    class Kind(models.TextChoices):
        TOPIC = "topic", _("topic")
        PANEL = "panel", _("panel")
        RUN = "run", _("run")
        INCUBATOR = "incubator", _("incubator")

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        PAUSED = "paused", _("paused")
        HALTED = "halted", _("halted")
        CLOSED = "closed", _("closed")

    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    key = models.CharField(_("key"), max_length=200)
    machine = models.CharField(_("machine"), max_length=64, blank=True)
    state = models.JSONField(_("state"), default=dict, blank=True)
    head = models.BigIntegerField(_("head"), default=0)
    floor = models.BigIntegerField(_("floor"), default=0)
    epoch = models.CharField(_("epoch"), max_length=32)
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.OPEN
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        ordering = ("kind", "key")
        constraints = (
            models.UniqueConstraint(fields=("kind", "key"), name="mashin_one_room_a_key"),
        )
        indexes = (
            models.Index(fields=("machine", "kind", "key"), name="mashin_rooms_of_machine"),
            models.Index(fields=("status", "kind", "key"), name="mashin_rooms_of_status"),
            # For the beginnings of keys, in whatever order the database sorts text.
            models.Index(
                fields=("key",), opclasses=("varchar_pattern_ops",), name="mashin_rooms_by_key"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class RoomEvent(models.Model):
    """One entry of a room's log; rows are added and trimmed, never changed.

    ``payload``: the JSON text as members get it.
    """

    room = models.ForeignKey(
        Room,
        on_delete=models.CASCADE,
        related_name="events",
        db_index=False,  # the constraint's index begins with it
        # Who adds events holds the room's lock, and so does who deletes a room. The database would
        # look each event's room up once more: a fifth of what a batch costs PostgreSQL.
        db_constraint=False,
        verbose_name=_("room"),
    )
    offset = models.BigIntegerField(_("offset"))
    type = models.CharField(_("type"), max_length=64)
    payload = models.TextField(_("payload"))
    actor = models.CharField(_("actor"), max_length=200, blank=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        verbose_name = _("room event")
        verbose_name_plural = _("room events")
        ordering = ("room", "offset")
        constraints = (
            models.UniqueConstraint(fields=("room", "offset"), name="mashin_one_event_an_offset"),
        )

    def __str__(self) -> str:
        return f"{self.room_id}:{self.offset} {self.type}"


class RoomMember(models.Model):
    """Somebody who is in a room through a connection of one process.

    Counts only while that process beats: after a crash nobody has to take the rows away first.
    """

    room = models.ForeignKey(
        Room,
        on_delete=models.CASCADE,
        related_name="members",
        db_index=False,  # the constraint's index begins with it
        verbose_name=_("room"),
    )
    process = models.ForeignKey(
        ServerProcess, on_delete=models.CASCADE, related_name="+", verbose_name=_("process")
    )
    connection = models.CharField(_("connection"), max_length=32)
    principal = models.CharField(_("principal"), max_length=200)
    since = models.DateTimeField(_("since"))

    class Meta:
        verbose_name = _("room member")
        verbose_name_plural = _("room members")
        ordering = ("room", "since")
        constraints = (
            models.UniqueConstraint(fields=("room", "connection"), name="mashin_one_member"),
        )

    def __str__(self) -> str:
        return f"{self.principal} in {self.room_id}"
