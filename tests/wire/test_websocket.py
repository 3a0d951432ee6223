"""The websocket door, over real sockets to a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.wire.conftest import DEADLINE, Wire

pytestmark = pytest.mark.slow


async def ask(socket: ClientConnection, value: Any) -> Any:
    """Send one frame (an object, or a text as it is) and read one answer."""
    await socket.send(value if isinstance(value, str | bytes) else json.dumps(value))
    return json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))


async def closing(socket: ClientConnection) -> tuple[int, str]:
    """Read to the end; the close code and reason."""
    while True:
        try:
            await asyncio.wait_for(socket.recv(), DEADLINE)
        except ConnectionClosed as closed:
            end = closed.rcvd
            return (end.code, end.reason) if end else (1006, "")


async def test_a_message_is_answered_and_recorded(wire: Wire) -> None:
    async with wire.connect("/ws/wire/echo", wire.token("ada")) as socket:
        assert await ask(socket, {"text": "hi", "times": 2}) == {"text": "hihi", "length": 4}
    row = wire.accesses(principal="ada", event="message")[-1]
    assert (row["outcome"], row["code"], row["surface"]) == (
        "allowed",
        "",
        "websocket:/ws/wire/echo",
    )
    assert "hihi" not in row["output"]
    assert json.loads(row["steps"])[0]["effect"] == "wire.repeat"


async def test_every_error_is_told_and_the_socket_stays_open(wire: Wire) -> None:
    async with wire.connect("/ws/wire/echo", wire.token("ada")) as socket:
        error = (await ask(socket, {"times": 9, "colour": "red"}))["error"]
        assert error["code"] == "invalid_input"
        assert {item["path"] for item in error["details"]} == {"/text", "/times", "/colour"}
        assert wire.accesses(request_id=error["request_id"])[0]["outcome"] == "refused"
        assert (await ask(socket, {"text": "on"}))["length"] == 2


DEEP = "[" * 65 + "]" * 65


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{oops", "invalid_json"),
        ("[1]", "invalid_json"),
        ("", "invalid_json"),
        ('"text"', "invalid_json"),
        ('{"anything": NaN}', "invalid_json"),
        ('{"anything": 1e999}', "invalid_json"),
        (f'{{"anything": {DEEP}}}', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (json.dumps({"anything": "x" * 300_000}), "too_large"),
        ('{"subscribe": 5}', "unknown_message"),
        ('{"type": "authenticate"}', "unknown_message"),
        ('{"seconds": "1"}', "invalid_input"),
        ('{"seconds": true}', "invalid_input"),
    ],
)
async def test_bad_frames_get_a_clear_error(wire: Wire, frame: str | bytes, code: str) -> None:
    async with wire.connect("/ws/wire/open") as socket:
        assert (await ask(socket, frame))["error"]["code"] == code
        assert await ask(socket, {"anything": 1}) == {"anything": 1}


async def test_bytes_that_are_json_are_taken(wire: Wire) -> None:
    async with wire.connect("/ws/wire/open") as socket:
        assert await ask(socket, b'{"anything": "\xc3\xa4"}') == {"anything": "ä"}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("denied", "permission_denied"),
        ("fail", "execution_failed"),
        ("sleep", "timeout"),
        ("wrong", "invalid_output"),
    ],
)
async def test_a_machine_that_fails_is_an_answer(wire: Wire, kind: str, code: str) -> None:
    path = "/ws/wire/late" if kind == "sleep" else "/ws/wire/trouble"
    async with wire.connect(path) as socket:
        answer = await ask(socket, {"kind": kind})
        assert answer["error"]["code"] == code
        assert "4711" not in json.dumps(answer)
        assert await ask(socket, {"kind": "fine"}) == {"value": 1}


async def test_a_traceback_is_in_the_log_under_the_request_id(wire: Wire) -> None:
    async with wire.connect("/ws/wire/trouble") as socket:
        request_id = (await ask(socket, {"kind": "fail"}))["error"]["request_id"]
    log = wire.project.log_text
    assert request_id in log
    assert "secret detail 4711" in log


async def test_synchronous_effects_run_on_threads_of_their_own(wire: Wire) -> None:
    async with wire.connect("/ws/wire/trouble") as socket:
        assert (await ask(socket, {"kind": "thread"}))["name"].startswith("mashin-effect")


async def test_answers_come_in_the_order_of_the_questions(wire: Wire) -> None:
    async with wire.connect("/ws/wire/open") as socket:
        await socket.send('{"seconds": 0.3}')
        await socket.send('{"anything": "second"}')
        assert json.loads(await socket.recv()) == {"value": 2}
        assert json.loads(await socket.recv()) == {"anything": "second"}


async def test_what_waits_is_bounded_and_the_surplus_is_busy_in_its_turn(wire: Wire) -> None:
    async with wire.connect("/ws/wire/open") as socket:
        await socket.send('{"seconds": 3}')  # all the others come meanwhile
        for number in range(40):
            await socket.send(json.dumps({"anything": number}))
        answers = [json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)) for _ in range(41)]
    assert answers[0] == {"value": 2}
    assert answers[1:33] == [{"anything": number} for number in range(32)]
    assert [answer["error"]["code"] for answer in answers[33:]] == ["busy"] * 8


async def test_with_the_envelope_several_run_at_once(wire: Wire) -> None:
    async with wire.connect("/ws/wire/open", subprotocols=["mashin.v1"]) as socket:
        assert socket.subprotocol == "mashin.v1"
        await socket.send('{"id": "slow", "input": {"seconds": 3}}')
        await socket.send('{"id": 2, "input": {"anything": "quick"}}')
        assert json.loads(await socket.recv()) == {"id": 2, "result": {"anything": "quick"}}
        assert json.loads(await socket.recv()) == {"id": "slow", "result": {"value": 2}}
        assert (await ask(socket, "{oops"))["id"] is None
        assert (await ask(socket, {"id": "q", "input": {"no": 1}}))["id"] == "q"


async def test_a_ping_in_the_envelope_is_answered_whatever_runs(wire: Wire) -> None:
    async with wire.connect("/ws/wire/ticks", subprotocols=["mashin.v1"]) as socket:
        for id in range(10):  # more than run at once, none of which ends
            await socket.send(json.dumps({"id": id, "input": {"count": 0, "ending": "wait"}}))
        assert await ask(socket, {"id": "p", "type": "ping"}) == {"id": "p", "pong": True}


@pytest.mark.parametrize(
    ("path", "credential", "status", "code"),
    [
        ("/ws/wire/echo", None, 401, "unauthenticated"),
        ("/ws/wire/echo", "not.a.token", 401, "unauthenticated"),
        ("/ws/wire/echo", "two.parts", 401, "unauthenticated"),
        ("/ws/wire/echo", "@nobody", 403, "forbidden"),
        ("/ws/wire/nowhere", None, 404, "not_found"),
    ],
)
async def test_a_refused_upgrade_has_a_status_and_a_reason(
    wire: Wire, path: str, credential: str | None, status: int, code: str
) -> None:
    if credential == "@nobody":
        credential = wire.token("nobody", "nothing:at-all")
    with pytest.raises(InvalidStatus) as refused:
        async with wire.connect(path, credential):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == code


async def test_credentials_are_taken_from_header_query_and_subprotocol(wire: Wire) -> None:
    token, key = wire.token("ada"), wire.api_key("robot")
    for connect in (
        wire.connect(f"/ws/wire/echo?token={token}"),
        wire.connect(f"/ws/wire/echo?api_key={key}"),
        wire.connect("/ws/wire/echo", key),
        wire.connect("/ws/wire/echo", headers={"Authorization": f"Api-Key {key}"}),
        wire.connect("/ws/wire/echo", subprotocols=["mashin.v1", f"bearer.{token}"]),
    ):
        async with connect as socket:
            assert token not in (socket.subprotocol or "")
            await socket.send("{}")
            assert "error" in json.loads(await socket.recv())
    assert token not in wire.project.log_text
    assert key not in wire.project.log_text


async def test_a_connection_ends_with_its_token(wire: Wire) -> None:
    async with wire.connect("/ws/wire/echo", wire.token("brief", ttl="8s")) as socket:
        assert (await ask(socket, {"text": "hi"}))["length"] == 2
        assert (await closing(socket))[0] == 4401


async def test_fresh_credentials_prolong_a_connection(wire: Wire) -> None:
    fresh, brief = wire.token("eve"), wire.token("eve", ttl="8s")
    async with wire.connect("/ws/wire/echo", brief) as socket:
        frame = {"type": "authenticate", "token": fresh}
        assert await ask(socket, frame) == {"type": "authenticated"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 9)
        assert (await ask(socket, {"text": "still"}))["length"] == 5
        frame = {"type": "authenticate", "token": wire.token("mallory")}
        assert (await ask(socket, frame))["error"]["code"] == "forbidden"


async def test_a_revoked_key_ends_its_connections_and_no_others(wire: Wire) -> None:
    key = wire.api_key("leaver")
    async with (
        wire.connect("/ws/wire/echo", key) as leaving,
        wire.connect("/ws/wire/echo", wire.token("ada")) as staying,
    ):
        assert (await ask(leaving, {"text": "hi"}))["length"] == 2
        wire.revoke(key)
        assert (await closing(leaving))[0] == 4401
        assert (await ask(staying, {"text": "hi"}))["length"] == 2
    with pytest.raises(InvalidStatus):
        async with wire.connect("/ws/wire/echo", key):
            pass


async def test_an_idle_socket_is_told_and_closed(wire: Wire) -> None:
    async with wire.connect("/ws/wire/limits") as socket:
        answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
        assert answer["error"]["code"] == "timeout"
        assert (await closing(socket))[0] == 4408


async def test_a_rate_is_kept(wire: Wire) -> None:
    async with wire.connect("/ws/wire/rate") as socket:
        answers = [await ask(socket, {"n": number}) for number in range(4)]
    assert answers[-1]["error"]["code"] == "rate_limited"
    assert answers[-1]["error"]["retry_after"] > 0


async def test_a_disconnect_is_recorded_with_its_counts(wire: Wire) -> None:
    async with wire.connect("/ws/wire/echo", wire.token("counted")) as socket:
        await ask(socket, {"text": "one"})
        await ask(socket, {"wrong": 1})
    row = await wire.eventually(lambda: wire.accesses(principal="counted", event="disconnect"))
    assert json.loads(row[0]["steps"]) == {"code": 1000, "messages": 2, "refusals": 1}
    assert [row["event"] for row in wire.accesses(principal="counted")] == [
        "connect",
        "message",
        "message",
        "disconnect",
    ]


async def test_what_runs_when_its_client_leaves_is_recorded(wire: Wire) -> None:
    async with wire.connect("/ws/wire/open", wire.token("hasty")) as socket:
        await socket.send('{"seconds": 0.3}')
        await wire.eventually(lambda: wire.accesses(principal="hasty", event="connect"))
    rows = await wire.eventually(lambda: wire.accesses(principal="hasty", event="message"))
    assert rows[0]["outcome"] == "allowed"


async def test_definitions_change_under_live_sockets(wire: Wire) -> None:
    source = (
        "machine wire_change\n  responds with\n    value as number\n  implements\n"
        "    compute answer\n      {{value: {value}}}\n  expresses\n    websocket\n"
        '      path: "/ws/wire/change"\n      auth: none\n'
    )
    wire.load(source.format(value=1))
    socket = await wire.eventually_connect("/ws/wire/change")
    assert await ask(socket, {}) == {"value": 1}
    wire.load(source.format(value=2))
    await wire.eventually_answers(socket, {}, {"value": 2})
    wire.project.manage(
        "shell", "-c",
        "from mashin_surfaces.machines.models import Machine\n"
        "from mashin_surfaces.machines.store import set_enabled\n"
        "set_enabled(Machine.objects.get(name='wire_change'), False)",
    )  # fmt: skip
    answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
    assert answer["error"]["code"] == "not_found"
    assert (await closing(socket))[0] == 4404
    with pytest.raises(InvalidStatus):
        async with wire.connect("/ws/wire/change"):
            pass


async def test_a_plain_get_says_why_or_what(wire: Wire) -> None:
    explained = await wire.get("/ws/wire/open")
    assert explained.status_code == 426
    assert explained.json()["surface"]["accepts"]["properties"].keys() == {"anything", "seconds"}
    assert (await wire.get("/ws/wire/echo")).status_code == 401
    assert (await wire.get("/ws/wire/nowhere")).status_code == 404


async def test_the_ledger_holds_together_after_all_this(wire: Wire) -> None:
    assert wire.project.manage("verify_ledger")
