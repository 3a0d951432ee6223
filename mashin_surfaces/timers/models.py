"""What is timed, as rows: who beats, and what is due and held by whom.

Times are the database's (``clock.now``), so that hosts need not agree on the time.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class ServerProcess(models.Model):
    """A process that serves, alive while ``beat_at`` is fresh.

    ``connections``: sockets and event streams that it had at its last beat.
    """

    id = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(_("host"), max_length=200)
    pid = models.PositiveIntegerField(_("pid"))
    started_at = models.DateTimeField(_("started at"))
    beat_at = models.DateTimeField(_("beat at"), db_index=True)
    connections = models.PositiveIntegerField(_("connections"), default=0)

    class Meta:
        verbose_name = _("server process")
        verbose_name_plural = _("server processes")
        ordering = ("started_at",)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Timer(models.Model):
    """Work that is due at a time, done by one process of the cluster: who holds it, until when.

    ``fence`` rises with every new holder, so that an old one can be told from the one of now.
    """

    kind = models.CharField(_("kind"), max_length=32)
    key = models.CharField(_("key"), max_length=200)
    due_at = models.DateTimeField(_("due at"), null=True, blank=True, db_index=True)
    holder = models.CharField(_("holder"), max_length=32, blank=True)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)
    fence = models.BigIntegerField(_("fence"), default=0)

    class Meta:
        verbose_name = _("timer")
        verbose_name_plural = _("timers")
        ordering = ("kind", "key")
        constraints = (
            models.UniqueConstraint(fields=("kind", "key"), name="mashin_one_timer_a_key"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"
