"""Topics as server-sent events, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.wire.conftest import DEADLINE, Wire
from tests.wire.test_subscriptions import members, write

pytestmark = pytest.mark.slow

PATH = "/api/wire/board/follow"
EVENTS = {"Accept": "text/event-stream"}


class Reader:
    """The events of a response, one at a time: ``(event, id, data)``."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, str, Any]:
        found = {"event": "message", "id": "", "data": ""}
        async with asyncio.timeout(DEADLINE):
            async for line in self._lines:
                if not line and found["data"]:
                    break
                name, _, value = line.partition(": ")
                if name:
                    found[name] = value
        return found["event"], found["id"], json.loads(found["data"])


@asynccontextmanager
async def following(
    wire: Wire, topic: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Reader]:
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        url = f"http://{wire.project.host}{PATH}?subscribe={topic}"
        async with client.stream("GET", url, headers={**EVENTS, **(headers or {})}) as response:
            yield Reader(response)


async def test_a_topic_is_followed_over_http(wire: Wire) -> None:
    async with following(wire, "main") as reader:
        assert reader.response.headers["content-type"] == "text/event-stream"
        event, id, joined = await reader.next()
        assert (event, id, joined["recovered"]) == ("subscribed", str(joined["offset"]), False)
        await write(wire, "main", 1, 2)
        first = joined["offset"] + 1
        assert await reader.next() == ("message", str(first), {"value": 1})
        assert await reader.next() == ("message", str(first + 1), {"value": 2})
    await wire.eventually(lambda: members(wire, "wire_board:main") == 0)


async def test_a_browser_that_comes_back_gets_what_it_missed(wire: Wire) -> None:
    async with following(wire, "main") as reader:
        _, last, _ = await reader.next()
    await write(wire, "main", 3, 4)
    async with following(wire, "main", {"Last-Event-ID": last}) as reader:
        _, id, joined = await reader.next()
        assert (id, joined["recovered"]) == (last, True)
        assert [(await reader.next())[2]["value"] for _ in range(2)] == [3, 4]


async def test_a_topic_that_can_not_be_is_refused_with_its_status(wire: Wire) -> None:
    async with following(wire, "nowhere") as reader:
        assert reader.response.status_code == 422
        body = json.loads(await reader.response.aread())
    assert body["error"]["code"] == "invalid_input"
    assert body["error"]["details"][0]["path"] == "/board"


async def test_a_token_that_ends_ends_what_it_follows(wire: Wire) -> None:
    token = wire.token("shorty", ttl="10s")
    async with following(wire, "main", {"Authorization": f"Bearer {token}"}) as reader:
        assert (await reader.next())[0] == "subscribed"
        event, _, body = await reader.next()
    assert (event, body["error"]["code"]) == ("error", "unauthenticated")


async def test_a_revoked_key_ends_what_it_follows(wire: Wire) -> None:
    key = wire.api_key("gone")
    async with following(wire, "main", {"Authorization": f"Bearer {key}"}) as reader:
        assert (await reader.next())[0] == "subscribed"
        await asyncio.to_thread(wire.revoke, key)
        event, _, body = await reader.next()
    assert (event, body["error"]["code"]) == ("error", "unauthenticated")


async def test_a_question_is_still_answered_there(wire: Wire) -> None:
    answer = await wire.get(f"{PATH}?board=side&value=5")
    assert answer.json() == {"value": 5}
