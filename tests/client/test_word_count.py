"""The demo's agents divide the counting of a text, also when one of them is killed."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator

import pytest

from mashin_surfaces.client import BusEvent, ClaimChanged, IncubatorClient, StateChanged
from tests.client.conftest import DEADLINE, soon
from tests.live import ROOT, LiveProject

pytestmark = pytest.mark.slow

TEXT = "To be, or not to be, that is the question. " * 24
WORDS = 240


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("demo")
    machine = ROOT / "project" / "machines" / "word_count.mashin"
    with LiveProject(folder, machines=[machine]) as project:
        yield project.websocket_url("/ws")


async def program(*words: str, stdout: int | None = DEVNULL) -> Process:
    """The demo, as its users start it."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "project.word_count", *words, cwd=ROOT, stdout=stdout
    )


async def test_the_program_tells_the_number_of_words(url: str) -> None:
    text = ROOT / "LICENSE"
    words = ["--url", url, "--namespace", "whole", "--pace", "0", str(text)]
    lead = await program(*words, stdout=asyncio.subprocess.PIPE)
    told, _ = await soon(lead.communicate())
    assert lead.returncode == 0
    assert told.decode().splitlines()[-1] == f"{len(text.read_text().split())} words"


async def test_what_an_agent_had_claimed_when_it_was_killed_another_one_counts(url: str) -> None:
    options = ["--url", url, "--namespace", "killed", "--ttl", "2"]
    async with IncubatorClient(url, namespace="killed", proxy=None) as bus:
        events = bus.events(BusEvent, ClaimChanged)
        done = bus.events(StateChanged)
        await soon(bus.call("start", {"text": TEXT, "pieces": 12}))
        victim = await program("--agent", "victim", *options, "--pace", "600")
        agents = [victim]
        try:
            while not isinstance(event := await soon(anext(events)), BusEvent) or (
                event.type != "piece.begun"
            ):
                pass
            piece = event.data["piece"]
            agents += [
                await program("--agent", name, *options, "--pace", "0") for name in ("one", "two")
            ]
            victim.kill()
            while "total" not in bus.state:
                await soon(anext(done))
            codes = await soon(asyncio.gather(*(process.wait() for process in agents[1:])))
        finally:
            for process in agents:
                if process.returncode is None:
                    process.kill()
                await process.wait()
        assert (bus.state["total"], codes) == (WORDS, [0, 0])
        told: list[BusEvent] = []
        while len(told) < 12:
            event = await asyncio.wait_for(anext(events), DEADLINE)
            if isinstance(event, BusEvent) and event.type == "words.counted":
                told.append(event)
        assert sorted(event.data["piece"] for event in told) == list(range(12))
        (taken_over,) = [event for event in told if event.data["piece"] == piece]
        assert taken_over.agent_id in {"anonymous/one", "anonymous/two"}
