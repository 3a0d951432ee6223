"""Whatever is sent: one answer or a documented close; the process lives, and logs no traceback."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from mashin_surfaces.exceptions import Code
from tests.chaos.clients import DEADLINE, until, websocket
from tests.live import HOST, LiveProject
from tests.server.conftest import handshake, masked

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

#: Of a machine that does nothing but give back; it takes anything, without credentials.
PATH = "/ws/wire/open"
#: What a frame may be refused with here: never a failure of the machine or of ours.
REFUSALS = {
    Code.INVALID_JSON,
    Code.INVALID_INPUT,
    Code.UNKNOWN_MESSAGE,
    Code.TOO_LARGE,
    Code.UNAUTHENTICATED,
}
#: Close codes for a client that breaks the protocol (RFC 6455, 7.4.1), and its own.
CLOSES = {1000, 1001, 1002, 1003, 1007, 1009, *range(3000, 5000)}
EXAMPLES = settings(max_examples=60, derandomize=True)


@pytest.fixture(autouse=True)
def unharmed(project: LiveProject) -> Iterator[None]:
    """The process that was there before is there afterwards, and has nothing to complain of."""
    process, begin = project.process, len(project.log_text)
    yield
    assert process is not None
    assert process is project.process
    assert process.poll() is None
    written = project.log_text[begin:]
    assert "Traceback" not in written, written


# -- frames -----------------------------------------------------------------------------------

#: Numbers are left out where the machine would sleep for so many seconds.
_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_value = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
_word = st.sampled_from(
    [
        "anything",
        "type",
        "token",
        "subscribe",
        "unsubscribe",
        "input",
        "id",
        "error",
        "authenticate",
    ]
)
_object = st.fixed_dictionaries({}, optional={"seconds": st.text() | st.booleans()}).flatmap(
    lambda fixed: st.dictionaries(_word, _word | _value, max_size=5).map(lambda more: more | fixed)
)
_plain = _value | _object
_envelope = st.fixed_dictionaries({"id": st.integers() | st.text(), "input": _plain})
_json = (_plain | _envelope).map(json.dumps)
_damaged = st.tuples(_json, st.integers(min_value=0), st.text(max_size=3)).map(
    lambda parts: (
        parts[0][: parts[1] % (len(parts[0]) + 1)]
        + parts[2]
        + parts[0][parts[1] % (len(parts[0]) + 1) :]
    )
)
_frame = (
    st.text()
    | st.binary()
    | _json
    | _damaged
    | _json.map(str.encode)
    | st.integers(1, 200).map(lambda depth: '{"anything":' + "[" * depth + "]" * depth + "}")
    | st.sampled_from([250_000, 300_000, 900_000]).map(
        lambda size: json.dumps({"anything": "x" * size})
    )
)


async def check_answers(project: LiveProject, frames: list[str | bytes], envelope: bool) -> None:
    """Each frame has one answer; a frame with wrong credentials has one, and ends it."""
    async with websocket(project, PATH, envelope=envelope) as socket:
        for frame in frames:
            await socket.send(frame)
            answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
            assert isinstance(answer, dict)
            if envelope:
                assert "id" in answer
                assert ("result" in answer) is not ("error" in answer)
            if "error" not in answer:
                continue
            error = answer["error"]
            assert error["code"] in REFUSALS, (frame, error)
            assert error["message"]
            assert error["request_id"]
            if error["code"] == Code.UNAUTHENTICATED:
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(socket.recv(), DEADLINE)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401
                return
        # What comes next is the answer to the last question: none had two.
        await socket.send(
            '{"id": "last", "input": {"anything": "last"}}' if envelope else '{"anything": "last"}'
        )
        answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
        assert answer.get("result", answer) == {"anything": "last"}


@EXAMPLES
@given(frames=st.lists(_frame, min_size=1, max_size=5))
@example(frames=['{"type": "authenticate", "token": "no.token.atall"}'])
@example(frames=['{"type": "authenticate", "token": 5}', '{"id": 1e400}', "\x00", b"\x00"])
async def test_every_bare_frame_has_one_answer(
    project: LiveProject, frames: list[str | bytes]
) -> None:
    await check_answers(project, frames, envelope=False)


@EXAMPLES
@given(frames=st.lists(_frame, min_size=1, max_size=5))
@example(frames=['{"id": 18446744073709551616, "input": {}}', '{"id": true, "input": {}}'])
@example(frames=['{"id": "' + "x" * 129 + '", "input": {}}', '{"id": 1, "input": {"input": {}}}'])
async def test_every_enveloped_frame_has_one_answer(
    project: LiveProject, frames: list[str | bytes]
) -> None:
    await check_answers(project, frames, envelope=True)


# -- bytes ------------------------------------------------------------------------------------


async def said(project: LiveProject, sent: bytes, *, upgraded: bool) -> bytes:
    """All that the server says to these bytes (``upgraded``: after a handshake).

    Another socket is answered before and after them: by then the server has read them, and their
    end comes behind that, so that it does not cut off what the server has to say.
    """
    reader, writer = await asyncio.open_connection(HOST, project.port)
    try:
        async with websocket(project, PATH) as bystander:
            assert await answered(bystander, "before")
            if upgraded:
                writer.write(handshake(PATH))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(sent)
            assert await answered(bystander, "after")
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), DEADLINE)
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def answered(socket: ClientConnection, text: str) -> bool:
    await socket.send(json.dumps({"anything": text}))
    return bool(json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)) == {"anything": text})


def frames_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of each whole, unmasked frame of a server."""
    while data:
        first, length, start = data[0], data[1], 2
        assert first & 0x70 == 0
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= start + length
        yield first & 0x0F, data[start : start + length]
        data = data[start + length :]


_header = st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=30)).map(
    lambda parts: bytes(parts[:2]) + parts[2]
)
_whole = st.tuples(st.integers(0, 255), st.binary(max_size=140)).map(lambda parts: masked(*parts))


@EXAMPLES
@given(sent=st.lists(st.binary(max_size=60) | _header | _whole, min_size=1, max_size=4))
async def test_bytes_that_are_no_frames_end_their_own_socket_alone(
    project: LiveProject, sent: list[bytes]
) -> None:
    heard = await said(project, b"".join(sent), upgraded=True)
    for opcode, payload in frames_of(heard):
        assert opcode in {0x1, 0x8, 0x9, 0xA}
        if opcode == 0x1:
            assert isinstance(json.loads(payload), dict)
        if opcode == 0x8 and payload:
            assert int.from_bytes(payload[:2], "big") in CLOSES
            payload[2:].decode()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(0x81, b"\xff"), 1007),
        (b"\x81\x02{}", 1002),  # not masked
        (masked(0x83, b"?"), 1002),  # no such opcode
        (masked(0xC1, b"{}"), 1002),  # no extension was agreed on
        (b"\x81\xff" + (2**40).to_bytes(8, "big") + b"mask", 1009),
        (masked(0x88, b"\x03"), 1002),  # half a close code
        (masked(0x88, b"\x03\xe8"), 1000),
    ],
)
async def test_what_breaks_the_protocol_is_closed_with_its_code(
    project: LiveProject, sent: bytes, code: int
) -> None:
    ((opcode, payload),) = frames_of(await said(project, sent, upgraded=True))
    assert (opcode, int.from_bytes(payload[:2], "big")) == (0x8, code)


_line = st.sampled_from(
    [
        b"GET /ws/wire/open HTTP/1.1",
        b"POST /api/wire/open HTTP/1.1",
        b"GET /api/wire/limits?n=\xff HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 12",
        b"Content-Length: 7",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"",
    ]
)


@EXAMPLES
@given(lines=st.lists(_line | st.binary(max_size=30), min_size=1, max_size=8))
async def test_bytes_that_are_no_request_end_their_own_connection_alone(
    project: LiveProject, lines: list[bytes]
) -> None:
    heard = await said(project, b"\r\n".join([*lines, b"", b""]), upgraded=False)
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", heard)
    assert not heard or status is not None
    assert status is None or int(status[1]) < 500


@EXAMPLES
@given(body=st.binary() | _json.map(str.encode) | _damaged.map(str.encode))
def test_every_body_has_an_answer(project: LiveProject, body: bytes) -> None:
    answer = httpx.post(
        project.url("/api/wire/open"),
        content=body,
        headers={"Content-Type": "application/json"},
        trust_env=False,
        timeout=DEADLINE,
    )
    assert answer.status_code in {200, 400, 422}
    told: dict[str, Any] = answer.json()
    assert (answer.status_code == 200) is ("error" not in told)


# -- definitions --------------------------------------------------------------------------------

MACHINE = """\
machine {name}
  accepts
    n as integer
  responds with
    n as integer
  implements
    compute same
      {{n: input.n}}
  expresses
    websocket
      path: "{path}"
      auth: none
"""


def test_two_machines_on_one_path_are_refused(project: LiveProject, tmp_path: Path) -> None:
    for name in ("first_one", "second_one"):
        tmp_path.joinpath(f"{name}.mashin").write_text(MACHINE.format(name=name, path="/ws/both"))
    done = project.command("load_machines", str(tmp_path))
    assert done.returncode == 1
    assert re.search(r"second_one\.mashin:\d+:\d+: .*first_one.*/ws/both", done.stderr)
    assert "Nothing was loaded." in done.stderr
    assert httpx.get(project.url("/ws/both"), trust_env=False, timeout=DEADLINE).status_code == 404
    # One that is loaded already keeps its path, too.
    file = tmp_path / "first_one.mashin"
    file.write_text(MACHINE.format(name="first_one", path=PATH))
    done = project.command("load_machines", str(file))
    assert done.returncode == 1
    assert "wire_open" in done.stderr


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/healthz"])
def test_a_path_that_the_project_serves_is_refused(
    project: LiveProject, tmp_path: Path, path: str
) -> None:
    file = tmp_path / "thief.mashin"
    source = MACHINE.format(name="thief", path=path).replace("websocket", "api")
    file.write_text(source)
    done = project.command("load_machines", str(file))
    assert done.returncode == 1
    assert path in done.stderr
    assert httpx.get(project.url(path), trust_env=False, timeout=DEADLINE).status_code in {200, 302}


def test_a_file_with_20_errors_tells_all_and_loads_nothing(
    project: LiveProject, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.mashin", tmp_path / "bad.mashin"
    good.write_text(MACHINE.format(name="good", path="/ws/good"))
    wrong = "".join(f"    field_{number} as colour\n" for number in range(20))
    bad.write_text(
        MACHINE.format(name="bad", path="/ws/bad").replace("    n as integer\n", wrong, 1)
    )
    done = project.command("load_machines", str(tmp_path))
    assert done.returncode == 1
    told = re.findall(r"bad\.mashin:(\d+):\d+: .", done.stderr)
    assert sorted(map(int, told)) == list(range(3, 23))
    for path in ("/ws/good", "/ws/bad"):
        assert httpx.get(project.url(path), trust_env=False, timeout=DEADLINE).status_code == 404


async def test_a_disabled_machine_is_gone(project: LiveProject, tmp_path: Path) -> None:
    file = tmp_path / "sleeper.mashin"
    file.write_text(MACHINE.format(name="sleeper", path="/ws/sleeper"))
    assert project.command("load_machines", str(file)).returncode == 0

    def status() -> int:
        return httpx.get(project.url("/ws/sleeper"), trust_env=False, timeout=DEADLINE).status_code

    await until(lambda: status() == 426, "the machine is served")
    async with websocket(project, "/ws/sleeper") as socket:
        project.manage(
            "shell", "-v", "0", "-c",
            "from mashin_surfaces.machines.models import Machine\n"
            "from mashin_surfaces.machines.store import set_enabled\n"
            "set_enabled(Machine.objects.get(name='sleeper'), False)",
        )  # fmt: skip
        answer = json.loads(await asyncio.wait_for(socket.recv(), DEADLINE))
        assert answer["error"]["code"] == Code.NOT_FOUND
        await asyncio.wait_for(socket.wait_closed(), DEADLINE)
        assert socket.close_code == 4404
    assert status() == 404
