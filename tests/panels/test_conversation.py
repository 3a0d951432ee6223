"""A panel's conversation over real sockets and HTTP: what the seed says, and what we add to it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.live import LiveProject
from tests.node import node_with_websocket
from tests.panels.conftest import ENVIRONMENT, HERE, Client, Frame, Panels
from tests.wire.conftest import DEADLINE

pytestmark = pytest.mark.slow


# -- the seed's clients ----------------------------------------------------------------------------


async def test_the_seeds_javascript_client_works_unchanged(panels: Panels) -> None:
    node = node_with_websocket()
    if node is None:
        pytest.skip("There is no Node with a WebSocket here.")
    panel = await panels.create(["add"], {"count": 1})
    url = f"{panels.project.websocket_url(f'/panels/{panel}/ws')}?token={panels.all()}"
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", "--no-warnings", str(HERE / "seed_client.mjs"), url,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 2 * DEADLINE)
    assert process.returncode == 0, err.decode()
    told = json.loads(out)
    assert (told["panelId"], told["pongs"], told["code"]) == (panel, 1, 1000)
    assert told["state"] == await panels.state(panel) == {"count": 6}
    assert [event["name"] for event in told["events"]] == ["added"]
    assert told["events"][0]["payload"] == {"by": 2}
    assert abs(told["events"][0]["timestamp"] / 1000 - _now()) < 60
    assert [told["results"][id]["returnValue"] for id in ("js-1", "js-2")] == [3, 6]
    assert [error["code"] for error in told["errors"]] == ["TOOL_NOT_FOUND"]


async def test_the_seeds_python_client_works_unchanged(panels: Panels) -> None:
    """As the seed says: ``websockets``, the token in the query, JSON both ways, a PING."""
    panel = await panels.create(["add"], {"count": 1})
    url = f"{panels.project.websocket_url(f'/panels/{panel}/ws')}?token={panels.all()}"
    seen: list[Frame] = []
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "SUBSCRIBE", "topics": ["state", "events"]}))
        await socket.send(json.dumps({"type": "PING"}))
        trigger = {"type": "TRIGGER", "tool": "add", "args": {"by": 4}, "requestId": "py-1"}
        await socket.send(json.dumps(trigger))
        while not seen or seen[-1]["type"] != "RESULT":
            seen.append(json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)))
        await socket.send(json.dumps({"type": "UNSUBSCRIBE", "topics": ["events"]}))
        await socket.send(json.dumps({"type": "TRIGGER", "tool": "add"}))
        while len([frame for frame in seen if frame["type"] == "RESULT"]) < 2:
            seen.append(json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)))
    types = [frame["type"] for frame in seen]
    assert types == ["CONNECTED", "PONG", "PATCH", "EVENT", "RESULT", "PATCH", "RESULT"]
    assert (seen[0]["panelId"], seen[0]["state"]) == (panel, {"count": 1})
    assert seen[2]["mutations"] == [{"op": "set", "key": "count", "value": 5}]
    assert set(seen[3]["event"]) == {"name", "payload", "timestamp"}
    assert (seen[4]["requestId"], seen[4]["result"]["status"]) == ("py-1", "success")
    assert "requestId" not in seen[6]


def _now() -> float:
    import time

    return time.time()


async def test_a_result_has_all_that_the_seeds_type_names(panels: Panels) -> None:
    panel = await panels.create(["add", "fail"])
    async with panels.client(panel) as client:
        result = await client.run("add", {"by": 1})
        assert result["returnValue"] == 1
        assert result["stateMutations"] == [{"op": "set", "key": "count", "value": 1}]
        assert [event["name"] for event in result["events"]] == ["added"]
        assert result["viewCommands"] == []
        numbers = {"executionTimeUs", "memoryUsedBytes", "memoryPeakBytes", "hostCalls"}
        assert set(result["metrics"]) == numbers | {"cacheHit"}
        failed = await client.run("fail")
        assert failed["error"]["code"] == "EXECUTION_ERROR"
        assert "4711" not in json.dumps(failed)


# -- the upgrade -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "scopes", "status"),
    [
        ("here", None, 401),
        ("none-such", None, 401),
        ("here", "bad", 401),
        ("none-such", (), 404),
        ("none-such", ("machines:run",), 404),
        ("here", ("machines:run",), 403),
        ("here", ("panels:read:other-*",), 403),
    ],
)
async def test_the_upgrade_is_refused_with_the_status_that_says_why(
    panels: Panels, path: str, scopes: Any, status: int
) -> None:
    panel = await panels.create(["add"]) if path == "here" else path
    token = {None: "", "bad": "?token=bad"}.get(scopes)
    if token is None:
        token = f"?token={panels.all(*scopes)}"
    with pytest.raises(InvalidStatus) as caught:
        await panels.connect(f"/panels/{panel}/ws{token}")
    assert caught.value.response.status_code == status
    rows = panels.accesses(surface=f"panel:{panel}", event="connect")
    assert rows[-1]["outcome"] == "refused"


@pytest.mark.parametrize("way", ["query", "header", "subprotocol"])
async def test_every_way_to_present_a_token_lets_in(panels: Panels, way: str) -> None:
    panel = await panels.create(["add"])
    token = panels.all("panels:read")
    path = f"/panels/{panel}/ws"
    ways = {
        "query": panels.connect(f"{path}?token={token}"),
        "header": panels.connect(path, token),
        "subprotocol": panels.connect(path, subprotocols=[f"bearer.{token}"]),
    }
    async with ways[way] as socket:
        assert json.loads(await socket.recv())["type"] == "CONNECTED"


async def test_who_may_read_one_panel_reads_that_one(panels: Panels) -> None:
    panel = await panels.create(["add"], id="glob-1")
    async with panels.client(panel, panels.all("panels:read:glob-*")) as client:
        error = await client.refused("add")
        assert error["code"] == "FORBIDDEN"
    assert await panels.state(panel) == {}


# -- frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("nope", "PARSE_ERROR", None),
        ("[1]", "PARSE_ERROR", None),
        ("{}", "PARSE_ERROR", "/type"),
        ('{"type":"TRIGGER"}', "PARSE_ERROR", "/tool"),
        ('{"type":"TRIGGER","tool":"add","requestId":7}', "PARSE_ERROR", "/requestId"),
        ('{"type":"TRIGGER","tool":"add","expect":"x"}', "PARSE_ERROR", "/expect"),
        ('{"type":"SUBSCRIBE","topics":"state"}', "PARSE_ERROR", "/topics"),
        ('{"type":"CANCEL"}', "PARSE_ERROR", "/requestId"),
        ('{"type":"RESUME"}', "PARSE_ERROR", "/suspensionId"),
        ('{"type":"DANCE"}', "UNKNOWN_MESSAGE", None),
        ('{"type":"TRIGGER","tool":"nothing"}', "TOOL_NOT_FOUND", None),
        ('{"type":"TRIGGER","tool":"add","args":{"by":"x"}}', "INVALID_ARGS", "/by"),
        ('{"type":"TRIGGER","tool":"add","args":[1]}', "INVALID_ARGS", None),
        ('{"type":"CANCEL","requestId":"none"}', "CONFLICT", None),
        ('{"type":"RESUME","suspensionId":"none"}', "SUSPENSION_NOT_FOUND", None),
    ],
)
async def test_a_frame_that_can_not_be_done_is_answered_with_its_code(
    panels: Panels, text: str, code: str, path: str | None
) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.socket.send(text)
        error = (await client.until("ERROR"))[-1]
        assert error["code"] == code
        assert error["message"].endswith((".", "…"))
        if path is not None:
            assert error["details"][0]["path"] == path
        assert (await client.run("add"))["returnValue"] == 1  # the connection lives


async def test_an_error_carries_the_request_id_of_its_frame(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        assert (await client.refused("nothing", id="mine"))["requestId"] == "mine"


async def test_a_ping_is_answered_while_a_tool_runs(panels: Panels) -> None:
    panel, other = await panels.create(["hold"]), await panels.create(["release"])
    async with panels.client(panel) as client, panels.client(other) as helper:
        id = await client.trigger("hold", {"gate": "ping"})
        progress = (await client.until("PROGRESS"))[-1]
        assert (progress["requestId"], progress["status"]) == (id, "began")
        assert await client.quiet() == []
        await helper.run("release", {"gate": "ping"})
        types = [frame["type"] for frame in await client.until("RESULT", requestId=id)]
        assert types == ["PATCH", "RESULT"]


async def test_topics_filter_for_real(panels: Panels) -> None:
    panel = await panels.create(["change", "burst"])
    async with panels.client(panel, v=2) as narrow, panels.client(panel, v=2) as silent:
        await silent.say(type="UNSUBSCRIBE", topics=["state", "events"])
        assert await silent.hear() == {"type": "SUBSCRIBED", "topics": []}
        await narrow.say(type="UNSUBSCRIBE", topics=["state", "events"])
        await narrow.hear()
        await narrow.say(type="SUBSCRIBE", topics=["state:b", "events:*.1"])
        assert await narrow.hear() == {"type": "SUBSCRIBED", "topics": ["events:*.1", "state:b"]}
        async with panels.client(panel) as actor:
            await actor.run("change", {"sets": {"a": 1, "b": 2}})
            await actor.run("change", {"sets": {"a": 3}})
            await actor.run("burst", {"number": 2, "events": 3})
            await actor.run("change", {"deletes": ["b"]})
        heard = [*await narrow.until("PATCH", offset=6)]
        assert [frame.get("mutations") or frame["event"]["name"] for frame in heard] == [
            [{"op": "set", "key": "b", "value": 2}],
            "burst.1",
            [{"op": "delete", "key": "b"}],
        ]
        assert await silent.quiet() == []
        result = await silent.run("change", {"sets": {"a": 4}})
        assert result["stateMutations"] == [{"op": "set", "key": "a", "value": 4}]


async def test_only_who_asked_for_version_2_is_told_of_topics(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.say(type="SUBSCRIBE", topics=["state:x"])
        assert await client.quiet() == []


# -- coming back -----------------------------------------------------------------------------------


async def test_who_comes_back_gets_what_was_missed(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.run("add")
        epoch, known = client.hello["epoch"], 2
    async with panels.client(panel) as other:
        await other.run("add", {"by": 10})
    async with panels.client(panel, since=known, epoch=epoch) as client:
        assert (client.hello["recovered"], client.hello["offset"]) == (True, known)
        patch, event = await client.hear(), await client.hear()
        assert (patch["type"], patch["offset"], patch["by"]) == ("PATCH", 3, "ada")
        assert (event["type"], event["offset"], event["event"]["name"]) == ("EVENT", 4, "added")
        assert client.fold == await panels.state(panel)
        assert await client.quiet() == []


@pytest.mark.parametrize("query", [{"since": 99}, {"since": 0, "epoch": "another"}, {}])
async def test_who_can_not_be_given_all_gets_the_whole_state(
    panels: Panels, query: dict[str, Any]
) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.run("add")
    async with panels.client(panel, **query) as client:
        assert client.hello["recovered"] is False
        assert (client.hello["state"], client.hello["offset"]) == ({"count": 1}, 2)
        assert await client.quiet() == []


async def test_the_log_says_it_when_it_was_trimmed(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.run("add")
        await client.run("add")
    _sql(panels, "delete from mashin_surfaces_roomevent where room_id = ? and offset <= 2", panel)
    _sql(panels, "update mashin_surfaces_room set floor = 2 where id = ?", panel)
    async with panels.client(panel, since=1) as client:
        assert client.hello["recovered"] is False
        assert client.hello["state"] == {"count": 2}
    answer = await panels.http("GET", f"/panels/{panel}/events?since=1")
    assert answer.status_code == 410
    assert [event["offset"] for event in await panels.events(panel, 2)] == [3, 4]


def _sql(panels: Panels, statement: str, panel: str, *values: Any) -> None:
    """What time or an operator would do to the rows of a panel."""
    with sqlite3.connect(panels.project.database_file, timeout=DEADLINE) as database:
        (id,) = database.execute(
            "select id from mashin_surfaces_room where kind = 'panel' and key = ?", [panel]
        ).fetchone()
        database.execute(statement, [*values, id])
    database.close()


# -- once and only once ----------------------------------------------------------------------------


async def test_a_request_is_carried_out_once(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        first = await client.run("add", id="once")
        assert await client.run("add", id="once") == first
        assert await client.quiet() == []
    async with panels.client(panel) as client:
        assert await client.run("add", id="once") == first
        assert (await client.run("add", id="twice"))["returnValue"] == 2
    answer = await panels.http(
        "POST", f"/panels/{panel}/trigger/add", {}, headers={"Idempotency-Key": "once"}
    )
    assert (answer.status_code, answer.json()) == (200, first)
    assert len(panels.triggers(panel)) == 5


async def test_the_same_request_at_the_same_time_is_carried_out_once(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as one, panels.client(panel) as two:
        results = await asyncio.gather(one.run("add", id="both"), two.run("add", id="both"))
    assert results[0] == results[1]
    assert await panels.state(panel) == {"count": 1}


async def test_a_request_id_is_its_principals_own(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as ada, panels.client(panel, panels.all("panels:*")) as bob:
        await ada.run("add", id="shared")
        assert (await bob.run("add", id="shared"))["returnValue"] == 2


async def test_a_request_is_forgotten_after_10_minutes(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.run("add", id="old")
        _sql(
            panels,
            "update mashin_surfaces_panelrequest set created_at = '2020-01-01 00:00:00' "
            "where panel_id = ?",
            panel,
        )
    # The server may hold the panel for a moment with what it remembers.
    deadline = asyncio.get_running_loop().time() + DEADLINE
    async with panels.client(panel) as client:
        while (await client.run("add", id="old"))["returnValue"] != 2:
            assert asyncio.get_running_loop().time() < deadline
    assert await panels.state(panel) == {"count": 2}


async def test_a_trigger_that_expects_another_offset_is_not_run(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await client.run("add", expect=0)
        assert (await client.refused("add", expect=0))["code"] == "CONFLICT"
        assert (await client.run("add", expect=2))["returnValue"] == 2


# -- cancelling, suspending ------------------------------------------------------------------------


async def test_what_waits_and_what_runs_can_be_cancelled(panels: Panels) -> None:
    panel = await panels.create(["hold", "add"])
    async with panels.client(panel) as client:
        running = await client.trigger("hold", {"gate": "never"})
        await client.until("PROGRESS")
        queued = await client.trigger("add")
        await client.say(type="CANCEL", requestId=queued)
        result = (await client.until("RESULT", requestId=queued))[-1]["result"]
        assert (result["status"], result["error"]["code"]) == ("error", "CANCELLED")
        await client.say(type="CANCEL", requestId=running)
        result = (await client.until("RESULT", requestId=running))[-1]["result"]
        assert (result["status"], result["error"]["code"]) == ("error", "CANCELLED")
        assert await client.quiet() == []
    assert await panels.state(panel) == {}
    assert len(await panels.eventually(lambda: _rows(panels, panel, 2))) == 2


def _rows(panels: Panels, panel: str, number: int) -> list[dict[str, Any]] | None:
    rows = panels.triggers(panel)
    return rows if len(rows) >= number else None


async def test_nobody_cancels_what_is_not_theirs(panels: Panels) -> None:
    panel, other = await panels.create(["hold"]), await panels.create(["release"])
    async with (
        panels.client(panel) as ada,
        panels.client(panel, panels.all("panels:*")) as bob,
        panels.client(other) as helper,
    ):
        id = await ada.trigger("hold", {"gate": "theirs"})
        await ada.until("PROGRESS")
        await bob.say(type="CANCEL", requestId=id)
        assert (await bob.until("ERROR"))[-1]["code"] == "CONFLICT"
        await helper.run("release", {"gate": "theirs"})
        assert (await ada.until("RESULT"))[-1]["result"]["status"] == "success"


async def test_a_suspension_is_answered_and_ends_in_a_result(panels: Panels) -> None:
    panel = await panels.create(["ask", "add"])
    async with panels.client(panel) as client:
        id = await client.trigger("ask", {"question": "red?"})
        heard = await client.until("RESULT", requestId=id)
        assert [frame["type"] for frame in heard] == ["PATCH", "EVENT", "RESULT"]
        result = heard[-1]["result"]
        waits = result["suspension"]
        assert result["status"] == "suspended"
        assert (waits["extensionName"], waits["method"]) == ("person", "ask")
        assert waits["args"] == ["red?"]
        assert (await client.hear()) == {"type": "STATUS", "status": "suspended"}
        assert (await panels.http("GET", f"/panels/{panel}")).json()["status"] == "suspended"
        await client.run("add", {"by": 5})  # the panel goes on meanwhile
        await client.say(type="RESUME", suspensionId=waits["suspensionId"], value="no: blue")
        heard = await client.until("RESULT", requestId=id)
        assert [frame["type"] for frame in heard] == ["PATCH", "EVENT", "RESULT"]
        assert heard[-1]["result"]["returnValue"] == "no: blue"
        assert await client.hear() == {"type": "STATUS", "status": "running"}
        state = {"asked": 1, "count": 5, "answer": "no: blue"}
        assert client.fold == state == await panels.state(panel)
        await client.say(type="RESUME", suspensionId=waits["suspensionId"], value="again")
        assert (await client.until("ERROR"))[-1]["code"] == "CONFLICT"
        again = await client.run("ask", {"question": "red?"}, id=id)
        assert again["returnValue"] == "no: blue"  # the request has its last result


async def test_a_tool_may_wait_several_times(panels: Panels) -> None:
    panel = await panels.create(["ask_twice"])
    async with panels.client(panel) as client:
        id = await client.trigger("ask_twice")
        for word in ("first", "second"):
            result = (await client.until("RESULT", requestId=id))[-1]["result"]
            assert result["suspension"]["args"] == [word]
            listed = (await panels.http("GET", f"/panels/{panel}/suspensions")).json()
            (waits,) = listed["suspensions"]
            assert waits["suspensionId"] == result["suspension"]["suspensionId"]
            answer = await panels.http(
                "POST", f"/panels/{panel}/suspensions/{waits['suspensionId']}", {"value": word * 2}
            )
            assert answer.status_code in {200, 202}, answer.text
        result = (await client.until("RESULT", requestId=id))[-1]["result"]
        assert result["returnValue"] == ["firstfirst", "secondsecond"]
    assert await panels.state(panel) == {"first": "firstfirst", "second": "secondsecond"}


@pytest.mark.parametrize("how", ["cancel", "error", "deadline"])
async def test_a_suspension_that_is_not_answered_ends_in_a_result_too(
    panels: Panels, how: str
) -> None:
    panel = await panels.create(["ask"])
    async with panels.client(panel) as client:
        seconds = 0.2 if how == "deadline" else 60
        id = await client.trigger("ask", {"question": "?", "seconds": seconds})
        waits = (await client.until("RESULT", requestId=id))[-1]["result"]["suspension"]
        if how == "cancel":
            await client.say(type="CANCEL", requestId=id)
        elif how == "error":
            await client.say(type="RESUME", suspensionId=waits["suspensionId"], error="out sick")
        result = (await client.until("RESULT", requestId=id))[-1]["result"]
        code = {"cancel": "CANCELLED", "error": "EXECUTION_ERROR", "deadline": "TIMEOUT"}[how]
        assert (result["status"], result["error"]["code"]) == ("error", code)
        if how == "error":
            assert result["error"]["message"] == "out sick"
    assert await panels.state(panel) == {"asked": 1}
    assert (await panels.http("GET", f"/panels/{panel}/suspensions")).json()["suspensions"] == []


async def test_answering_needs_a_scope_of_its_own(panels: Panels) -> None:
    panel = await panels.create(["ask"])
    token = panels.all("panels:read", "panels:trigger")
    async with panels.client(panel, token) as client:
        waits = (await client.run("ask", {"question": "?"}))["suspension"]
        await client.say(type="RESUME", suspensionId=waits["suspensionId"], value=1)
        assert (await client.until("ERROR"))[-1]["code"] == "FORBIDDEN"


async def test_progress_and_result_are_for_the_sender_alone(panels: Panels) -> None:
    panel = await panels.create(["ask"])
    async with panels.client(panel) as ada, panels.client(panel, panels.all("panels:*")) as bob:
        id = await ada.trigger("ask", {"question": "?"})
        waits = (await ada.until("RESULT", requestId=id))[-1]["result"]["suspension"]
        await bob.say(type="RESUME", suspensionId=waits["suspensionId"], value=1)
        await ada.until("RESULT", requestId=id)
        heard = await bob.until("STATUS", status="running")
        types = [frame["type"] for frame in heard]
        assert types == ["PATCH", "EVENT", "STATUS", "PATCH", "EVENT", "STATUS"]


# -- what fails, and limits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("raise", "EXECUTION_ERROR"),
        ("return", "SERIALIZATION_ERROR"),
        ("state", "SERIALIZATION_ERROR"),
        ("huge", "SERIALIZATION_ERROR"),
        ("nul", "SERIALIZATION_ERROR"),
    ],
)
async def test_a_tool_that_fails_leaves_nothing_behind(
    panels: Panels, how: str, code: str | None
) -> None:
    panel = await panels.create(["add", "fail"], {"count": 1, "items": [1]})
    async with panels.client(panel) as client:
        id = await client.trigger("fail", {"how": how})
        heard = await client.until("RESULT", requestId=id)
        assert len(heard) == 1
        result = heard[0]["result"]
        assert result["status"] == "error"
        assert result["stateMutations"] == result["events"] == []
        if code is not None:
            assert result["error"]["code"] == code
        assert await panels.state(panel) == {"count": 1, "items": [1]}
        assert await panels.events(panel) == []
        assert (await client.run("add"))["returnValue"] == 2
    rows = [row["outcome"] for row in panels.triggers(panel)]
    assert rows == ["failed", "allowed"]


async def test_state_and_patches_are_one_whatever_a_tool_keeps(panels: Panels) -> None:
    """Keys that look like JSON Pointers, numbers that are no floats, ``1`` in place of ``true``."""
    panel = await panels.create(["change", "odd"], {"/old/key": 1, "flag": True})
    async with panels.client(panel) as client:
        assert (await client.run("change", {"deletes": ["/old/key"]}))["status"] == "success"
        sets = {"/a/~b": 1, "flag": 1, "slash": "\\u0000", "": 2}
        assert (await client.run("change", {"sets": sets}))["status"] == "success"
        assert (await client.run("odd"))["status"] == "success"
        state = await panels.state(panel)
        assert state == {**sets, "price": 1.1}
        assert state["flag"] is not True
        assert client.fold == state


async def test_a_frame_that_is_nested_too_deep_is_refused(panels: Panels) -> None:
    panel = await panels.create(["change"])
    async with panels.client(panel) as client:
        value = "[" * 500 + "]" * 500
        await client.socket.send(
            f'{{"type":"TRIGGER","tool":"change","args":{{"sets":{{"a":{value}}}}}}}'
        )
        assert (await client.until("ERROR"))[-1]["code"] == "PARSE_ERROR"
        assert (await client.run("change"))["status"] == "success"


@pytest.mark.parametrize(
    ("most", "too_much"),
    [
        ({"changes": 1_000}, {"changes": 1_001}),
        ({"events": 100}, {"events": 101}),
        ({"size": 1024 * 1024 - 100}, {"size": 1024 * 1024}),
    ],
)
async def test_a_run_has_limits(
    panels: Panels, most: dict[str, int], too_much: dict[str, int]
) -> None:
    panel = await panels.create(["many"])
    async with panels.client(panel) as client:
        result = await client.run("many", too_much)
        assert result["status"] == "error"
        assert await panels.state(panel) == {}
        result = await client.run("many", most)
        assert result["status"] == "success", result.get("error")


async def test_a_frame_has_a_limit(panels: Panels) -> None:
    panel = await panels.create(["change"])
    async with panels.client(panel) as client:
        empty = len(json.dumps({"type": "TRIGGER", "tool": "change", "args": {"sets": {"a": ""}}}))
        text = "x" * (256 * 1024 - empty)
        await client.say(type="TRIGGER", tool="change", args={"sets": {"a": text}})
        await client.until("RESULT")
        await client.say(type="TRIGGER", tool="change", args={"sets": {"a": text + "x"}})
        assert (await client.until("ERROR"))[-1]["code"] == "TOO_LARGE"
        assert (await client.run("change"))["status"] == "success"
    assert len(panels.triggers(panel)) == 3


async def test_64_triggers_wait_and_more_are_busy(panels: Panels) -> None:
    panel, other = await panels.create(["hold", "add"]), await panels.create(["release"])
    async with panels.client(panel) as client, panels.client(other) as helper:
        await client.trigger("hold", {"gate": "busy"})
        await client.until("PROGRESS")
        ids = [await client.trigger("add") for _ in range(70)]
        busy = [(await client.until("ERROR"))[-1] for _ in range(7)]
        assert {error["code"] for error in busy} == {"BUSY"}
        assert [error["requestId"] for error in busy] == ids[63:]
        await helper.run("release", {"gate": "busy"})
        await client.until("RESULT", requestId=ids[62])
        assert (await client.run("add"))["returnValue"] == 64
    assert len(await panels.eventually(lambda: _rows(panels, panel, 72))) == 72


async def test_a_tool_has_its_capabilities_and_no_others(panels: Panels) -> None:
    def limited(handler: str) -> dict[str, Any]:
        capabilities = ["state:write:count", "events:emit:added"]
        return {"name": handler, "handler": f"panel.{handler}", "capabilities": capabilities}

    panel = await panels.create(
        [limited("add"), limited("change"), limited("append"), limited("ask")], {"items": [1]}
    )
    async with panels.client(panel) as client:
        assert (await client.run("add"))["returnValue"] == 1
        for tool, args in (
            ("add", {"key": "other"}),
            ("change", {"deletes": ["items"]}),
            ("append", {"value": 2}),
            ("ask", {"question": "?"}),
        ):
            result = await client.run(tool, args)
            assert result["error"]["code"] == "PERMISSION_DENIED", tool
    assert await panels.state(panel) == {"count": 1, "items": [1]}


# -- the end ---------------------------------------------------------------------------------------


async def test_a_panel_that_is_deleted_closes_its_sockets(panels: Panels) -> None:
    panel = await panels.create(["add", "hold"])
    async with panels.client(panel) as client, panels.client(panel) as busy:
        await busy.trigger("hold", {"gate": "deleted"})
        await busy.until("PROGRESS")
        answer = await panels.http("DELETE", f"/panels/{panel}")
        assert (answer.status_code, answer.content) == (204, b"")
        for each in (client, busy):
            with pytest.raises(ConnectionClosed) as caught:
                await each.until("never")
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "Panel destroyed")
    for method, path in (("GET", ""), ("GET", "/state"), ("DELETE", ""), ("POST", "/trigger/add")):
        answer = await panels.http(method, f"/panels/{panel}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "PANEL_NOT_FOUND"


async def test_on_drain_sockets_are_told_to_come_back(tmp_path: Path) -> None:
    project = LiveProject(tmp_path, env=ENVIRONMENT)
    with project:
        panels = Panels(project)
        panel = await panels.create(["add"])
        async with panels.client(panel) as client:
            await client.run("add")
            stopping = asyncio.create_task(asyncio.to_thread(project.stop))
            with pytest.raises(ConnectionClosed) as caught:
                await client.until("never")
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
            assert await stopping == 0
        project.start()
        async with panels.client(panel, since=0, epoch=client.hello["epoch"]) as client:
            assert client.hello["recovered"] is True
            assert (await client.until("EVENT"))[-1]["offset"] == 2
            assert (await client.run("add"))["returnValue"] == 2


# -- the ledger ------------------------------------------------------------------------------------


async def test_every_trigger_leaves_one_row(panels: Panels) -> None:
    panel = await panels.create(["add", "fail", "ask"])
    reader = panels.all("panels:read")
    async with panels.client(panel) as client, panels.client(panel, reader) as stranger:
        await client.run("add")
        await client.run("fail")
        await client.run("ask", {"question": "?"})
        await client.refused("nothing")
        await client.refused("add", {"by": "x"})
        await client.refused("add", expect=99)
        await stranger.refused("add")
        url = f"/panels/{panel}/trigger"
        for tool, body, token in (
            ("add", {}, None),
            ("nothing", {}, None),
            ("add", {"by": []}, None),
            ("add", {}, reader),
        ):
            await panels.http("POST", f"{url}/{tool}", body, token)
        assert (await panels.request("POST", f"{url}/add")).status_code == 401
    rows = panels.triggers(panel)
    assert [(row["outcome"], row["code"]) for row in rows] == [
        ("allowed", ""),
        ("failed", "execution_failed"),
        ("allowed", ""),
        ("refused", "not_found"),
        ("refused", "invalid_input"),
        ("refused", "conflict"),
        ("refused", "forbidden"),
        ("allowed", ""),
        ("refused", "not_found"),
        ("refused", "invalid_input"),
        ("refused", "forbidden"),
        ("refused", "unauthenticated"),
    ]
    assert {row["principal"] for row in rows[:6]} == {"ada"}
    panels.project.manage("verify_ledger")


# -- HTTP ------------------------------------------------------------------------------------------


async def test_a_panel_over_http(panels: Panels) -> None:
    body = {
        "id": "http-1",
        "kind": "counter",
        "title": "Counter",
        "tools": [{"name": "add", "handler": "panel.add"}],
        "initialState": {"count": 1},
    }
    made = await panels.http("POST", "/panels", body)
    assert made.status_code == 201
    address = f"ws://{panels.project.host}/panels/http-1/ws"
    assert made.json() == {"id": "http-1", "status": "running", "wsUrl": address}
    assert (await panels.http("POST", "/panels", body)).status_code == 409
    async with panels.client("http-1"):
        info = (await panels.http("GET", "/panels/http-1")).json()
    assert {key: info[key] for key in ("id", "kind", "title", "status", "state", "tools")} == {
        "id": "http-1", "kind": "counter", "title": "Counter", "status": "running",
        "state": {"count": 1}, "tools": ["add"],
    }  # fmt: skip
    assert (info["clientCount"], info["offset"]) == (1, 0)
    assert info["createdAt"].endswith("Z")
    assert {"lastActivity", "epoch"} < set(info)
    result = await panels.http("POST", "/panels/http-1/trigger/add", {"by": 2})
    assert (result.status_code, result.json()["returnValue"]) == (200, 3)
    log = (await panels.http("GET", "/panels/http-1/events?since=1")).json()
    assert (log["offset"], log["epoch"]) == (2, info["epoch"])
    assert [event["event"]["name"] for event in log["events"]] == ["added"]
    listed = (await panels.http("GET", "/panels?limit=1")).json()
    assert len(listed["panels"]) == 1 < listed["total"]


async def test_what_http_refuses(panels: Panels) -> None:
    panel = await panels.create(["add"])
    nobody = panels.all("machines:run")
    big = {"kind": "x", "initialState": {"a": "x" * 1024 * 1024}}
    for method, path, body, token, status, code in (
        ("POST", "/panels", {}, None, 400, "INVALID_INPUT"),
        ("POST", "/panels", {"kind": "x", "id": "no/slash"}, None, 400, "INVALID_INPUT"),
        ("POST", "/panels", {"kind": "x", "tools": [{"name": "a"}]}, None, 400, "INVALID_INPUT"),
        ("POST", "/panels", {"kind": "x", "machine": "none"}, None, 400, "INVALID_INPUT"),
        ("POST", "/panels", big, None, 413, "TOO_LARGE"),
        ("POST", "/panels", {"kind": "x"}, nobody, 403, "FORBIDDEN"),
        ("GET", "/panels/none-such", None, None, 404, "PANEL_NOT_FOUND"),
        ("GET", f"/panels/{panel}", None, nobody, 403, "FORBIDDEN"),
        ("DELETE", f"/panels/{panel}", None, nobody, 403, "FORBIDDEN"),
        ("POST", f"/panels/{panel}/trigger/add", {"by": "x"}, None, 400, "INVALID_ARGS"),
        ("POST", f"/panels/{panel}/trigger/none", {}, None, 404, "TOOL_NOT_FOUND"),
        ("POST", "/panels/none-such/trigger/add", {}, None, 404, "PANEL_NOT_FOUND"),
        ("POST", f"/panels/{panel}/trigger/add", {}, nobody, 403, "FORBIDDEN"),
    ):
        answer = await panels.http(method, path, body, token)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.json()["error"]["code"] == code, (method, path)
    assert (await panels.request("GET", "/panels")).status_code == 401
    assert (await panels.request("GET", "/panels/none-such")).status_code == 401
    answer = await panels.http("POST", "/panels", {"kind": 7, "tools": 3})
    assert {detail["path"] for detail in answer.json()["error"]["details"]} == {"/kind", "/tools"}


async def test_javascript_handlers_are_refused_and_say_so(panels: Panels) -> None:
    tools = [{"name": "js", "handler": "state.count = 1; return 1;"}]
    answer = await panels.http("POST", "/panels", {"kind": "x", "tools": tools})
    assert answer.status_code == 400
    assert "not supported yet" in answer.json()["error"]["details"][0]["message"]


async def test_a_list_has_what_one_may_read(panels: Panels) -> None:
    await panels.create(id="mine-1")
    await panels.create(id="mine-2")
    token = panels.all("panels:read:mine-*")
    listed = (await panels.http("GET", "/panels", token=token)).json()
    assert [panel["id"] for panel in listed["panels"]] == ["mine-1", "mine-2"]
    first = (await panels.http("GET", "/panels?limit=1", token=token)).json()
    assert [panel["id"] for panel in first["panels"]] == ["mine-1"]
    second = (await panels.http("GET", first["next"], token=token)).json()
    assert [panel["id"] for panel in second["panels"]] == ["mine-2"]


async def test_what_http_triggers_sockets_see(panels: Panels) -> None:
    panel = await panels.create(["add"])
    async with panels.client(panel) as client:
        await panels.http("POST", f"/panels/{panel}/trigger/add", {})
        assert [(await _type(client)) for _ in range(2)] == ["PATCH", "EVENT"]
        assert await client.quiet() == []


async def _type(client: Client) -> str:
    return str((await client.hear())["type"])
