"""Incubators as rows, besides the room that holds their log.

Written under the lock of the namespace's room (``rooms.appending``), together with the log.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..rooms.models import Room
from ..timers.models import ServerProcess


class Incubator(models.Model):
    """One namespace: whose tools it has, who stopped it, and what was used since it was reset.

    ``tokens`` and ``cost`` (US dollars) are what its tools have used, by which its budget is
    measured; ``published_tokens`` and ``published_cost`` what agents say that they have used.
    ``counted_to``: the offset up to which the log is counted.
    """

    room = models.OneToOneField(
        Room, on_delete=models.CASCADE, primary_key=True, related_name="incubator"
    )
    machine = models.CharField(_("machine"), max_length=64, blank=True, db_index=True)
    reason = models.TextField(_("reason"), blank=True)
    stopped_by = models.CharField(_("stopped by"), max_length=200, blank=True)
    reset_by = models.CharField(_("reset by"), max_length=200, blank=True)
    tokens = models.PositiveBigIntegerField(_("tokens"), default=0)
    cost = models.DecimalField(_("cost"), max_digits=16, decimal_places=6, default=0)
    published_tokens = models.PositiveBigIntegerField(_("published tokens"), default=0)
    published_cost = models.DecimalField(
        _("published cost"), max_digits=16, decimal_places=6, default=0
    )
    tool_calls = models.PositiveBigIntegerField(_("tool calls"), default=0)
    llm_calls = models.PositiveBigIntegerField(_("model calls"), default=0)
    is_warned = models.BooleanField(default=False)
    event_counts = models.JSONField(_("events by type"), default=dict)
    counted_to = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("incubator")
        verbose_name_plural = _("incubators")
        ordering = ("room__key",)

    def __str__(self) -> str:
        return self.room.key


class StateEntry(models.Model):
    """A key of the namespace's state. ``version``: +1 with each write of this key."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(_("key"), max_length=200)
    value = models.JSONField(_("value"), null=True)
    version = models.PositiveIntegerField(_("version"), default=1)
    set_by = models.CharField(_("set by"), max_length=200)
    is_deleted = models.BooleanField(default=False)
    updated_at = models.DateTimeField(_("updated at"))

    class Meta:
        verbose_name = _("state entry")
        verbose_name_plural = _("state entries")
        ordering = ("room", "key")
        constraints = (
            models.UniqueConstraint(fields=("room", "key"), name="mashin_one_entry_a_key"),
        )

    def __str__(self) -> str:
        return self.key


class Claim(models.Model):
    """A resource and who has it. The row stays when it is free, so that the fence only rises."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", db_index=False)
    resource = models.CharField(_("resource"), max_length=200)
    owner = models.CharField(_("owner"), max_length=200, blank=True)
    fence = models.PositiveBigIntegerField(_("fence"), default=1)
    claimed_at = models.DateTimeField(_("claimed at"))
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    class Meta:
        verbose_name = _("claim")
        verbose_name_plural = _("claims")
        ordering = ("room", "resource")
        constraints = (
            models.UniqueConstraint(fields=("room", "resource"), name="mashin_one_claim"),
        )
        indexes = (
            models.Index(
                fields=("expires_at",),
                name="mashin_claims_expire",
                condition=models.Q(expires_at__isnull=False) & ~models.Q(owner=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.resource}: {self.owner}"


class DanceCall(models.Model):
    """A tool call that brought a ``callId``: asked again, it is answered from here."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", db_index=False)
    principal = models.CharField(max_length=200)
    call_id = models.CharField(max_length=64)
    tool = models.CharField(max_length=64)
    result = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("dance call")
        verbose_name_plural = _("dance calls")
        constraints = (
            models.UniqueConstraint(
                fields=("room", "principal", "call_id"), name="mashin_one_dance_call"
            ),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.call_id}"


class RunningCall(models.Model):
    """A tool call that runs, and what it has reserved of the budget.

    Counts until ``until``, and only while its process beats: after a crash nobody has to take it
    away first.
    """

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", db_index=False)
    principal = models.CharField(max_length=200)
    call_id = models.CharField(max_length=64)
    process = models.ForeignKey(ServerProcess, on_delete=models.CASCADE, related_name="+")
    cost = models.DecimalField(_("cost"), max_digits=16, decimal_places=6, default=0)
    tokens = models.PositiveBigIntegerField(_("tokens"), default=0)
    until = models.DateTimeField()

    class Meta:
        verbose_name = _("running call")
        verbose_name_plural = _("running calls")
        constraints = (
            models.UniqueConstraint(
                fields=("room", "principal", "call_id"), name="mashin_one_running_call"
            ),
        )

    def __str__(self) -> str:
        return self.call_id


class Agent(models.Model):
    """An agent that was seen in a namespace."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(_("name"), max_length=200)
    role = models.CharField(_("role"), max_length=64, blank=True)
    principal = models.CharField(_("principal"), max_length=200)
    seen_at = models.DateTimeField(_("seen at"), db_index=True)

    class Meta:
        verbose_name = _("agent")
        verbose_name_plural = _("agents")
        ordering = ("room", "name")
        constraints = (models.UniqueConstraint(fields=("room", "name"), name="mashin_one_agent"),)

    def __str__(self) -> str:
        return self.name
