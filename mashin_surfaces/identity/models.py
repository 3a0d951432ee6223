"""API keys: stored as a keyed hash, shown once."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ApiKey(models.Model):
    """``msk_<id>_<secret>``, of which only a keyed hash is here. See ``identity/api_keys.py``."""

    id = models.CharField(_("id"), max_length=16, primary_key=True, editable=False)
    name = models.CharField(_("name"), max_length=100, help_text=_("Whose key it is."))
    hash = models.CharField(_("hash"), max_length=64, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("owner"),
        help_text=_("Empty: a service of that name. Else the key can do what this user may."),
    )
    scopes = models.JSONField(_("scopes"), default=list, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ("name", "-created_at")
        indexes = (
            models.Index(fields=("name", "-created_at"), name="mashin_keys_by_name"),
            models.Index(  # for the beginnings of names
                fields=("name",), opclasses=("varchar_pattern_ops",), name="mashin_keys_named"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} (msk_{self.id}_…)"

    @property
    def is_live(self) -> bool:
        """Neither revoked nor expired."""
        if self.revoked_at is not None:
            return False
        return self.expires_at is None or self.expires_at > timezone.now()
