"""The admin of machines, surfaces, rooms, panels, runs, incubators, accesses, keys: a module each.

Nothing is decided here: sources are read by ``machines``, keys are issued by ``identity``, rows of
the ledger are only shown. A project with an admin site of its own calls ``register(site)``.
"""

from __future__ import annotations

from django.contrib import admin

from ..identity.models import ApiKey
from ..incubators.models import Incubator
from ..ledger.models import SurfaceAccess
from ..machines.models import Machine, Surface
from ..panels.models import Panel
from ..rooms.models import Room
from ..runs.models import Gate, Run
from .accesses import SurfaceAccessAdmin
from .api_keys import ApiKeyAdmin
from .gates import GateAdmin
from .incubators import IncubatorAdmin
from .machines import MachineAdmin
from .panels import PanelAdmin
from .rooms import RoomAdmin
from .runs import RunAdmin
from .surfaces import SurfaceAdmin


def register(site: admin.AdminSite) -> None:
    """Register the models that have a page of their own."""
    site.register(Machine, MachineAdmin)
    site.register(Surface, SurfaceAdmin)
    site.register(Panel, PanelAdmin)
    site.register(Room, RoomAdmin)
    site.register(Run, RunAdmin)
    site.register(Gate, GateAdmin)
    site.register(Incubator, IncubatorAdmin)
    site.register(SurfaceAccess, SurfaceAccessAdmin)
    site.register(ApiKey, ApiKeyAdmin)


register(admin.site)
