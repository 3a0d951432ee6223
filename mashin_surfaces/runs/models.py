"""Runs as rows, besides the room that holds their log.

Written under the lock of the run's room, together with the log's entries (``rooms.appending``): by
who works on the run (``driver.py``) and by who decides or controls it (``commands.py``); without
entries by who takes it up (``engine.py``) and by a child that ends (``launches.py``).
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..rooms.models import Room


class Run(models.Model):
    """One execution of a machine's graph (``docs/runs.md``).

    ``holder``: the process that works on it, "" when it rests; ``fence`` rises with each holder,
    ``version`` with each change. ``due_at``: when somebody has to look at it again. ``budget``,
    ``spent`` and ``reserved`` are US dollars.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        PAUSING = "pausing", _("pausing")
        PAUSED = "paused", _("paused")
        CANCELLING = "cancelling", _("cancelling")
        CANCELLED = "cancelled", _("cancelled")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")

    class Outcome(models.TextChoices):
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        TIMEOUT = "timeout", _("timeout")
        BUDGET_EXCEEDED = "budget_exceeded", _("budget exceeded")

    id = models.CharField(_("id"), primary_key=True, max_length=32)
    room = models.OneToOneField(
        Room, on_delete=models.CASCADE, related_name="run", verbose_name=_("room")
    )
    machine = models.CharField(_("machine"), max_length=64)
    revision = models.PositiveIntegerField(_("revision"))
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.RUNNING
    )
    #: Why it ends, as soon as that is known.
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices, blank=True)
    input = models.JSONField(_("input"))
    output = models.JSONField(_("output"), null=True, blank=True)
    error = models.JSONField(_("error"), null=True, blank=True)
    principal = models.CharField(_("started by"), max_length=200)
    client = models.CharField(max_length=64, blank=True)
    #: What was asked for under the principal's own key, so that asking again starts nothing.
    request_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  unique
    seed = models.BigIntegerField()
    max_parallel = models.PositiveSmallIntegerField(_("at once"))
    topology_version = models.PositiveIntegerField(_("topology version"), default=1)
    budget = models.DecimalField(
        _("budget"), max_digits=16, decimal_places=6, null=True, blank=True
    )
    spent = models.DecimalField(_("spent"), max_digits=16, decimal_places=6, default=0)
    reserved = models.DecimalField(_("reserved"), max_digits=16, decimal_places=6, default=0)
    is_warned = models.BooleanField(default=False)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children",
        verbose_name=_("launched by"),
    )  # fmt: skip
    parent_node = models.CharField(max_length=64, blank=True)
    parent_index = models.PositiveIntegerField(default=0)
    depth = models.PositiveSmallIntegerField(default=0)
    holder = models.CharField(max_length=32, blank=True)
    fence = models.PositiveIntegerField(default=0)
    version = models.PositiveBigIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ("-started_at",)
        indexes = (
            models.Index(fields=("machine", "-started_at"), name="mashin_runs_of_machine"),
            models.Index(fields=("-started_at",), name="mashin_runs_newest"),
            models.Index(fields=("status", "-started_at"), name="mashin_runs_of_status"),
            models.Index(
                fields=("due_at",), name="mashin_runs_due", condition=models.Q(due_at__isnull=False)
            ),
            models.Index(
                fields=("holder",), name="mashin_runs_held", condition=~models.Q(holder="")
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("principal", "request_key"), name="mashin_one_run_a_request"
            ),
        )

    def __str__(self) -> str:
        return f"{self.machine} {self.id}"


class Node(models.Model):
    """One step of a run and what became of it.

    ``step``: its definition, where a mutation brought it; else the machine's revision has it.
    ``inner``: outputs of the steps within it. ``attempts``: those that failed,
    ``[{"attempt", "started_at", "ended_at", "error"}]``; ``attempt`` counts them all.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        SCHEDULED = "scheduled", _("scheduled")
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        RETRYING = "retrying", _("retrying")
        PAUSED = "paused", _("waits")
        SKIPPED = "skipped", _("skipped")
        MUTATED = "mutated", _("mutated")
        CANCELLED = "cancelled", _("cancelled")

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="nodes", db_index=False)
    name = models.CharField(_("name"), max_length=64)
    position = models.PositiveIntegerField()
    title = models.CharField(_("title"), max_length=200)
    kind = models.CharField(_("kind"), max_length=16)
    needs = models.JSONField(_("needs"), default=list)
    step = models.JSONField(null=True, blank=True)
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.PENDING
    )
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    attempts = models.JSONField(default=list)
    output = models.JSONField(_("output"), null=True, blank=True)
    inner = models.JSONField(null=True, blank=True)
    error = models.JSONField(_("error"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=64, blank=True)
    feedback = models.TextField(_("feedback"), blank=True)
    metrics = models.JSONField(_("metrics"), null=True, blank=True)
    reserved = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    #: Digest of the inputs that somebody approved.
    approved = models.CharField(max_length=64, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        ordering = ("run", "position")
        constraints = (
            models.UniqueConstraint(fields=("run", "name"), name="mashin_one_node_a_name"),
        )

    def __str__(self) -> str:
        return f"{self.run_id}:{self.name}"


class Gate(models.Model):
    """What a node waits for: a person's decision, or an event from outside.

    ``shown``: the GatePresentation without what changes while it is open; ``digest`` is of it.
    ``choice``: how it was decided, ``{"decision", "option", "scope", "feedback", "by"}``, or the
    event's ``{"value"}``.
    """

    class Kind(models.TextChoices):
        STEP = "step", _("a gate of the machine")
        APPROVAL = "approval", _("an effect needs approval")
        CRASH = "crash", _("an effect was cut off")
        BUDGET = "budget", _("the budget is spent")
        WAIT = "wait", _("an event")

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        DECIDED = "decided", _("decided")
        EXPIRED = "expired", _("expired")
        CLOSED = "closed", _("closed")

    id = models.CharField(_("id"), primary_key=True, max_length=32)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="gates")
    node = models.CharField(_("node"), max_length=64)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    gate_class = models.CharField(_("class"), max_length=16, default="quality")
    revision = models.PositiveIntegerField(_("revision"), default=1)
    shown = models.JSONField(_("shown"))
    digest = models.CharField(max_length=64)
    event = models.CharField(_("event"), max_length=200, blank=True)
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.OPEN
    )
    choice = models.JSONField(_("choice"), null=True, blank=True)
    #: Whether the run has gone on with the choice.
    is_taken = models.BooleanField(default=False)
    is_escalated = models.BooleanField(_("escalated"), default=False)
    opened_at = models.DateTimeField(_("opened at"))
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("gate")
        verbose_name_plural = _("gates")
        ordering = ("-opened_at",)
        indexes = (
            models.Index(fields=("run", "is_taken"), name="mashin_gates_of_run"),
            models.Index(fields=("status", "-opened_at"), name="mashin_gates_waiting"),
            models.Index(
                fields=("event",),
                name="mashin_gates_of_event",
                condition=models.Q(status="open") & ~models.Q(event=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.node} r{self.revision}"


class Decision(models.Model):
    """What somebody decided at a gate; rows are added, never changed.

    ``digest``: of what was shown. ``ref``: the caller's own, so that asking again changes nothing.
    """

    gate = models.ForeignKey(Gate, on_delete=models.CASCADE, related_name="decisions")
    revision = models.PositiveIntegerField(_("revision"))
    digest = models.CharField(max_length=64)
    decision = models.CharField(_("decision"), max_length=16)
    option = models.CharField(_("option"), max_length=64, blank=True)
    scope = models.CharField(_("scope"), max_length=16, blank=True)
    feedback = models.TextField(_("feedback"), blank=True)
    by = models.CharField(_("by"), max_length=200)
    ref = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001  unique
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        ordering = ("at",)
        constraints = (
            models.UniqueConstraint(fields=("gate", "by", "ref"), name="mashin_one_decision_a_ref"),
        )

    def __str__(self) -> str:
        return f"{self.decision} by {self.by}"


class CostEntry(models.Model):
    """What an attempt of a node cost, in US dollars; the run's ``spent`` is the sum."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="costs")
    node = models.CharField(_("node"), max_length=64)
    attempt = models.PositiveIntegerField(_("attempt"))
    amount = models.DecimalField(_("amount"), max_digits=16, decimal_places=6)
    model = models.CharField(_("model"), max_length=200, blank=True)
    input_tokens = models.PositiveIntegerField(_("input tokens"), default=0)
    output_tokens = models.PositiveIntegerField(_("output tokens"), default=0)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("cost entry")
        verbose_name_plural = _("cost entries")
        ordering = ("run", "at")

    def __str__(self) -> str:
        return f"{self.node} {self.amount}"


class Execution(models.Model):
    """An attempt of a node that another process was asked to make (a Celery worker).

    ``process``: the one that has begun. ``outcome``: what came of it, until the run has taken it.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="executions")
    node = models.CharField(max_length=64)
    attempt = models.PositiveIntegerField()
    process = models.CharField(max_length=32)
    outcome = models.JSONField(null=True)
    started_at = models.DateTimeField()

    class Meta:
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        constraints = (
            models.UniqueConstraint(
                fields=("run", "node", "attempt"), name="mashin_one_execution_an_attempt"
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}:{self.node} {self.attempt}"
