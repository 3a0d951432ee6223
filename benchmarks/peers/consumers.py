"""The websocket peers: Channels as its tutorial writes it; with validation and a record; with a
group; with a query."""

from __future__ import annotations

import json
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import connection
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .models import Access, Event


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(max_length=200)
    times: int | None = Field(default=None, ge=1, le=10)


class BareEcho(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """No validation, no record."""

    async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
        await self.send(text_data=text_data)


class RecordedEcho(AsyncWebsocketConsumer):  # type: ignore[misc]  # as above
    """Validates with pydantic and writes one row for each message."""

    async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
        try:
            question = Question.model_validate_json(text_data or "")
        except ValidationError as error:
            await self.send(text_data=json.dumps({"error": error.errors(include_url=False)}))
            return
        await Access.objects.acreate(
            path=self.scope["path"], text=question.text, times=question.times, outcome="allowed"
        )
        await self.send(text_data=question.model_dump_json())


class RoomMember(AsyncWebsocketConsumer):  # type: ignore[misc]  # as above
    """Channels' chat tutorial: a group, and a message for each of its members."""

    groups = ("bench",)

    async def bench_message(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


class Publisher(AsyncWebsocketConsumer):  # type: ignore[misc]  # as above
    """Sends what it receives to all members."""

    async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
        message = {"type": "bench.message", "text": text_data}
        await self.channel_layer.group_send("bench", message)
        await self.send(text_data="{}")


class Replay(AsyncWebsocketConsumer):  # type: ignore[misc]  # as above
    """A plain query, and a loop that sends each row as JSON."""

    async def receive(self, text_data: str | None = None, bytes_data: Any = None) -> None:
        for offset, payload in await database_sync_to_async(_rows)():
            await self.send(text_data=json.dumps({"offset": offset, "push": payload}))


def _rows() -> list[tuple[int, str]]:
    table = Event._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "offset", payload FROM {table} WHERE room = 1 ORDER BY "offset"')  # noqa: S608
        rows: list[tuple[int, str]] = cursor.fetchall()
        return rows
