"""A client of a machine's websocket: questions, results that stream, topics."""

from __future__ import annotations

import asyncio

import pytest

from mashin_surfaces.client import ClientError, MachineClient, Push
from tests.client.conftest import Server, soon, take

pytestmark = pytest.mark.slow


async def test_answers_find_their_questions(server: Server) -> None:
    async with MachineClient(server.url("/ws/wire/echo"), **server.options()) as echo:
        asked = [echo.ask({"text": str(number)}) for number in range(40)]
        answers = await soon(asyncio.gather(*asked))
    assert [answer["text"] for answer in answers] == [str(number) for number in range(40)]


async def test_what_is_refused_says_why(server: Server) -> None:
    async with MachineClient(server.url("/ws/wire/echo"), **server.options()) as echo:
        with pytest.raises(ClientError) as caught:
            await soon(echo.ask({"times": 2}))
        assert caught.value.code == "invalid_input"
        assert caught.value.details[0]["path"] == "/text"
        assert (await soon(echo.ask({"text": "still there"})))["length"] == 11


async def test_several_results_are_told_as_they_come(server: Server) -> None:
    async with MachineClient(server.url("/ws/wire/ticks"), proxy=None) as ticks:
        squares = [result["square"] async for result in ticks.stream({"count": 4})]
        assert len(squares) == 4
        with pytest.raises(ClientError):
            async for _ in ticks.stream({"count": 1, "ending": "fail"}):
                pass


async def test_a_topic_is_followed_until_it_is_left(server: Server) -> None:
    async with MachineClient(server.url("/ws/wire/board"), **server.options()) as board:
        pushes = board.events(Push)
        await soon(board.subscribe("main"))
        for value in (1, 2):
            await soon(board.ask({"board": "main", "value": value}))
        await soon(board.ask({"board": "main", "value": 3, "durable": False}))
        one, two, three = await take(pushes, 3)
        await soon(board.unsubscribe("main"))
        await soon(board.ask({"board": "main", "value": 4}))
        await soon(board.subscribe("side"))
        await soon(board.ask({"board": "side", "value": 5}))
        (last,) = await take(pushes, 1)
    assert [each.value for each in (one, two, three, last)] == [
        {"value": value} for value in (1, 2, 3, 5)
    ]
    assert one.offset is not None
    assert two.offset == one.offset + 1
    assert (three.offset, last.topic) == (None, "side")


async def test_a_topic_that_can_not_be_followed_is_refused(server: Server) -> None:
    async with MachineClient(server.url("/ws/wire/board"), **server.options()) as board:
        with pytest.raises(ClientError) as caught:
            await soon(board.subscribe("elsewhere"))
        assert caught.value.code == "invalid_input"
