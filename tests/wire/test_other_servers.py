"""The same application under plain ``daphne`` and ``uvicorn``: the cases of ``test_websocket.py``
that are promised there too, and the differences that ``docs/carrier.md`` names."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.exceptions import InvalidStatus

from tests.live import LiveProject, ServerKind
from tests.wire import test_api, test_websocket
from tests.wire.conftest import DEADLINE, HERE, Wire
from tests.wire.test_websocket import ask, closing

pytestmark = pytest.mark.slow


#: Collected here once more; they ask this module's ``wire``.
PROMISED = (
    test_api.test_a_machine_that_fails_has_its_status,
    test_api.test_the_output_comes_bare_and_is_recorded,
    test_websocket.test_a_disconnect_is_recorded_with_its_counts,
    test_websocket.test_a_machine_that_fails_is_an_answer,
    test_websocket.test_a_message_is_answered_and_recorded,
    test_websocket.test_a_plain_get_says_why_or_what,
    test_websocket.test_an_idle_socket_is_told_and_closed,
    test_websocket.test_bad_frames_get_a_clear_error,
    test_websocket.test_bytes_that_are_json_are_taken,
    test_websocket.test_credentials_are_taken_from_header_query_and_subprotocol,
    test_websocket.test_every_error_is_told_and_the_socket_stays_open,
    test_websocket.test_what_waits_is_bounded_and_the_surplus_is_busy_in_its_turn,
    test_websocket.test_with_the_envelope_several_run_at_once,
)
globals().update({case.__name__: case for case in PROMISED})


@dataclass(frozen=True)
class Differences:
    """What a plain server can't do that ours can."""

    #: A refused handshake has the status and the body of the application.
    refuses_with_status: bool
    #: A close frame carries the reason.
    sends_reasons: bool
    #: It says 1012 on SIGTERM: the code that its sockets see.
    farewell: int
    #: Words that switch off the log of requests, which holds their query strings.
    options: tuple[str, ...]


SERVERS: dict[ServerKind, Differences] = {
    "daphne": Differences(
        refuses_with_status=False, sends_reasons=False, farewell=1006, options=("-v", "0")
    ),
    "uvicorn": Differences(
        refuses_with_status=True,
        sends_reasons=True,
        farewell=1012,
        options=("--log-level", "warning"),
    ),
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> ServerKind:
    kind: ServerKind = request.param
    return kind


@pytest.fixture(scope="module")
def differences(server: ServerKind) -> Differences:
    return SERVERS[server]


@pytest.fixture(scope="module")
def wire(server: ServerKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """In place of the session's: the cases above ask this one."""
    project = LiveProject(
        tmp_path_factory.mktemp(server),
        env={"MASHIN_MODULES": "wire_effects", "PYTHONPATH": str(HERE)},
        machines=[HERE / "machines"],
        server=server,
        options=SERVERS[server].options,
    )
    with project:
        yield Wire(project)


@pytest.mark.parametrize(
    ("path", "credential", "status", "code"),
    [
        ("/ws/wire/echo", None, 401, "unauthenticated"),
        ("/ws/wire/echo", "not.a.token", 401, "unauthenticated"),
        ("/ws/wire/echo", "@nobody", 403, "forbidden"),
        ("/ws/wire/nowhere", None, 404, "not_found"),
    ],
)
async def test_a_refused_upgrade_says_why_as_well_as_the_server_can(
    wire: Wire,
    differences: Differences,
    path: str,
    credential: str | None,
    status: int,
    code: str,
) -> None:
    if credential == "@nobody":
        credential = wire.token("nobody", "nothing:at-all")
    if differences.refuses_with_status:
        with pytest.raises(InvalidStatus) as refused:
            async with wire.connect(path, credential):
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body or b"")["error"]["code"] == code
        return
    async with wire.connect(path, credential) as socket:
        answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
        assert answer["error"]["code"] == code
        assert (await closing(socket))[0] == 4000 + status


async def test_a_close_says_why_where_the_server_can(wire: Wire, differences: Differences) -> None:
    async with wire.connect("/ws/wire/limits") as socket:
        code, reason = await closing(socket)
    assert code == 4408
    assert bool(reason) is differences.sends_reasons


async def test_health_is_told(wire: Wire) -> None:
    assert (await wire.get("/healthz")).status_code == 200
    end = time.monotonic() + DEADLINE
    while (await wire.get("/readyz")).status_code != 200:  # what is slow counts as failed
        assert time.monotonic() < end


async def test_sigterm_ends_it_and_the_ledger_holds(wire: Wire, differences: Differences) -> None:
    """The last of a server: its sockets end, and what was answered is there."""
    written = len(wire.project.log_text)
    async with wire.connect("/ws/wire/echo", wire.token("last")) as socket:
        assert (await ask(socket, {"text": "bye"}))["length"] == 3
        await asyncio.to_thread(wire.project.stop)
        await asyncio.wait_for(socket.wait_closed(), DEADLINE)
        assert socket.close_code == differences.farewell
    assert wire.accesses(principal="last", event="message")
    assert wire.project.manage("verify_ledger")
    assert "Traceback" not in wire.project.log_text[written:]
