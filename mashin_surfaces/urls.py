"""URLs to include at the root of a project, last: ``path("", include("mashin_surfaces.urls"))``."""

from __future__ import annotations

from django.urls import path, register_converter

from .conf import settings
from .server.health import healthz, readyz
from .surfaces.bus_api import buses
from .surfaces.http import SurfaceConverter, surface
from .surfaces.panel_api import panels
from .surfaces.run_api import runs

app_name = "mashin_surfaces"

_prefix = f"{settings.PANELS.PREFIX.strip('/')}/".lstrip("/")
_buses = settings.INCUBATORS.PREFIX.strip("/")
_runs = settings.RUNS.PREFIX.strip("/")

register_converter(SurfaceConverter, "surface")

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    # Before panels and runs: an operator's own path wins.
    path("<surface:route>", surface, name="surface"),
    path(f"{_prefix}panels", panels, {"action": "panels"}, name="panels"),
    path(f"{_prefix}panels/<str:panel>", panels, {"action": "panel"}, name="panel"),
    *(
        path(f"{_prefix}panels/<str:panel>/{action}", panels, {"action": action})
        for action in ("state", "events", "suspensions", "ws")
    ),
    path(f"{_prefix}panels/<str:panel>/trigger/<str:detail>", panels, {"action": "trigger"}),
    path(f"{_prefix}panels/<str:panel>/suspensions/<str:detail>", panels, {"action": "suspension"}),
    path(_runs, runs, {"action": "runs"}, name="runs"),
    path(f"{_runs}/<str:run>", runs, {"action": "run"}, name="run"),
    *(
        path(f"{_runs}/<str:run>/{action}", runs, {"action": action})
        for action in (
            "stream", "events", "results", "decisions", "pause", "resume", "cancel", "signals",
            "mutations",
        )
    ),
    path(f"{_runs}/<str:run>/nodes/<str:node>/output", runs, {"action": "output"}),
    path(f"{_runs}/<str:run>/nodes/<str:node>/retry", runs, {"action": "retry"}),
    *(
        path(f"{_buses}/<str:namespace>/{action}", buses, {"action": action})
        for action in ("state", "events", "claims", "agents", "metrics", "control", "dances")
    ),
    path(f"{_buses}/<str:namespace>/dances/<str:detail>", buses, {"action": "dance"}),
]  # fmt: skip
