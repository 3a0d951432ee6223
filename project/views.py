"""The front page: which demo machines are there, and where."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mashin_surfaces.models import Machine, Surface


def index(request: HttpRequest) -> HttpResponse:
    """Every enabled machine with its enabled surfaces."""
    surfaces = Surface.objects.filter(enabled=True).order_by("kind", "path")
    machines = Machine.objects.filter(enabled=True).prefetch_related(
        Prefetch("surfaces", queryset=surfaces, to_attr="open_surfaces")
    )
    return render(
        request,
        "index.html",
        {"machines": machines, "assumed": settings.MASHIN_SURFACES["ASK"] == "assume"},
    )
