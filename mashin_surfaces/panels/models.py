"""Panels as rows, besides the room that holds their state and log.

Written through ``store.py``, ``runner.py`` and ``suspensions.py`` only.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..rooms.models import Room


class Panel(models.Model):
    """What a panel is, besides its room: which tools it has, and what they may do.

    ``tools``: definitions (``definition.py``), empty when ``machine`` has them. ``capabilities``:
    the most that its tools may use; None for no bound.
    """

    room = models.OneToOneField(
        Room, on_delete=models.CASCADE, primary_key=True, related_name="panel"
    )
    kind = models.CharField(_("kind"), max_length=64)
    title = models.CharField(_("title"), max_length=200, blank=True)
    machine = models.CharField(_("machine"), max_length=64, blank=True)
    tools = models.JSONField(_("tools"), default=list, blank=True)
    capabilities = models.JSONField(_("capabilities"), null=True, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    created_by = models.CharField(_("created by"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("panel")
        verbose_name_plural = _("panels")
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("-created_at",), name="mashin_panels_newest"),
            models.Index(fields=("kind", "-created_at"), name="mashin_panels_of_kind"),
            models.Index(fields=("machine", "-created_at"), name="mashin_panels_of_machine"),
        )

    def __str__(self) -> str:
        return self.title or self.room.key


class PanelRequest(models.Model):
    """A trigger that brought a ``requestId``: asked again, it is answered from here.

    ``result``: the ExecutionResult as JSON text.
    """

    panel = models.ForeignKey(
        Panel, on_delete=models.CASCADE, related_name="requests", db_index=False
    )
    principal = models.CharField(max_length=200)
    request_id = models.CharField(max_length=64)
    tool = models.CharField(max_length=64)
    result = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("panel request")
        verbose_name_plural = _("panel requests")
        constraints = (
            models.UniqueConstraint(
                fields=("panel", "principal", "request_id"), name="mashin_one_panel_request"
            ),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.request_id}"


class Suspension(models.Model):
    """A tool that waits for an extension or a person; it runs again, from its beginning, with
    the answers that it was given so far.

    ``state``: the panel's as the tool first saw it. ``answers``: ``{"value"}`` or ``{"error"}``
    for each time that it has waited.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        ANSWERED = "answered", _("answered")
        CANCELLED = "cancelled", _("cancelled")
        EXPIRED = "expired", _("expired")

    id = models.CharField(primary_key=True, max_length=32)
    panel = models.ForeignKey(
        Panel, on_delete=models.CASCADE, related_name="suspensions", verbose_name=_("panel")
    )
    tool = models.CharField(_("tool"), max_length=64)
    args = models.JSONField(_("arguments"), null=True)
    request_id = models.CharField(_("request id"), max_length=64)
    principal = models.CharField(_("principal"), max_length=200)
    extension = models.CharField(_("extension"), max_length=64)
    method = models.CharField(_("method"), max_length=64)
    call = models.JSONField(_("what it asks"))
    state = models.JSONField()
    answers = models.JSONField(default=list)
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.OPEN
    )
    deadline = models.DateTimeField(_("deadline"))
    created_at = models.DateTimeField(_("created at"))
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    closed_by = models.CharField(_("closed by"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("suspension")
        verbose_name_plural = _("suspensions")
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("panel", "status"), name="mashin_suspensions"),
            models.Index(fields=("status", "panel"), name="mashin_suspended"),
        )

    def __str__(self) -> str:
        return f"{self.tool} waits for {self.extension}.{self.method}"


class Due(models.Model):
    """A run of a tool that nobody sends a frame for: due at a time, done once in the cluster.

    ``kind``: ``interval``, ``cron`` (the row stays, with its next time), ``event``, ``change``,
    ``hand`` (somebody asked, ``due.by_hand``), ``resume`` and ``deadline`` (``payload``: the
    suspension's id). It is taken away, or given its next time, in the transaction that writes what
    it did.
    """

    panel = models.ForeignKey(Panel, on_delete=models.CASCADE, related_name="due", db_index=False)
    kind = models.CharField(max_length=16)
    tool = models.CharField(max_length=64)
    payload = models.JSONField(null=True)
    #: How many triggers stand behind this one, each fired by the one before.
    depth = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()

    class Meta:
        verbose_name = _("due trigger")
        verbose_name_plural = _("due triggers")
        ordering = ("due_at", "pk")
        indexes = (
            models.Index(fields=("panel", "due_at"), name="mashin_due_of_panel"),
            models.Index(fields=("due_at",), name="mashin_due"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.tool}"
