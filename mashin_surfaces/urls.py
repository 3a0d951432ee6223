"""URLs to include at the root of a project, last: ``path("", include("mashin_surfaces.urls"))``."""

from __future__ import annotations

from django.urls import path, register_converter

from .server.health import healthz, readyz
from .surfaces.http import SurfaceConverter, surface

app_name = "mashin_surfaces"

register_converter(SurfaceConverter, "surface")

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("<surface:route>", surface, name="surface"),
]
