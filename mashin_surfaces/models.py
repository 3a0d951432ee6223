"""All models of the app, for Django; each lives with its package."""

from .identity.models import ApiKey
from .ledger.models import SurfaceAccess
from .machines.models import Epoch, Machine, MachineRevision, Surface
from .rooms.models import Room, RoomEvent, RoomMember
from .timers.models import ServerProcess, Timer

__all__ = [
    "ApiKey",
    "Epoch",
    "Machine",
    "MachineRevision",
    "Room",
    "RoomEvent",
    "RoomMember",
    "ServerProcess",
    "Surface",
    "SurfaceAccess",
    "Timer",
]
