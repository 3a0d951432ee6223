"""The models on an admin site of a project's own."""

from __future__ import annotations

from django.contrib.admin import AdminSite

from mashin_surfaces.admin import register
from mashin_surfaces.models import ApiKey, Epoch, Machine, MachineRevision, Surface, SurfaceAccess


def test_another_site_gets_them_by_one_call() -> None:
    site = AdminSite(name="own")
    register(site)
    assert all(map(site.is_registered, (Machine, Surface, SurfaceAccess, ApiKey)))
    assert not any(map(site.is_registered, (MachineRevision, Epoch)))
