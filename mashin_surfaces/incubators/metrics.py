"""What a namespace has seen since its epoch began: events by type, tokens, cost, agents.

Counting goes on from where the last count ended, so a big log is not gone through again.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import orjson
from django.db.models import F

from ..rooms.log import database
from ..rooms.models import RoomEvent
from ..timers.moments import exclusive
from . import store
from .models import Incubator

#: Events that are read at once, and from how many uncounted ones on the count is kept.
CHUNK = 5_000
KEPT_FROM = 1_000
TELEMETRY = "telemetry."


def snapshot(room: int) -> dict[str, Any]:
    """The ``data`` of a metrics message, right to the event."""
    alias = database()
    with exclusive(alias):
        row = Incubator.objects.using(alias).select_related("room").get(pk=room)
        counts, tokens, cost = Counter(row.event_counts), 0, 0.0
        position, head = row.counted_to, row.room.head
        while position < head:
            events = list(
                RoomEvent.objects.using(alias)
                .filter(room=room, offset__gt=position, offset__lte=head)
                .order_by("offset")
                .values_list("offset", "type", "payload")[:CHUNK]
            )
            if not events:  # trimmed before they were counted
                break
            for _, type, payload in events:
                if type == "event":
                    event = orjson.loads(payload)
                    counts[event["event_type"]] += 1
                    if event["event_type"].startswith(TELEMETRY):
                        used = event["data"] if isinstance(event["data"], dict) else {}
                        tokens += _number(used.get("tokens"))
                        cost += float(_number(used.get("cost")))
            position = events[-1][0]
        if head - row.counted_to >= KEPT_FROM or tokens or cost:
            Incubator.objects.using(alias).filter(pk=room).update(
                event_counts=dict(counts),
                counted_to=head,
                tokens=F("tokens") + int(tokens),
                cost=F("cost") + Decimal(str(round(cost, 6))),
            )
    return {
        "totalTokens": row.tokens + int(tokens),
        "totalCost": round(float(row.cost) + cost, 6),
        "agentCount": len(store.agents(room)),
        "eventCounts": dict(counts),
    }


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def count_all() -> None:
    """Keep the counts of every namespace, so that trimming can't lose them."""
    rows = Incubator.objects.using(database()).filter(room__head__gt=F("counted_to"))
    for room in rows.values_list("pk", flat=True):
        snapshot(room)
