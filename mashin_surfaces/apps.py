"""The Django app: where the parts are put together."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MashinSurfacesConfig(AppConfig):
    name = "mashin_surfaces"
    verbose_name = _("Machines and surfaces")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401  it registers itself
        from .composition import connect

        connect()
