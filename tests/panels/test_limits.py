"""What the settings bound: triggers a second, and what waits for a member that is slow."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.live import HOST, LiveProject
from tests.panels.conftest import ENVIRONMENT, Client, Frame, Panels
from tests.wire.conftest import DEADLINE

pytestmark = pytest.mark.slow


@contextmanager
def served(folder: Path, **settings: object) -> Iterator[Panels]:
    """A server whose ``PANELS`` are these."""
    with LiveProject(folder, env={**ENVIRONMENT, "PANELS": json.dumps(settings)}) as project:
        yield Panels(project)


async def test_a_principal_that_triggers_too_often_is_told_so_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with served(tmp_path, RATE="1/h burst 8") as panels:
        panel = await panels.create(["add"])
        bob = panels.token("bob")
        async with panels.client(panel) as ada, panels.client(panel, bob) as other:
            ids = [await ada.trigger("add") for _ in range(20)]
            answers: dict[str, Frame] = {}
            while len(answers) < len(ids):
                frame = await ada.hear()
                if frame["type"] in {"RESULT", "ERROR"}:
                    answers[frame["requestId"]] = frame
            kinds = [answers[id]["type"] for id in ids]
            done = kinds.count("RESULT")
            assert 0 < done <= 8
            assert kinds == ["RESULT"] * done + ["ERROR"] * (20 - done)
            refused = [answers[id] for id in ids[done:]]
            assert {error["code"] for error in refused} == {"RATE_LIMITED"}
            assert ada.fold == {"count": done}
            assert (await other.run("add"))["returnValue"] == done + 1  # it is each one's own
        answer = await panels.http("POST", f"/panels/{panel}/trigger/add", {})
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        rows = panels.triggers(panel)
    codes = [row["code"] for row in rows if row["principal"] == "ada"]
    assert sorted(codes) == [""] * done + ["rate_limited"] * (21 - done)


async def test_a_member_that_does_not_read_gets_several_patches_as_one(tmp_path: Path) -> None:
    with served(tmp_path, SLOW="coalesce") as panels:
        panel = await panels.create(["many", "change"])
        url = panels.project.websocket_url(f"/panels/{panel}/ws?token={panels.all()}")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        narrow.connect((HOST, panels.project.port))
        # It takes one frame from the network, and more only when that is read.
        slow_socket = connect(url, sock=narrow, proxy=None, max_size=None, max_queue=1)
        async with slow_socket as reading, panels.client(panel) as actor:
            slow = Client(reading, json.loads(await reading.recv()))
            for number in range(40):
                size = 500_000 + number
                assert (await actor.run("many", {"size": size}))["status"] == "success"
            await actor.run("change", {"sets": {"last": True}})
            heard = []
            async with asyncio.timeout(2 * DEADLINE):
                while "last" not in slow.fold:
                    heard.append(await slow.hear())
            assert slow.fold == actor.fold == await panels.state(panel)
            offsets = [frame["offset"] for frame in heard if frame["type"] == "PATCH"]
            assert offsets == sorted(set(offsets))
            assert offsets[-1] == 41
            assert len(offsets) < 30
            assert await slow.quiet() == []
            await actor.run("change", {"deletes": ["big"]})
            await slow.until("PATCH", offset=42)
            assert slow.fold == {"last": True}


async def test_a_tool_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with served(tmp_path, TIMEOUT=1.0) as panels:
        panel = await panels.create(["hold", "add"])
        async with panels.client(panel) as client:
            result = await client.run("hold", {"gate": "too long"})
            assert (result["status"], result["error"]["code"]) == ("error", "TIMEOUT")
            assert (await client.run("add"))["returnValue"] == 1
        assert await panels.state(panel) == {"count": 1}
