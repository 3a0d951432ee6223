"""Questions in bursts, which arrive at any moment of the answering: none is forgotten."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from tests.chaos.clients import DEADLINE, websocket
from tests.live import LiveProject

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ROUNDS, BURST = 200, 6
SIZES = (10, 20_000, 200_000)


@pytest.mark.parametrize("envelope", [False, True], ids=["bare", "envelope"])
async def test_every_question_of_a_burst_is_answered(project: LiveProject, envelope: bool) -> None:
    """The last of a burst may come just when the one before it was answered."""
    chance = random.Random(7)
    async with websocket(project, "/ws/wire/open", envelope=envelope) as socket:
        for _ in range(ROUNDS):
            question = {"anything": "x" * chance.choice(SIZES)}
            for number in range(BURST):
                frame = {"id": number, "input": question} if envelope else question
                await socket.send(json.dumps(frame))
            async with asyncio.timeout(DEADLINE):
                answers = [json.loads(await socket.recv()) for _ in range(BURST)]
            if envelope:
                assert sorted(answer["id"] for answer in answers) == list(range(BURST))
                answers = [answer["result"] for answer in answers]
            assert answers == [question] * BURST
