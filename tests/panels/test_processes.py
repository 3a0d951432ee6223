"""Panels in several server processes on one database: no update lost, nothing done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveProject
from tests.panels.conftest import ENVIRONMENT, Client, Frame, Panels
from tests.servers import postgres

pytestmark = pytest.mark.slow

Pair = tuple[Panels, Panels]
#: Seconds within which another process goes on with what a killed one held.
TAKEN_OVER = 25.0


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres({"max_connections": "200"}) as cluster:
        yield cluster.create_database("panels")


@contextmanager
def two_servers(folder: Path, url: str | None) -> Iterator[Pair]:
    """Two servers on one database, without a channel layer between them."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    one = LiveProject(folder / "a", env=ENVIRONMENT, database_url=url)
    url = url or f"sqlite:///{one.database_file}"
    two = LiveProject(folder / "b", env=ENVIRONMENT, database_url=url)
    two.database_file = one.database_file
    with one:
        two.start()
        try:
            yield Panels(one), Panels(two)
        finally:
            two.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two servers that live as long as the tests of this file."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with two_servers(tmp_path_factory.mktemp(request.param), url) as servers:
        yield servers


@pytest.fixture
def mortal_pair(tmp_path: Path) -> Iterator[Pair]:
    """Two servers of which the first one may be killed."""
    with two_servers(tmp_path, None) as servers:
        yield servers


# -- nothing is lost, nothing is done twice --------------------------------------------------------


async def count_up(client: Client, times: int) -> list[int]:
    """Trigger so many increments at once; what each returned."""
    for _ in range(times):
        await client.trigger("increment")
    results = [(await client.until("RESULT"))[-1]["result"] for _ in range(times)]
    return [result["returnValue"] for result in results]


@pytest.mark.timeout(300)  # 25 s on a quiet machine
async def test_a_thousand_increments_from_50_sockets_end_at_a_thousand(pair: Pair) -> None:
    panel = await pair[0].create(["increment"])
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(pair[number % 2].client(panel)) for number in range(50)
        ]
        async with asyncio.timeout(240):
            returned = await asyncio.gather(*(count_up(client, 20) for client in clients))
    assert await pair[0].state(panel) == await pair[1].state(panel) == {"count": 1000}
    values = [value for each in returned for value in each]
    assert sorted(values) == list(range(1, 1001))
    log = await pair[1].events(panel)
    assert [event["mutations"][0]["value"] for event in log] == list(range(1, 1001))


async def test_a_request_is_carried_out_once_in_all_processes(pair: Pair) -> None:
    panel = await pair[0].create(["add"])
    async with pair[0].client(panel) as here, pair[1].client(panel, pair[0].all()) as there:
        results = await asyncio.gather(here.run("add", id="same"), there.run("add", id="same"))
    assert results[0] == results[1]
    assert await pair[0].state(panel) == {"count": 1}


async def test_members_in_all_processes_see_one_order(pair: Pair) -> None:
    panel = await pair[0].create(["burst"])
    async with pair[0].client(panel) as here, pair[1].client(panel) as there:
        for number in range(20):
            await (here, there)[number % 2].trigger(
                "burst", {"number": 2 * number + 1, "events": 2}
            )
        logs = []
        for client in (here, there):
            heard = await client.until("EVENT", offset=60)
            logs.append([frame for frame in heard if frame["type"] in {"PATCH", "EVENT"}])
    assert [(frame["offset"], frame["requestId"]) for frame in logs[0]] == [
        (frame["offset"], frame["requestId"]) for frame in logs[1]
    ]


@pytest.mark.parametrize("how", ["raise", "state"])
async def test_after_a_failure_state_log_and_result_agree_that_nothing_happened(
    pair: Pair, how: str
) -> None:
    panel = await pair[0].create(["add", "fail"])
    async with pair[0].client(panel) as here, pair[1].client(panel) as there:
        id = await here.trigger("fail", {"how": how})
        (frame,) = await here.until("RESULT", requestId=id)
        result = frame["result"]
        assert (result["status"], result["stateMutations"], result["events"]) == ("error", [], [])
        for panels in pair:
            assert await panels.state(panel) == {}
            assert await panels.events(panel) == []
        await there.run("add")
        assert (there.fold, (await here.until("PATCH"))[-1]["offset"]) == ({"count": 1}, 1)


async def test_text_that_no_database_keeps_is_refused_and_the_panel_goes_on(pair: Pair) -> None:
    """NUL is text in JSON, and PostgreSQL has no place for it in a document."""
    nul = "a\x00b"
    panel = await pair[0].create(["change", "add", "ask"])
    async with pair[0].client(panel) as client:
        for tool, args in (
            ("change", {"sets": {"key": nul}}),
            ("change", {"sets": {nul: 1}}),
            ("add", {"key": nul}),
            ("ask", {"question": nul}),
        ):
            result = await client.run(tool, args)
            assert result["error"]["code"] == "SERIALIZATION_ERROR", (tool, args)
        waits = (await client.run("ask", {"question": "?"}))["suspension"]
        await client.say(type="RESUME", suspensionId=waits["suspensionId"], value=[nul])
        assert (await client.until("ERROR"))[-1]["code"] == "INVALID_ARGS"
        assert (await client.run("add"))["returnValue"] == 1
        assert client.fold == await pair[1].state(panel) == {"asked": 1, "count": 1}
    for field, value in (("initialState", {"a": nul}), ("title", nul), ("metadata", {nul: 1})):
        answer = await pair[0].http("POST", "/panels", {"kind": "x", field: value})
        assert answer.status_code == 400
        assert answer.json()["error"]["details"][0]["path"] == f"/{field}"


# -- processes that die ----------------------------------------------------------------------------


async def test_a_suspension_outlives_its_process_and_is_answered_on_another(
    mortal_pair: Pair,
) -> None:
    one, two = mortal_pair
    panel = await one.create(["ask"])
    async with one.client(panel) as client:
        id = await client.trigger("ask", {"question": "red?"})
        waits = (await client.until("RESULT", requestId=id))[-1]["result"]["suspension"]
        one.project.kill()
    async with two.client(panel, since=2) as client:
        assert client.hello["status"] == "suspended"
        (listed,) = (await two.http("GET", f"/panels/{panel}/suspensions")).json()["suspensions"]
        assert listed["suspensionId"] == waits["suspensionId"]
        await client.say(type="RESUME", suspensionId=waits["suspensionId"], value="blue")
        result = (await client.until("RESULT", requestId=id))[-1]["result"]
        assert (result["status"], result["returnValue"]) == ("success", "blue")
    assert await two.state(panel) == {"asked": 1, "answer": "blue"}


async def test_an_answer_outlives_the_process_that_carries_it_out(mortal_pair: Pair) -> None:
    one, two = mortal_pair
    panel, helper = await one.create(["ask_hold"]), await one.create(["release"])
    async with (
        two.client(panel) as there,
        two.client(helper) as opener,
        one.client(panel) as here,
    ):
        id = await here.trigger("ask_hold", {"gate": "answer"})
        waits = (await here.until("RESULT", requestId=id))[-1]["result"]["suspension"]
        await here.say(type="RESUME", suspensionId=waits["suspensionId"], value=1)
        # Either process may go on with it; the one that has a gate that stays shut says so.
        holder = await first_to_say([here, there], "PROGRESS")
        assert await two.state(panel) == {}
        if holder is here:
            one.project.kill()
        await opener.run("release", {"gate": "answer"})
        result = (await there.until("RESULT", requestId=id))[-1]["result"]
    assert (result["status"], result["returnValue"]) == ("success", 1)
    assert await two.state(panel) == {"answer": 1}
    assert len(await two.events(panel)) == 1


async def first_to_say(clients: list[Client], type: str) -> Client:
    """Which of them first hears a frame of that type."""
    waiting = {asyncio.create_task(client.until(type)): client for client in clients}
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return waiting[done.pop()]


async def test_a_trigger_whose_process_dies_leaves_nothing_and_may_come_again(
    mortal_pair: Pair,
) -> None:
    one, two = mortal_pair
    panel, helper = await one.create(["hold"]), await one.create(["release"])
    async with one.client(panel) as here:
        id = await here.trigger("hold", {"gate": "death"})
        await here.until("PROGRESS")
        one.project.kill()
    assert await two.state(panel) == {}
    async with two.client(panel) as there, two.client(helper) as opener:
        await opener.run("release", {"gate": "death"})
        assert (await there.run("hold", {"gate": "death"}, id=id))["status"] == "success"
    assert await two.state(panel) == {"held": "death"}


async def test_an_interval_goes_on_when_a_process_dies(mortal_pair: Pair) -> None:
    one, two = mortal_pair
    panel = await one.create([fires({"type": "interval", "ms": 100})])
    async with two.client(panel) as client:
        await client.until("EVENT")
        one.project.kill()
        killed = time.time()
        at = 0.0
        while at < killed:
            at = (await client.until("EVENT"))[-1]["event"]["timestamp"] / 1000
        assert at - killed < TAKEN_OVER


# -- what fires by itself --------------------------------------------------------------------------


def fires(trigger: dict[str, Any]) -> dict[str, Any]:
    return {"name": "fired", "handler": "panel.fired", "trigger": trigger}


async def fired_events(client: Client, number: int) -> list[Frame]:
    """The next so many events of tools that fired by themselves."""
    found: list[Frame] = []
    while len(found) < number:
        event = (await client.until("EVENT"))[-1]["event"]
        if event["name"] == "fired":
            found.append(event)
    return found


async def test_an_interval_fires_once_in_the_cluster(pair: Pair) -> None:
    panel = await pair[0].create([fires({"type": "interval", "ms": 200})])
    async with pair[0].client(panel) as here, pair[1].client(panel) as there:
        events, also = await asyncio.gather(fired_events(here, 15), fired_events(there, 15))
        assert [event["timestamp"] for event in events] == [event["timestamp"] for event in also]
        seconds = (events[-1]["timestamp"] - events[0]["timestamp"]) / 1000
        # Were they twice as many, these would be here in half the time.
        assert seconds > 13 * 0.2
        await pair[0].http("DELETE", f"/panels/{panel}")


async def test_an_event_fires_a_tool_once(pair: Pair) -> None:
    panel = await pair[0].create(["add", fires({"type": "event", "pattern": "add*"})])
    async with pair[0].client(panel) as here, pair[1].client(panel) as there:
        for number in range(20):
            await (here, there)[number % 2].trigger("add", {"by": number})
        events = await fired_events(here, 20)
        assert sorted(event["payload"]["by"] for event in events) == list(range(20))
        await here.run("add", {"by": 20})
        assert [event["payload"]["by"] for event in await fired_events(here, 1)] == [20]
    log = [event["event"]["name"] for event in await pair[1].events(panel) if "event" in event]
    assert (log.count("added"), log.count("fired")) == (21, 21)


@pytest.mark.parametrize(
    ("path", "state", "changes", "others"),
    [
        ("count", {}, {"count": 1}, {"other": 1}),
        ("/deep/1/x", {"deep": [0, {"x": 1}]}, {"deep": [0, {"x": 2}]}, {"deep": [5, {"x": 2}]}),
    ],
)
async def test_a_change_fires_a_tool_once(
    pair: Pair, path: str, state: dict[str, Any], changes: dict[str, Any], others: dict[str, Any]
) -> None:
    tools: list[str | dict[str, Any]] = ["change", fires({"type": "state_change", "path": path})]
    panel = await pair[0].create(tools, state)
    async with pair[0].client(panel) as here, pair[1].client(panel) as there:
        await here.run("change", {"sets": changes})
        await fired_events(here, 1)
        await there.run("change", {"sets": changes})  # it is so already
        await there.run("change", {"sets": others})
        await there.run("change", {"sets": state | {"count": None}})
        await fired_events(here, 1)
    log = [event for event in await pair[0].events(panel) if "event" in event]
    assert len(log) == 2


async def test_tools_that_fire_each_other_come_to_an_end(pair: Pair) -> None:
    panel = await pair[0].create(["add", fires({"type": "event", "pattern": "*"})])
    async with pair[0].client(panel) as client:
        await client.run("add")
        await fired_events(client, 16)
        assert (await client.run("add", {"by": 0}))["status"] == "success"
        await fired_events(client, 16)
    log = [event["event"]["name"] for event in await pair[1].events(panel) if "event" in event]
    assert (log.count("added"), log.count("fired")) == (2, 32)


async def test_a_cron_expression_fires_once_a_minute_in_the_cluster(pair: Pair) -> None:
    panel = await pair[0].create([fires({"type": "cron", "expression": "* * * * *"})])
    async with pair[0].client(panel) as here, pair[1].client(panel):
        first = here.hello["offset"]  # 1, when a minute has begun since it was made
        frame = await here.hear(75)
        at = frame["event"]["timestamp"] / 1000
        assert at % 60 < 10  # it is due at the full minute
        minutes = [event["event"]["timestamp"] // 60_000 for event in await pair[1].events(panel)]
        assert minutes[: first + 1] == list(range(minutes[0], minutes[0] + first + 1))
    await pair[0].http("DELETE", f"/panels/{panel}")
