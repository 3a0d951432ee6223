"""``SurfaceAccess``: what happened at a door, append-only; and when all of it was checked."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class AppendOnlyError(Exception):
    """Someone tried to change or delete a row of the ledger."""


class AppendOnlyQuerySet(models.QuerySet["SurfaceAccess"]):
    """Reads; every way to write is closed. Rows come from the ledger's writer."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AppendOnlyError("SurfaceAccess rows are written by the ledger alone, and stay.")

    create = update = delete = bulk_create = bulk_update = _refuse
    get_or_create = update_or_create = _raw_delete = _refuse


class SurfaceAccess(models.Model):
    """One access, connect or disconnect, allowed or not (``docs/ledger.md``).

    ``input``, ``output`` and ``steps`` are JSON text, kept as text so that the hash can be
    computed again from what the database gives back. ``lane`` names the writer; ``hash`` is over
    the row and ``prev_hash``, the hash of row ``seq - 1`` of the lane.
    """

    class Event(models.TextChoices):
        MESSAGE = "message", _("message")
        RESULT = "result", _("result of a stream")
        SUBSCRIBE = "subscribe", _("subscription")
        UNSUBSCRIBE = "unsubscribe", _("end of a subscription")
        TRIGGER = "trigger", _("trigger of a tool")
        RESUME = "resume", _("answer to a suspension")
        START = "start", _("start of a run")
        CONTROL = "control", _("control")
        DECIDE = "decide", _("decision at a gate")
        CREATE = "create", _("creation")
        DELETE = "delete", _("deletion")
        RESET = "reset", _("reset")
        READ = "read", _("read")
        CONNECT = "connect", _("connect")
        DISCONNECT = "disconnect", _("disconnect")
        AUTHENTICATE = "authenticate", _("fresh credentials")
        END = "end", _("ended by the server")
        DESCRIBE = "describe", _("description asked")
        VIEW = "view", _("page viewed")

    class Outcome(models.TextChoices):
        ALLOWED = "allowed", _("allowed")
        REFUSED = "refused", _("refused")
        FAILED = "failed", _("failed")

    id = models.UUIDField(primary_key=True, editable=False)
    at = models.DateTimeField(_("at"))
    event = models.CharField(_("event"), max_length=16, choices=Event.choices)
    surface_kind = models.CharField(_("surface kind"), max_length=16)
    surface = models.CharField(_("surface"), max_length=200)
    path = models.CharField(_("path"), max_length=500)
    machine = models.CharField(_("machine"), max_length=64)
    revision = models.PositiveIntegerField(_("revision"))
    principal = models.CharField(_("principal"), max_length=200)
    credential = models.CharField(_("credential"), max_length=200)
    client = models.CharField(_("client"), max_length=64)
    request_id = models.CharField(_("request id"), max_length=64)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    code = models.CharField(_("code"), max_length=32)
    duration_us = models.BigIntegerField(_("duration (µs)"))
    cost = models.DecimalField(_("cost"), max_digits=16, decimal_places=8, null=True)
    input = models.TextField(_("input"))
    output = models.TextField(_("output"))
    steps = models.TextField(_("steps"))
    lane = models.CharField(_("lane"), max_length=64)
    seq = models.BigIntegerField(_("seq"))
    prev_hash = models.CharField(_("previous hash"), max_length=64)
    hash = models.CharField(_("hash"), max_length=64)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("surface access")
        verbose_name_plural = _("surface accesses")
        ordering = ("-id",)  # version 7: in the order of time
        constraints = (
            models.UniqueConstraint(fields=("lane", "seq"), name="mashin_one_row_a_lane_seq"),
        )
        indexes = (
            models.Index(fields=("machine", "-id"), name="mashin_access_machine"),
            models.Index(fields=("principal", "-id"), name="mashin_access_principal"),
            # Of the few that were not allowed: the others cost nothing.
            models.Index(
                fields=("-id", "code"),
                name="mashin_access_refused",
                condition=~models.Q(outcome="allowed"),
            ),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.surface} {self.code or self.outcome}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise AppendOnlyError("SurfaceAccess rows are written by the ledger alone, and stay.")

    delete = save  # type: ignore[assignment]  # neither returns


class LedgerCheck(models.Model):
    """The last walk over all lanes, one row: ``problem`` is a sentence, empty when all held."""

    at = models.DateTimeField(_("at"))
    lanes = models.PositiveIntegerField(_("lanes"))
    rows = models.PositiveBigIntegerField(_("rows"))
    problem = models.TextField(_("problem"), blank=True)

    class Meta:
        verbose_name = _("check of the ledger")
        verbose_name_plural = _("checks of the ledger")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.problem}".rstrip()
