"""A machine that streams: an answer and a row for each result, whatever ends it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from pytest_django import Settings

from mashin_surfaces import effect
from mashin_surfaces.commit import close_writers
from mashin_surfaces.exceptions import Code
from mashin_surfaces.governance.door import Door, governed, run_scope
from mashin_surfaces.governance.govern import Answer, Caller, govern, govern_stream
from mashin_surfaces.identity.principal import anonymous
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.models import SurfaceAccess

pytestmark = pytest.mark.django_db(transaction=True)

SOURCE = """
machine ticker
  accepts
    until as integer, is required
    ending as enum("fail", "wrong", "wait", "cancelled"), default: "fail"
  responds with
    n as integer, is required
  ensures
    permissions
      allowed to
        governed.*
    limits
      timeout: "TIMEOUT"
      LIMITS
  implements
    ask tick, from: "governed.ticks"
      until: input.until
      ending: input.ending
    ask doubled, from: "governed.double"
      n: steps.tick.n
"""
TABLE = SurfaceAccess._meta.db_table
#: The effects that were closed.
closed: list[str] = []


async def cancelled_elsewhere() -> None:
    """Wait for what others share, and have given up."""
    shared = asyncio.get_running_loop().create_future()
    shared.cancel()
    await shared


@effect("governed.ticks")
async def ticks(until: int, ending: str) -> AsyncIterator[dict[str, Any]]:
    """1 … until; below zero, as many and then the ending."""
    try:
        for n in range(1, abs(until) + 1):
            yield {"n": n}
        if until < 0 and ending == "fail":
            raise ValueError("password 1234")
        if until < 0 and ending == "wrong":
            yield {"n": "x"}
        if until < 0 and ending == "wait":
            await asyncio.Event().wait()
        if until < 0 and ending == "cancelled":
            await cancelled_elsewhere()
    finally:
        closed.append("ticks")


@effect("governed.double")
async def double(n: Any) -> dict[str, Any]:
    return {"n": n * 2}


@pytest.fixture(autouse=True)
def a_writer_of_its_own(settings: Settings) -> Iterator[None]:
    settings.MASHIN_SURFACES = {"LEDGER": {"CONTENT": "full"}}
    closed.clear()
    yield
    close_writers()


@pytest.fixture
def caller() -> Caller:
    return Caller(anonymous((run_scope("ticker"),)), "192.0.2.1")


def ticker(limits: str = "", wanted: str = run_scope("ticker"), timeout: str = "60s") -> Door:
    source = SOURCE.replace("LIMITS", limits).replace("TIMEOUT", timeout)
    compiled = CompiledMachine.of(parse(source).definition)
    return Door("api", "/t", "api:/t", governed(compiled), frozenset({"none"}), (wanted,), ())


async def answers_of(door: Door, caller: Caller, value: dict[str, Any]) -> list[Answer]:
    async with aclosing(govern_stream(door, caller, value)) as answers:
        return [answer async for answer in answers]


def results(answers: list[Answer]) -> list[Any]:
    return [answer.result["n"] for answer in answers if answer.result is not None]


@sync_to_async
def rows() -> list[SurfaceAccess]:
    """In the order in which they were written; what nobody waits for is written too."""
    close_writers()
    return list(SurfaceAccess.objects.order_by("lane", "seq"))


@sync_to_async
def rename(table: str, name: str) -> None:
    close_writers()
    with connection.cursor() as cursor:
        cursor.execute(f"alter table {table} rename to {name}")


def described(rows: list[SurfaceAccess]) -> list[tuple[str, str, str]]:
    return [(row.event, row.code or row.outcome, row.output) for row in rows]


async def test_every_result_is_an_answer_and_a_row(caller: Caller) -> None:
    answers = await answers_of(ticker(), caller, {"until": 3})
    assert results(answers) == [2, 4, 6]
    written = await rows()
    assert described(written) == [("result", "allowed", f'{{"n":{n}}}') for n in (2, 4, 6)]
    assert {row.request_id for row in written} == {answer.request_id for answer in answers}
    assert len({row.request_id for row in written}) == 1
    assert len({row.id for row in written}) == 3


async def test_a_result_is_recorded_before_it_is_given_out(caller: Caller) -> None:
    async with aclosing(govern_stream(ticker(), caller, {"until": 3})) as answers:
        await anext(answers)
        assert await SurfaceAccess.objects.acount() == 1
        await anext(answers)
        assert await SurfaceAccess.objects.acount() == 2


async def test_the_first_row_has_the_input_and_each_what_was_asked_for(caller: Caller) -> None:
    await answers_of(ticker(), caller, {"until": 2})
    first, second = await rows()
    assert json.loads(first.input) == {"until": 2}
    assert second.input == ""
    assert [each["step"] for each in json.loads(first.steps)] == ["tick", "doubled"]
    assert [each["step"] for each in json.loads(second.steps)] == ["doubled"]


async def test_the_caller_names_the_request(caller: Caller) -> None:
    stream = govern_stream(ticker(), caller, {"until": 1}, request_id="mine-17")
    assert [answer.request_id async for answer in stream] == ["mine-17"]
    assert [row.request_id for row in await rows()] == ["mine-17"]


async def test_a_stream_without_a_result_leaves_one_row(caller: Caller) -> None:
    assert await answers_of(ticker(), caller, {"until": 0}) == []
    [row] = await rows()
    assert (row.event, row.outcome, row.output) == ("message", "allowed", "")
    assert json.loads(row.input) == {"until": 0}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"until": -2}, Code.EXECUTION_FAILED),
        ({"until": -2, "ending": "wrong"}, Code.INVALID_OUTPUT),
        ({"until": -2, "ending": "wait"}, Code.TIMEOUT),
        ({"until": -2, "ending": "cancelled"}, Code.EXECUTION_FAILED),
    ],
)
async def test_a_failure_is_the_last_answer_and_a_row(
    caller: Caller, value: dict[str, Any], code: Code
) -> None:
    timeout = "2s" if code is Code.TIMEOUT else "60s"
    answers = await answers_of(ticker(timeout=timeout), caller, value)
    assert results(answers) == [2, 4]
    refusal = answers[-1].refusal
    assert refusal is not None
    assert refusal.code is code
    assert "1234" not in refusal.message
    written = await rows()
    assert [row.event for row in written] == ["result", "result", "message"]
    assert (written[-1].code, written[-1].outcome, written[-1].output) == (code, "failed", "")
    assert closed == ["ticks"]


async def test_the_cause_of_a_failure_is_in_the_log(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answers = await answers_of(ticker(), caller, {"until": -1})
    assert "password 1234" in caplog.text
    assert answers[-1].request_id in caplog.text


async def test_what_is_refused_at_first_is_one_answer_and_one_row(caller: Caller) -> None:
    [answer] = await answers_of(ticker(wanted="ticks:all"), caller, {"until": 1})
    assert answer.refusal is not None
    [bad] = await answers_of(ticker(), caller, {"until": "x"})
    assert bad.refusal is not None
    assert [(row.event, row.code) for row in await rows()] == [
        ("message", "forbidden"),
        ("message", "invalid_input"),
    ]


async def test_only_the_wait_for_a_result_is_timed(caller: Caller) -> None:
    wanted = []
    async with aclosing(govern_stream(ticker(timeout="1s"), caller, {"until": 2})) as answers:
        async for answer in answers:
            wanted.append(answer.refusal)
            await asyncio.sleep(1.1)  # longer than the limit: the reader takes its time
    assert wanted == [None, None]


async def test_a_reader_who_leaves_is_recorded(caller: Caller) -> None:
    async with aclosing(govern_stream(ticker(), caller, {"until": 9})) as answers:
        await anext(answers)
    assert closed == ["ticks"]
    assert described(await rows()) == [
        ("result", "allowed", '{"n":2}'),
        ("message", "execution_failed", ""),
    ]


async def test_a_reader_who_is_cancelled_is_recorded(caller: Caller) -> None:
    door = ticker()
    seen = asyncio.Event()

    async def read() -> None:
        async with aclosing(
            govern_stream(door, caller, {"until": -1, "ending": "wait"})
        ) as answers:
            async for _ in answers:
                seen.set()

    reader = asyncio.create_task(read())
    async with asyncio.timeout(60):
        await seen.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert closed == ["ticks"]
    last = (await rows())[-1]
    assert (last.event, last.code) == ("message", "execution_failed")


async def test_who_has_the_last_answer_and_leaves_is_not_recorded_twice(caller: Caller) -> None:
    async with aclosing(govern_stream(ticker(), caller, {"until": "x"})) as answers:
        await anext(answers)
    assert [row.code for row in await rows()] == ["invalid_input"]


async def test_a_stream_counts_as_running_until_it_ends(caller: Caller) -> None:
    door = ticker("concurrency: 1")
    async with aclosing(govern_stream(door, caller, {"until": 3})) as answers:
        await anext(answers)
        [second] = await answers_of(door, caller, {"until": 1})
        assert second.refusal is not None
        assert second.refusal.code is Code.BUSY
    assert results(await answers_of(door, caller, {"until": 1})) == [2]


async def test_the_rate_counts_a_stream_once(caller: Caller) -> None:
    door = ticker('rate: "1/h"')
    assert results(await answers_of(door, caller, {"until": 3})) == [2, 4, 6]
    [refused] = await answers_of(door, caller, {"until": 3})
    assert refused.refusal is not None
    assert refused.refusal.code is Code.RATE_LIMITED


async def test_no_result_is_given_out_that_can_not_be_recorded(caller: Caller) -> None:
    async with aclosing(govern_stream(ticker(), caller, {"until": 9})) as answers:
        first = await anext(answers)
        await rename(TABLE, "hidden")
        try:
            [last] = [answer async for answer in answers]
        finally:
            await rename("hidden", TABLE)
    assert first.result == {"n": 2}
    assert last.refusal is not None
    assert last.refusal.code is Code.LEDGER_UNAVAILABLE
    assert closed == ["ticks"]


async def test_who_wants_one_answer_gets_the_last_result(caller: Caller) -> None:
    answer = await govern(ticker(), caller, {"until": 3})
    assert answer.result == {"n": 6}
    [row] = await rows()
    assert (row.event, row.output) == ("message", '{"n":6}')
    assert [each["step"] for each in json.loads(row.steps)] == ["tick", "doubled"]


async def test_who_wants_one_answer_waits_no_longer_than_the_limit(caller: Caller) -> None:
    started = time.monotonic()
    door = ticker(timeout="300ms")
    answer = await govern(door, caller, {"until": -1, "ending": "wait"})
    assert answer.refusal is not None
    assert answer.refusal.code is Code.TIMEOUT
    assert time.monotonic() - started < 30
    assert closed == ["ticks"]


async def test_who_wants_one_answer_and_there_is_none_is_refused(caller: Caller) -> None:
    answer = await govern(ticker(), caller, {"until": 0})
    assert answer.refusal is not None
    assert answer.refusal.code is Code.EXECUTION_FAILED
