"""A surface described for a client: where it is, what it takes, what it gives."""

from __future__ import annotations

from typing import Any

from ..dialects.machine import ENVELOPE
from ..governance.door import Door


def describe_surface(door: Door) -> dict[str, Any]:
    """JSON-ready; ``accepts`` and ``responds`` are JSON Schema 2020-12."""
    compiled = door.machine.compiled
    described: dict[str, Any] = {
        "kind": door.kind,
        "path": door.path,
        "machine": compiled.name,
        "title": compiled.title,
        "auth": sorted(door.accepted),
        "scopes": list(door.wanted),
        "accepts": compiled.accepts.json_schema(),
        "responds": compiled.responds.json_schema(),
    }
    if door.kind == "websocket":
        described["dialect"] = door.options.get("dialect", "machine")
        if described["dialect"] == "machine":
            described["subprotocols"] = [ENVELOPE]
    if door.kind == "api":
        described["method"] = door.options.get("method", "POST")
    return described
