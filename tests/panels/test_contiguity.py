"""Rule 1: what a trigger does stands together on every socket, and all sockets see one order."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import groupby
from typing import Any

import pytest

from tests.panels.conftest import Client, Frame, Panels

pytestmark = pytest.mark.slow

SOCKETS = 4
TRIGGERS = 200


async def play(client: Client, numbers: range, last: int) -> list[Frame]:
    """Trigger them all at once and in between ping and fail; all that came until the last event
    and the last answer are there."""
    for number in numbers:
        # 64 frames may wait, and these are 60: none is busy, should they all arrive as one.
        await client.trigger("burst", {"number": number, "events": number % 6}, f"n{number}")
        if number % 10 == 0:
            await client.say(type="PING")
            await client.trigger("nothing", id=f"x{number}")
    heard: list[Frame] = []
    missing = Counter({"RESULT": len(numbers)})
    missing["ERROR"] = missing["PONG"] = len([number for number in numbers if number % 10 == 0])
    offset = 0
    while offset < last or missing.total():
        frame = await client.hear()
        heard.append(frame)
        if frame["type"] in missing:
            missing[frame["type"]] -= 1
            missing += Counter()
        if frame["type"] in {"PATCH", "EVENT"}:
            offset = frame["offset"]
    return heard


def wanted(number: int) -> list[Any]:
    """What a trigger tells everybody, in order."""
    patch = ["PATCH"] if number % 2 else []
    return patch + [f"burst.{each}" for each in range(number % 6)]


async def test_what_a_trigger_does_stands_together_on_every_socket(panels: Panels) -> None:
    panel = await panels.create(["burst"])
    each = TRIGGERS // SOCKETS
    last = sum(len(wanted(number)) for number in range(TRIGGERS))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(panels.client(panel)) for _ in range(SOCKETS)]
        told = await asyncio.gather(
            *(
                play(client, range(index * each, (index + 1) * each), last)
                for index, client in enumerate(clients)
            )
        )
        for client, frames in zip(clients, told, strict=True):
            assert await client.quiet() == []
            assert client.fold == {"last": client.fold["last"]}
            assert_contiguous(frames)
    logs = [
        [frame for frame in frames if "offset" in frame and _is_logged(frame)] for frames in told
    ]
    assert [frame["offset"] for frame in logs[0]] == list(range(1, last + 1))
    assert all(log == logs[0] for log in logs)
    assert [event["offset"] for event in await panels.events(panel)] == list(range(1, last + 1))
    assert await panels.state(panel) == clients[0].fold
    results = [frame for frames in told for frame in frames if frame["type"] == "RESULT"]
    assert {frame["requestId"] for frame in results} == {f"n{n}" for n in range(TRIGGERS)}
    assert {frame["result"]["status"] for frame in results} == {"success"}


def _is_logged(frame: Frame) -> bool:
    return frame["type"] in {"PATCH", "EVENT"}


def assert_contiguous(frames: list[Frame]) -> None:
    """Every trigger's frames are one run, in order, its RESULT at the end; nothing between them."""
    seen: set[str] = set()
    for id, group in groupby(frames, key=lambda frame: frame.get("requestId")):
        told = list(group)
        if id is None or id.startswith("x"):  # PONG and ERROR
            assert not any(_is_logged(frame) for frame in told)
            continue
        assert id not in seen, f"{id} is in two places"
        seen.add(id)
        names = [frame["event"]["name"] if "event" in frame else frame["type"] for frame in told]
        if names[-1] == "RESULT":
            names.pop()
        assert names == wanted(int(id[1:]))
