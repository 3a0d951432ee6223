"""Access rows for the ledger's tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mashin_surfaces.ledger.access import Access
from mashin_surfaces.ledger.chain import new_id


def access(**changed: Any) -> Access:
    """An ordinary row, with some columns changed."""
    id = new_id()
    plain = Access(
        id=id,
        at=datetime.now(UTC),
        event="message",
        surface_kind="websocket",
        surface="websocket:/ws/x",
        path="/ws/x",
        machine="x",
        revision=1,
        principal="ada",
        credential="jwt:1",
        client="127.0.0.1",
        request_id=id,
        outcome="allowed",
        code="",
        duration_us=12,
        cost=None,
        input="blake2b:00",
        output="",
        steps="",
    )
    return plain._replace(**changed)
