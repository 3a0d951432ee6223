"""The websocket peers: Channels as its tutorial writes it, and with validation and a record."""

from __future__ import annotations

import json
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .models import Access


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
