"""What the peers record: as many columns as a hand-written audit row has."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Access(models.Model):
    objects: ClassVar[models.Manager[Access]] = models.Manager()

    at = models.DateTimeField(auto_now_add=True)
    path = models.CharField(max_length=200)
    text = models.CharField(max_length=200)
    times = models.IntegerField(null=True)
    outcome = models.CharField(max_length=16)

    class Meta:
        app_label = "peers"

    def __str__(self) -> str:
        return f"{self.path} {self.outcome}"


class Event(models.Model):
    """An event of a log, as a project of its own would keep it."""

    objects: ClassVar[models.Manager[Event]] = models.Manager()

    room = models.IntegerField()
    offset = models.BigIntegerField()
    type = models.CharField(max_length=64)
    payload = models.TextField()
    actor = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "peers"
        indexes = (models.Index(fields=("room", "offset"), name="peers_event_offset"),)

    def __str__(self) -> str:
        return f"{self.room}:{self.offset} {self.type}"
