"""What a namespace has seen since its epoch began: events by type, tokens, cost, agents.

Two kinds of telemetry feed it: what the engine books itself (``tool_call``, ``llm_call``, tokens
and cost of its tools), and the events ``telemetry.*`` that agents publish. The budget is measured
by the first kind alone (``budget.py``).

Counting goes on from where the last count ended, so a big log is not gone through again.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson
from django.db.models import F

from ..rooms.log import database
from ..rooms.models import RoomEvent
from ..steps.spending import MOST, MOST_TOKENS
from ..timers.clock import clock
from ..timers.moments import exclusive
from . import store
from .models import Incubator

#: Events that are read at once, and from how many uncounted ones on the count is kept.
CHUNK = 5_000
KEPT_FROM = 1_000
TELEMETRY = "telemetry."
#: How far agents' own words can bring the account: its columns have digits for more.
MOST_TOTAL = 2**62
MOST_COST = Decimal(10**9)


def snapshot(room: int, *, must_keep: bool = False) -> dict[str, Any]:
    """The ``data`` of a metrics message, right to the event. ``must_keep``: keep what was counted,
    however little it is."""
    alias = database()
    with exclusive(alias):
        # Behind the lock: else two processes would count the same events, or a reset's.
        rows = Incubator.objects.using(alias).select_for_update(of=("self",), no_key=True)
        row = rows.select_related("room").get(pk=room)
        counts = Counter(row.event_counts)
        tokens, cost = row.published_tokens, row.published_cost
        head = row.room.head
        for position in range(max(row.counted_to, row.room.floor), head, CHUNK):
            events = RoomEvent.objects.using(alias).filter(
                room=room, offset__gt=position, offset__lte=min(position + CHUNK, head)
            )
            for type, payload in events.values_list("type", "payload"):
                if type == "event":
                    event = orjson.loads(payload)
                    counts[event["event_type"]] += 1
                    if event["event_type"].startswith(TELEMETRY):
                        used = event["data"] if isinstance(event["data"], dict) else {}
                        tokens += int(_number(used.get("tokens"), MOST_TOKENS))
                        cost += Decimal(str(_number(used.get("cost"), float(MOST))))
        tokens, cost = min(tokens, MOST_TOTAL), min(round(cost, 6), MOST_COST)
        if head > row.counted_to and (must_keep or head - row.counted_to >= KEPT_FROM):
            Incubator.objects.using(alias).filter(pk=room).update(
                event_counts=dict(counts),
                counted_to=head,
                published_tokens=tokens,
                published_cost=cost,
            )
    counts += Counter(tool_call=row.tool_calls, llm_call=row.llm_calls)  # those above 0
    return {
        "totalTokens": row.tokens + tokens,
        "totalCost": float(row.cost + cost),
        "agentCount": len(store.agents(room)),
        "eventCounts": dict(counts),
    }


def _number(value: Any, most: float) -> float:
    """What an agent says that it used: what is no number, or can't be, counts for nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= most else 0


def count_all() -> None:
    """Keep the counts of every namespace, so that trimming can't lose them."""
    rows = Incubator.objects.using(database()).filter(room__head__gt=F("counted_to"))
    for room in list(rows.values_list("pk", flat=True)):
        if not clock.go_on():
            return
        keep(room)


def keep(room: int) -> None:
    """Keep the counts of one room of the kind incubator."""
    with suppress(Incubator.DoesNotExist):  # gone meanwhile
        snapshot(room, must_keep=True)
