"""Panels of machines: their tools, their clocks, and the websockets that machines express."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.panels.conftest import Client, Panels
from tests.wire.conftest import DEADLINE

pytestmark = pytest.mark.slow

BOARD = """\
machine {name} "The board"
  tools
    add from "panel.add"
    ask from "panel.ask"
{tools}
  expresses
    websocket
      path: "/ws/{name}"
      dialect: {dialect}
      auth: {auth}
"""


def board(
    name: str, *tools: str, auth: str = "none, jwt", dialect: str = "panel", more: str = ""
) -> str:
    lines = "\n".join(f"    {tool}" for tool in tools)
    return BOARD.format(name=name, tools=lines, auth=auth, dialect=dialect) + more


@asynccontextmanager
async def joined(panels: Panels, name: str, token: str | None = None) -> AsyncIterator[Client]:
    """Connected at the machine's own websocket."""
    socket = await panels.eventually_connect(f"/ws/{name}" + (f"?token={token}" if token else ""))
    async with socket:
        yield Client(socket, json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)))


async def refused(panels: Panels, name: str, token: str = "") -> int:
    """The status of an upgrade that is refused, once the surface is there."""
    while True:
        try:
            await panels.connect(f"/ws/{name}" + (f"?token={token}" if token else ""))
        except InvalidStatus as error:
            status: int = error.response.status_code
            if status != 404:
                return status
        else:
            pytest.fail("it was let in")
        await asyncio.sleep(0.02)


async def closed(client: Client) -> int | None:
    """The code with which the server closes, whatever it says before."""

    async def listen() -> None:
        while True:
            await client.hear()

    with pytest.raises(ConnectionClosed):
        await listen()
    return client.socket.close_code


def clocks(panels: Panels, name: str) -> set[tuple[str, str]]:
    """``(kind, tool)`` of what is due some time for a panel."""
    with sqlite3.connect(panels.project.database_file, timeout=DEADLINE) as database:
        rows = database.execute(
            "select due.kind, due.tool from mashin_surfaces_due due "
            "join mashin_surfaces_room room on room.id = due.panel_id where room.key = ?",
            (name,),
        ).fetchall()
    database.close()
    return set(rows)


async def test_a_machines_websocket_serves_the_panel_of_its_name(panels: Panels) -> None:
    panels.load(board("board_one"))
    async with joined(panels, "board_one") as one, joined(panels, "board_one") as two:
        assert (one.hello["panelId"], one.hello["tools"]) == ("board_one", ["add", "ask"])
        assert (await one.run("add", {"by": 3}))["returnValue"] == 3
        assert [frame["type"] for frame in await two.quiet()] == ["PATCH", "EVENT"]
        assert two.fold == {"count": 3}
        assert (await one.refused("add", {"by": "x"}))["code"] == "INVALID_ARGS"
    info = (await panels.http("GET", "/panels/board_one")).json()
    assert (info["kind"], info["title"]) == ("machine", "The board")
    assert info["state"] == {"count": 3}
    connects = panels.accesses(surface="websocket:/ws/board_one", event="connect")
    assert [row["principal"] for row in connects] == ["anonymous", "anonymous"]
    assert [row["outcome"] for row in panels.triggers("board_one")] == ["allowed", "refused"]
    async with panels.client("board_one") as client:  # at the panel's own address, too
        assert client.hello["state"] == {"count": 3}


async def test_whoever_comes_first_at_the_same_time_finds_one_panel(panels: Panels) -> None:
    panels.load(board("board_many"))
    await (await panels.eventually_connect("/ws/board_many")).close()
    await panels.http("DELETE", "/panels/board_many")

    async def epoch() -> str:
        async with joined(panels, "board_many") as client:
            return str(client.hello["epoch"])

    assert len(set(await asyncio.gather(*(epoch() for _ in range(10))))) == 1


async def test_who_is_let_in_is_the_surfaces_to_say(panels: Panels) -> None:
    more = "      scopes: boards:play\n"
    panels.load(board("board_shut", auth="jwt", more=more))
    assert await refused(panels, "board_shut") == 401
    stranger = panels.all("panels:*", "machines:run")
    assert await refused(panels, "board_shut", stranger) == 403
    assert (await panels.http("GET", "/panels/board_shut")).status_code == 404, "nobody made it"
    rows = panels.accesses(surface="websocket:/ws/board_shut", event="connect")
    assert [row["code"] for row in rows[-2:]] == ["unauthenticated", "forbidden"]
    assert rows[-1]["principal"] != "anonymous"
    async with joined(panels, "board_shut", panels.all("boards:play")) as client:
        assert (await client.run("add"))["status"] == "success"


async def test_answering_takes_the_scope_of_panels_here_too(panels: Panels) -> None:
    panels.load(board("board_ask"))
    async with joined(panels, "board_ask") as client:
        result = await client.run("ask", {"question": "?"})
        id = result["suspension"]["suspensionId"]
        await client.say(type="RESUME", suspensionId=id, value=1)
        assert (await client.until("ERROR"))[-1]["code"] == "FORBIDDEN"
        answer = await panels.http("POST", f"/panels/board_ask/suspensions/{id}", {"value": 2})
        assert answer.status_code == 202
        result = (await client.until("RESULT"))[-1]["result"]
        assert (result["status"], result["returnValue"]) == ("success", 2)


async def test_a_panel_of_somebody_elses_is_not_taken_for_the_machines(panels: Panels) -> None:
    await panels.create(["add"], id="board_taken")
    panels.load(board("board_taken"))
    assert await refused(panels, "board_taken") == 409
    assert (await panels.http("DELETE", "/panels/board_taken")).status_code == 204
    async with joined(panels, "board_taken") as client:
        assert client.hello["tools"] == ["add", "ask"]


async def test_a_panel_made_over_http_has_the_tools_of_its_machine(panels: Panels) -> None:
    panels.load(board("board_http") + '    api\n      path: "/api/board_http"\n')
    panel = await panels.create(["increment"], machine="board_http")
    async with panels.client(panel) as client:
        assert sorted(client.hello["tools"]) == ["add", "ask", "increment"]
        assert (await client.run("add", {"by": 2}))["returnValue"] == 2
        assert (await client.run("increment"))["returnValue"] == 3


async def test_a_tool_may_be_another_machine(panels: Panels) -> None:
    panels.load(
        "machine doubling\n  accepts\n    number as integer, is required\n"
        "  implements\n    compute twice {twice: input.number * 2}\n"
    )
    panels.load(board("board_double", 'double from "doubling"'))
    async with joined(panels, "board_double") as client:
        result = await client.run("double", {"number": 21})
        assert result["status"] == "success", result
        assert result["returnValue"] == {"twice": 42}
        wrong = await client.run("double", {"number": "x"})
        assert (wrong["status"], wrong["error"]["code"]) == ("error", "INVALID_INPUT")
    assert [row["outcome"] for row in panels.accesses(surface="tool:doubling")] == [
        "allowed",
        "refused",
    ]


async def test_the_clock_of_a_panel_follows_the_revisions_of_its_machine(panels: Panels) -> None:
    panels.load(board("board_clock"))
    async with joined(panels, "board_clock") as client:
        assert clocks(panels, "board_clock") == set()
        panels.load(board("board_clock", 'tick from "panel.fired", every: "100ms"'))
        for _ in range(3):  # though nobody triggers anything
            await client.until("EVENT")
        hourly = ('tick from "panel.fired", cron: "0 * * * *"', 'hour from "panel.add", every: 1')
        panels.load(board("board_clock", *hourly))
        await panels.eventually(
            lambda: clocks(panels, "board_clock") == {("cron", "tick"), ("interval", "hour")}
        )
        panels.load(board("board_clock"))
        await panels.eventually(lambda: clocks(panels, "board_clock") <= {("cron", "tick")})
        assert (await client.run("add"))["status"] == "success"
        assert clocks(panels, "board_clock") == set()


async def test_a_machine_that_is_disabled_has_no_clock(panels: Panels) -> None:
    def enable(how: bool) -> None:
        panels.project.manage(
            "shell", "-c",
            "from mashin_surfaces.machines.store import set_enabled\n"
            "from mashin_surfaces.models import Machine\n"
            f"set_enabled(Machine.objects.get(name='board_off'), {how})",
        )  # fmt: skip

    panels.load(board("board_off", 'tick from "panel.fired", every: "100ms"'))
    async with joined(panels, "board_off") as client:
        await client.until("EVENT")
        enable(False)
        assert await closed(client) == 4404
    await panels.eventually(lambda: clocks(panels, "board_off") == set())
    enable(True)
    async with joined(panels, "board_off") as client:
        await client.until("EVENT")


async def test_sockets_are_told_when_their_surface_speaks_another_dialect(panels: Panels) -> None:
    panels.load(board("board_other"))
    async with joined(panels, "board_other") as client:
        panels.load(board("board_other", dialect="machine"))
        assert await closed(client) == 1012
