"""The front page: which demo machines are there, and where."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mashin_surfaces import conf
from mashin_surfaces.models import Machine, Surface


def index(request: HttpRequest) -> HttpResponse:
    """Every machine with the surfaces that this visitor may come to."""
    known = request.user.is_authenticated
    listed = [
        (machine, [surface for surface in machine.surfaces.all() if _is_open(surface, known)])
        for machine in Machine.objects.filter(enabled=True).prefetch_related("surfaces")
    ]
    return render(
        request,
        "index.html",
        {
            "machines": [(machine, surfaces) for machine, surfaces in listed if surfaces],
            "assumed": conf.settings.ASK == "assume",
        },
    )


def _is_open(surface: Surface, known: bool) -> bool:
    """Strangers are shown what is open to everybody."""
    return surface.enabled and (known or "none" in (surface.effective_options().get("auth") or ()))
