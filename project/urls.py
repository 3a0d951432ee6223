"""URLs of the reference project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from mashin_surfaces.surfaces.index import index

urlpatterns = [
    path("", index, name="index"),
    path("admin/", admin.site.urls),
    path("", include("mashin_surfaces.urls")),
]
