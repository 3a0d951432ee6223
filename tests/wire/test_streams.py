"""A machine that streams, over HTTP to a real server: server-sent events, and the last result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.wire.conftest import DEADLINE, Wire

pytestmark = pytest.mark.slow

TICKS = "/api/wire/ticks"
EVENTS = {"Accept": "text/event-stream"}


async def events_of(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The name and the data of each event as it comes."""
    name = "message"
    async for line in answer.aiter_lines():
        field, _, text = line.partition(": ")
        if field == "event":
            name = text
        elif field == "data":
            yield name, json.loads(text)
            name = "message"


async def all_events(wire: Wire, query: str) -> list[tuple[str, Any]]:
    answer = await wire.get(f"{TICKS}?{query}", headers=EVENTS)
    assert answer.headers["Content-Type"] == "text/event-stream"
    return [event async for event in events_of(answer)]


async def test_every_result_is_an_event(wire: Wire) -> None:
    assert await all_events(wire, "count=3") == [
        ("message", {"value": 0, "square": 0}),
        ("message", {"value": 1, "square": 1}),
        ("message", {"value": 2, "square": 4}),
        ("end", {}),
    ]


async def test_every_result_is_recorded_under_the_request(wire: Wire) -> None:
    answer = await wire.get(f"{TICKS}?count=3", headers=EVENTS)
    rows = wire.accesses(request_id=answer.headers["X-Request-ID"])
    assert [(row["event"], row["outcome"]) for row in rows] == [("result", "allowed")] * 3
    assert [bool(row["input"]) for row in rows] == [True, False, False]


async def test_the_client_names_the_request(wire: Wire) -> None:
    headers = {**EVENTS, "X-Request-ID": "ticks-17"}
    answer = await wire.get(f"{TICKS}?count=1", headers=headers)
    assert answer.headers["X-Request-ID"] == "ticks-17"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert wire.accesses(request_id="ticks-17")


async def test_results_come_as_they_are_ready(wire: Wire) -> None:
    async with (
        httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client,
        client.stream(
            "GET", wire.project.url(f"{TICKS}?count=2&ending=wait"), headers=EVENTS
        ) as answer,
    ):
        events = events_of(answer)
        assert [await anext(events), await anext(events)] == [
            ("message", {"value": 0, "square": 0}),
            ("message", {"value": 1, "square": 1}),
        ]
        request_id = answer.headers["X-Request-ID"]
    rows = await wire.eventually(
        lambda: len(found := wire.accesses(request_id=request_id)) == 3 and found
    )
    assert (rows[-1]["event"], rows[-1]["code"]) == ("message", "execution_failed")


async def test_who_leaves_before_the_first_result_is_recorded(wire: Wire) -> None:
    headers = {**EVENTS, "X-Request-ID": "left-early"}
    written = len(wire.project.log_text)
    asking = asyncio.create_task(wire.get(f"{TICKS}?count=0&ending=wait", headers=headers))
    await wire.eventually(lambda: "wire.ticks waits" in wire.project.log_text[written:])
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    [row] = await wire.eventually(lambda: wire.accesses(request_id="left-early"))
    assert (row["event"], row["code"]) == ("message", "execution_failed")


async def test_a_failure_on_the_way_is_an_event(wire: Wire) -> None:
    *results, (name, data), end = await all_events(wire, "count=2&ending=fail")
    assert [each["value"] for _, each in results] == [0, 1]
    assert name == "error"
    assert data["error"]["code"] == "execution_failed"
    assert "4711" not in json.dumps(data)
    assert end == ("end", {})
    rows = wire.accesses(request_id=data["error"]["request_id"])
    assert [row["event"] for row in rows] == ["result", "result", "message"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("count=0&ending=fail", 500, "execution_failed"),
        ("count=many", 422, "invalid_input"),
        ("count=-1", 422, "invalid_input"),
    ],
)
async def test_what_is_refused_before_the_first_result_is_an_ordinary_refusal(
    wire: Wire, query: str, status: int, code: str
) -> None:
    answer = await wire.get(f"{TICKS}?{query}", headers=EVENTS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"


async def test_without_a_result_only_the_end_comes(wire: Wire) -> None:
    assert await all_events(wire, "count=0") == [("end", {})]


async def test_who_asks_for_json_gets_the_last_result(wire: Wire) -> None:
    answer = await wire.get(f"{TICKS}?count=4")
    assert answer.json() == {"value": 3, "square": 9}
    [row] = wire.accesses(request_id=answer.headers["X-Request-ID"])
    assert row["event"] == "message"
    none = await wire.get(f"{TICKS}?count=0")
    assert (none.status_code, none.json()["error"]["code"]) == (500, "execution_failed")


async def test_a_machine_that_does_not_stream_answers_json(wire: Wire) -> None:
    answer = await wire.request("POST", "/api/wire/open", headers=EVENTS, json={"anything": 1})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.is_success


async def test_a_page_shows_the_last_result(wire: Wire) -> None:
    answer = await wire.request("POST", "/wire/ticks", data={"count": "8"})
    assert answer.status_code == 200
    assert "49" in answer.text


async def test_many_streams_run_at_once(wire: Wire) -> None:
    every = await asyncio.gather(*(all_events(wire, "count=20") for _ in range(10)))
    assert [len(events) for events in every] == [21] * 10


async def test_the_machine_passes_its_own_tests(wire: Wire) -> None:
    assert "squares what it gets" in wire.project.manage("test_machines", "wire_ticks")
