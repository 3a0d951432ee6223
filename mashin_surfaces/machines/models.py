"""A machine as rows: its definition now, every definition it had, and the doors it has."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from .definition import MachineDefinition


class Machine(models.Model):
    """A declared machine. ``definition`` is the truth; ``source`` is how a person wrote it.

    Written through ``machines.store.save_machine`` only, which keeps revision, surfaces and
    definition in step.
    """

    name = models.SlugField(_("name"), max_length=64, unique=True)
    title = models.CharField(_("title"), max_length=200, blank=True)
    definition = models.JSONField(_("definition"))
    source = models.TextField(_("source"), blank=True)
    revision = models.PositiveIntegerField(_("revision"), default=1)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("machine")
        verbose_name_plural = _("machines")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.title or self.name

    def parsed(self) -> MachineDefinition:
        """The definition as an object; raises pydantic's ``ValidationError`` on a damaged row."""
        return MachineDefinition.model_validate(self.definition)


class MachineRevision(models.Model):
    """What a machine was at one revision; rows are added, never changed."""

    machine = models.ForeignKey(
        Machine, on_delete=models.CASCADE, related_name="revisions", verbose_name=_("machine")
    )
    revision = models.PositiveIntegerField(_("revision"))
    definition = models.JSONField(_("definition"))
    source = models.TextField(_("source"), blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )

    class Meta:
        verbose_name = _("machine revision")
        verbose_name_plural = _("machine revisions")
        ordering = ("machine", "-revision")
        constraints = (
            models.UniqueConstraint(fields=("machine", "revision"), name="mashin_one_revision"),
        )

    def __str__(self) -> str:
        return f"{self.machine} r{self.revision}"


class Surface(models.Model):
    """A door of a machine: made from ``expresses``, overridden by an operator without touching it.

    An override that is empty (None or blank) leaves the source's value in force.
    """

    class Kind(models.TextChoices):
        WEBSOCKET = "websocket", _("websocket")
        API = "api", _("API")
        PAGE = "page", _("page")

    class Protocol(models.TextChoices):
        WEBSOCKET = "websocket", _("websocket")
        HTTP = "http", _("HTTP")

    machine = models.ForeignKey(
        Machine, on_delete=models.CASCADE, related_name="surfaces", verbose_name=_("machine")
    )
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    protocol = models.CharField(_("protocol"), max_length=16, choices=Protocol.choices)
    path = models.CharField(_("path"), max_length=500)
    options = models.JSONField(_("options"), default=dict)
    enabled = models.BooleanField(_("enabled"), default=True)
    auth_override = models.CharField(
        _("auth"),
        max_length=100,
        blank=True,
        help_text=_("Credential kinds, comma separated: session, jwt, api_key, none."),
    )
    scopes_override = models.CharField(
        _("scopes"), max_length=500, blank=True, help_text=_("Wanted scopes, comma separated.")
    )
    rate_override = models.CharField(
        _("rate"), max_length=50, blank=True, help_text=_("Per principal, e.g. 20/s burst 40.")
    )
    idle_timeout_override = models.FloatField(
        _("idle timeout"), null=True, blank=True, help_text=_("Seconds; websocket only.")
    )
    dialect_override = models.CharField(
        _("dialect"), max_length=16, blank=True, help_text=_("Websocket only.")
    )

    class Meta:
        verbose_name = _("surface")
        verbose_name_plural = _("surfaces")
        ordering = ("machine", "kind", "path")
        constraints = (
            models.UniqueConstraint(fields=("protocol", "path"), name="mashin_one_surface_a_path"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def effective_options(self) -> dict[str, Any]:
        """The options of the source with the operator's overrides laid over them."""
        options = dict(self.options)
        if self.auth_override:
            options["auth"] = [part.strip() for part in self.auth_override.split(",")]
        if self.scopes_override:
            options["scopes"] = [part.strip() for part in self.scopes_override.split(",")]
        if self.rate_override:
            options["rate"] = self.rate_override
        if self.kind == Surface.Kind.WEBSOCKET:
            if self.idle_timeout_override is not None:
                options["idle_timeout"] = self.idle_timeout_override
            if self.dialect_override:
                options["dialect"] = self.dialect_override
        return options


class Epoch(models.Model):
    """One row per thing that processes watch: its number moves when they must look again.

    ``definitions``: machines and surfaces. ``credentials``: keys, users, sessions.
    """

    name = models.CharField(max_length=32, primary_key=True)
    number = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("epoch")
        verbose_name_plural = _("epochs")

    def __str__(self) -> str:
        return f"{self.name} {self.number}"
