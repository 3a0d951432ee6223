"""All models of the app, for Django; each lives with its package."""

from .identity.models import ApiKey
from .ledger.models import SurfaceAccess
from .machines.models import Epoch, Machine, MachineRevision, Surface

__all__ = ["ApiKey", "Epoch", "Machine", "MachineRevision", "Surface", "SurfaceAccess"]
