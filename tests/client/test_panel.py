"""A client of a panel: its state, triggers, suspensions."""

from __future__ import annotations

import asyncio

import pytest

from mashin_surfaces.client import ClientError, PanelClient, PanelEvent, Patch, Result
from tests.client.conftest import Server, soon, take

pytestmark = pytest.mark.slow


async def opened(server: Server, *tools: str) -> str:
    return await server.panel(**{tool: f"panel.{tool}" for tool in tools})


async def test_a_trigger_is_answered_once_its_changes_are_known(server: Server) -> None:
    url = await opened(server, "add")
    async with PanelClient(url, **server.options()) as panel:
        news = panel.events(Patch, PanelEvent)
        result = await soon(panel.trigger("add", {"by": 2}))
        assert (result.status, result.value) == ("success", 2)
        assert dict(panel.state) == {"count": 2}
        patch, event = await take(news, 2)
        assert isinstance(patch, Patch)
        assert (patch.mutations[0].key, patch.by) == ("count", "ada")
        assert isinstance(event, PanelEvent)
        assert (event.name, event.payload, event.offset) == ("added", {"by": 2}, panel.offset)


async def test_the_same_request_is_carried_out_once(server: Server) -> None:
    url = await opened(server, "add")
    async with PanelClient(url, **server.options()) as panel:
        results = [await soon(panel.trigger("add", request_id="r1")) for _ in range(2)]
        assert [result.value for result in results] == [1, 1]
        assert panel.state["count"] == 1


async def test_what_is_not_run_raises_and_what_failed_is_a_result(server: Server) -> None:
    url = await opened(server, "add", "fail")
    async with PanelClient(url, **server.options()) as panel:
        with pytest.raises(ClientError) as caught:
            await soon(panel.trigger("nothing"))
        assert caught.value.code == "TOOL_NOT_FOUND"
        with pytest.raises(ClientError) as caught:
            await soon(panel.trigger("add", expect=99))
        assert caught.value.code == "CONFLICT"
        assert (await soon(panel.trigger("fail"))).status == "error"


async def test_a_suspension_is_answered_and_its_result_told(server: Server) -> None:
    url = await opened(server, "ask")
    async with PanelClient(url, **server.options()) as panel:
        results = panel.events(Result)
        first = await soon(panel.trigger("ask", {"question": "red or blue?"}))
        assert first.status == "suspended"
        assert first.suspension is not None
        suspension = str(first.suspension["suspensionId"])
        await soon(panel.resume(suspension, "blue"))
        _, last = await take(results, 2)
        assert (last.request_id, last.status) == (first.request_id, "success")
        with pytest.raises(ClientError) as caught:
            await soon(panel.resume(suspension, "red"))
        assert caught.value.code == "CONFLICT"


async def test_a_trigger_that_runs_can_be_cancelled(server: Server) -> None:
    url = await opened(server, "ask")
    async with PanelClient(url, **server.options()) as panel:
        results = panel.events(Result)
        await soon(panel.trigger("ask", {"question": "?"}, request_id="mine"))
        panel.cancel("mine")
        _, last = await take(results, 2)
        assert last.status == "error"
        assert last.error is not None
        assert last.error["code"] == "CANCELLED"


async def test_only_the_topics_that_are_wanted_are_told(server: Server) -> None:
    url = await opened(server, "add")
    async with PanelClient(url, topics=["state:other"], **server.options()) as panel:
        news = panel.events(Patch, PanelEvent)
        await soon(panel.trigger("add", {"key": "count"}))
        await soon(panel.trigger("add", {"key": "other"}))
        (patch,) = await take(news, 1)
        assert isinstance(patch, Patch)
        assert [each.key for each in patch.mutations] == ["other"]
        panel.subscribe("events:add*")
        await soon(panel.trigger("add"))
        (event,) = await take(news, 1)
        assert isinstance(event, PanelEvent)


async def test_many_may_trigger_at_once(server: Server) -> None:
    url = await opened(server, "increment")
    async with PanelClient(url, **server.options()) as panel:
        await soon(asyncio.gather(*(panel.trigger("increment") for _ in range(50))))
        assert panel.state["count"] == 50
