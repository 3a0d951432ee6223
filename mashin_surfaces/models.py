"""All models of the app, for Django; each lives with its package."""

from .identity.models import ApiKey
from .incubators.models import Agent, Claim, DanceCall, Incubator, RunningCall, StateEntry
from .ledger.models import LedgerCheck, SurfaceAccess
from .machines.models import Epoch, Machine, MachineRevision, Surface
from .panels.models import Due, Panel, PanelRequest, Suspension
from .rooms.models import Room, RoomEvent, RoomMember
from .runs.models import CostEntry, Decision, Execution, Gate, Node, Run
from .timers.models import ServerProcess, Timer

__all__ = [
    "Agent",
    "ApiKey",
    "Claim",
    "CostEntry",
    "DanceCall",
    "Decision",
    "Due",
    "Epoch",
    "Execution",
    "Gate",
    "Incubator",
    "LedgerCheck",
    "Machine",
    "MachineRevision",
    "Node",
    "Panel",
    "PanelRequest",
    "Room",
    "RoomEvent",
    "RoomMember",
    "Run",
    "RunningCall",
    "ServerProcess",
    "StateEntry",
    "Surface",
    "SurfaceAccess",
    "Suspension",
    "Timer",
]
