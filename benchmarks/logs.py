"""Fills logs for replays: ``python -m benchmarks.logs '{"kind": "ours", "topic", "events"}'``.

The rows are as if they had been published; the peer's table gets the same events.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import django

BATCH = 5000


def events(number: int) -> Iterator[tuple[int, str]]:
    """Offsets and payloads."""
    for offset in range(1, number + 1):
        yield offset, json.dumps({"sequence": offset, "text": "x" * 64}, separators=(",", ":"))


def fill_ours(order: dict[str, Any]) -> None:
    from mashin_surfaces.rooms.models import Room, RoomEvent
    from mashin_surfaces.rooms.topics import room_of_topic

    room, now = room_of_topic("bench_room", order["topic"]), datetime.now(UTC)
    for rows in _batches(events(order["events"])):
        RoomEvent.objects.bulk_create(
            RoomEvent(room_id=room, offset=offset, type="result", payload=payload, created_at=now)
            for offset, payload in rows
        )
    Room.objects.filter(pk=room).update(head=order["events"])


def fill_peers(order: dict[str, Any]) -> None:
    from benchmarks.peers.models import Event

    Event.objects.all().delete()
    for rows in _batches(events(order["events"])):
        Event.objects.bulk_create(
            Event(room=1, offset=offset, type="result", payload=payload) for offset, payload in rows
        )


def _batches(items: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    while rows := list(islice(items, BATCH)):
        yield rows


KINDS = {"ours": fill_ours, "peers": fill_peers}

if __name__ == "__main__":
    django.setup()
    order = json.loads(sys.argv[1])
    KINDS[order["kind"]](order)
    print("{}")
