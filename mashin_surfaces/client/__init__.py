"""Clients for programs: asynchronous, typed; they come back after a disconnect and take up where
they were (``docs/client.md``).

They need ``websockets`` (the extra ``client``) and nothing else: no Django, no settings.
"""

from __future__ import annotations

from .claim import Claim
from .connection import ConnectionState
from .errors import ClaimLost, ClientError, Closed, Interrupted, Refused, ToolFailed
from .events import Gap, Reset
from .inbox import Inbox
from .incubator import (
    BusEvent,
    ClaimChanged,
    Controlled,
    IncubatorClient,
    Metrics,
    StateChanged,
    Tool,
)
from .machine import MachineClient, Push
from .panel import (
    Mutation,
    PanelClient,
    PanelEvent,
    Patch,
    Progress,
    Result,
    StatusChanged,
)
from .run import Gate, Node, Run, RunClient, RunEvent

__all__ = [
    "BusEvent", "Claim", "ClaimChanged", "ClaimLost", "ClientError", "Closed", "ConnectionState",
    "Controlled", "Gap", "Gate", "Inbox", "IncubatorClient", "Interrupted", "MachineClient",
    "Metrics", "Mutation", "Node", "PanelClient", "PanelEvent", "Patch", "Progress", "Push",
    "Refused", "Reset", "Result", "Run", "RunClient", "RunEvent", "StateChanged", "StatusChanged",
    "Tool", "ToolFailed",
]  # fmt: skip
