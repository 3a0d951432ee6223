"""The process around the sockets: signals, workers, the command line, what is logged."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from mashin_surfaces.server import supervisor
from mashin_surfaces.server.access import redacted
from tests.server.conftest import PATIENCE, ROOT, Carrier, ending, handshake, masked, running
from tests.server.test_messages import exactly

#: The command by itself, in a project of no other apps.
SERVE = """
import sys, django
django.setup()
from mashin_surfaces.management.commands.serve import Command
Command().run_from_argv(sys.argv)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_every_socket_with_1012_and_the_process_with_0(
    own_carrier: Carrier, number: int
) -> None:
    async with own_carrier.connect("/farewell") as one, own_carrier.connect("/farewell") as two:
        own_carrier.process.send_signal(number)
        for client in (one, two):
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(client.recv(), PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
    assert own_carrier.process.wait(30) == 0
    log = own_carrier.log.read_text()
    assert log.count("farewell websocket.disconnect 1012") == 2
    assert "Traceback" not in log


def test_who_comes_in_while_the_server_ends_is_told_too(own_carrier: Carrier) -> None:
    with ending(own_carrier) as client:
        client.sendall(handshake("/farewell"))
        received = b""
        while b"\x88\x02\x03\xf4" not in received:
            received += exactly(client, 1)
    assert "farewell websocket.disconnect 1012" in own_carrier.log.read_text()


@pytest.mark.slow
async def test_clients_that_answer_nothing_do_not_keep_the_process(own_carrier: Carrier) -> None:
    """One never reads, one is in the middle of its handshake, one has begun a request."""
    deaf = own_carrier.raw("/pour?count=50&size=1000000")
    unanswered = socket.create_connection(("127.0.0.1", own_carrier.port), timeout=PATIENCE)
    unanswered.sendall(handshake("/hesitate"))
    half = socket.create_connection(("127.0.0.1", own_carrier.port), timeout=PATIENCE)
    half.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
    await own_carrier.seen("poured")
    await own_carrier.seen("hesitating")
    log = await asyncio.to_thread(own_carrier.stop)
    assert "Traceback" not in log
    for client in (deaf, unanswered, half):
        client.close()


async def test_tasks_left_behind_end_without_noise(own_carrier: Carrier) -> None:
    async with own_carrier.connect("/stubborn") as client:
        await (await client.ping())
        log = await asyncio.to_thread(own_carrier.stop)
    assert "still forever" in log
    assert "pending" not in log
    assert "Traceback" not in log


async def test_secrets_in_addresses_are_not_logged() -> None:
    with running("-v1") as server:
        address = f"http://127.0.0.1:{server.port}/page?token=hush&x=1&api_key=hush&ticket=hush"
        await asyncio.to_thread(lambda: urlopen(address).read())
        async with server.connect("/echo?ticket=hush"):
            pass
        log = await asyncio.to_thread(server.stop)
    assert "/page?token=…&x=1&api_key=…&ticket=…" in log
    assert "hush" not in log


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("/a", "/a"),
        ("/a?", "/a?"),
        ("/a?b=token", "/a?b=token"),
        ("/a?Token=x&b=1", "/a?Token=…&b=1"),
        ("/a?%74oken=x", "/a?%74oken=…"),
        ("/a?token", "/a?token"),
        ("/a?token=a=b?c", "/a?token=…"),
    ],
)
def test_only_the_values_of_secret_parameters_are_redacted(address: str, line: str) -> None:
    assert redacted(address) == line


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``manage.py serve`` in a process, and what it says first."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.server.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


def test_a_signal_in_the_moment_of_being_ready_ends_cleanly() -> None:
    program = """
import os, signal, socket
from mashin_surfaces.server.server import Server
with socket.create_server(("127.0.0.1", 0)) as listener:
    listener.setblocking(False)
    end = lambda: os.kill(os.getpid(), signal.SIGTERM)
    Server(None, sockets=[listener], ready_callable=end).run()
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=PATIENCE)


def port_in(line: str) -> int:
    found = re.search(r"http://127\.0\.0\.1:(\d+) ", line)
    assert found, line
    return int(found[1])


def answer(port: int) -> int:
    """The process that answers."""
    with urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as response:
        return int(response.read())


def next_worker(process: subprocess.Popen[str]) -> int:
    """The next one that says it is ready; pytest's timeout is the deadline."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"Worker (\d+) is ready", line):
            return int(found[1])
    pytest.fail("the server ended")


def test_serve_says_where_and_ends_cleanly() -> None:
    with serving("--port", "0") as (process, line):
        assert re.fullmatch(
            rf"Serving on http://127\.0\.0\.1:\d+ \(pid {process.pid}, (uvloop|asyncio)\)\n", line
        )
        assert answer(port_in(line)) == process.pid
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert output == ""


def test_serve_says_when_its_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for workers in ("1", "2"):
            with serving("--port", str(port), "--workers", workers) as (process, line):
                assert process.wait(30) == 1
                assert line == (
                    f"CommandError: Port {port} of 127.0.0.1 is in use: stop the server that "
                    "listens there, or choose another port with --port.\n"
                )


@pytest.mark.slow
def test_workers_share_a_port_and_a_dead_one_is_replaced() -> None:
    with serving("--port", "0", "--workers", "2") as (process, line):
        port = port_in(line)
        victim, other = next_worker(process), next_worker(process)
        # The system chooses who answers: for 200 times the same one is as good as impossible.
        assert {answer(port) for _ in range(200)} == {victim, other}

        os.kill(victim, signal.SIGKILL)
        successor = next_worker(process)
        assert {answer(port) for _ in range(200)} == {successor, other}

        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert output == ""
        assert not any(psutil.pid_exists(pid) for pid in (other, successor))


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed() -> None:
    with serving("--port", "0", "--workers", "2") as (process, _):
        worker = psutil.Process(next_worker(process))
        os.kill(process.pid, signal.SIGKILL)
        assert worker.wait(30) is None  # not our child: no code, but it has ended
        assert not worker.is_running()


@pytest.mark.slow
def test_a_handshake_with_serve_may_take_longer_than_autobahns_five_seconds() -> None:
    with serving("--port", "0", "--ping-interval", "1") as (_, line):
        address = ("127.0.0.1", port_in(line))
        with (
            socket.create_connection(address, timeout=PATIENCE) as slow,
            socket.create_connection(address, timeout=PATIENCE) as clock,
            socket.create_connection(address, timeout=PATIENCE) as last,
        ):
            slow.sendall(handshake("/hesitate"))
            clock.sendall(handshake("/echo"))
            pings = clock.makefile("rb")
            while pings.readline() != b"\r\n":
                pass
            for _ in range(4):  # one every two seconds
                ping, length = pings.read(2)
                assert ping == 0x89
                clock.sendall(masked(0x8A, pings.read(length)))
            last.sendall(handshake("/tell/hesitate"))
            assert slow.recv(100).startswith(b"HTTP/1.1 101 ")


def test_a_worker_that_can_not_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.0)
    program = tmp_path / "program"
    program.symlink_to("/bin/sh")
    worker = supervisor.Worker([str(program), "-c", "echo it runs"])
    worker.wait(time.monotonic() + PATIENCE)
    program.unlink()
    worker.tend()
    program.symlink_to("/bin/sh")
    worker.tend()
    worker.wait(time.monotonic() + PATIENCE)
    told, errors = capfd.readouterr()
    assert told == "it runs\n" * 2
    assert "A worker can't be started: " in errors


def test_a_supervisor_that_was_stopped_for_a_while_goes_on() -> None:
    program = """
from mashin_surfaces.server import supervisor
supervisor.FIRST_DELAY = 0.1
supervisor.supervise(["/bin/sh", "-c", "echo $$; read nothing"], 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            time.sleep(0.2)  # a wait of the supervisor's is over
            process.send_signal(signal.SIGCONT)
        os.kill(worker, signal.SIGKILL)
        assert int(process.stdout.readline()) != worker
        process.kill()


def test_serve_help_has_an_example() -> None:
    with serving("--help") as (process, first):
        assert process.stdout is not None
        text = first + process.stdout.read()
        assert process.wait(30) == 0
    assert "manage.py serve --bind 0.0.0.0 --port 80 --workers 4" in text


def test_nothing_of_daphne_or_autobahn_is_changed() -> None:
    program = """
import daphne.server, daphne.ws_protocol, autobahn.websocket.protocol
classes = [
    daphne.server.Server,
    daphne.ws_protocol.WebSocketProtocol,
    daphne.ws_protocol.WebSocketFactory,
    autobahn.websocket.protocol.WebSocketProtocol,
    autobahn.websocket.protocol.WebSocketServerProtocol,
]
def attributes():  # those between underscores are where zope.interface keeps its notes
    return [{n: v for n, v in vars(c).items() if not n.startswith("__")} for c in classes]
before = attributes()
import mashin_surfaces.server.cli
assert attributes() == before
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(("-m", "daphne", "-v0"), id="daphne"),
        pytest.param(("-m", "uvicorn", "--log-level", "warning"), id="uvicorn"),
    ],
)
async def test_ordinary_servers_still_run_the_same_applications(program: tuple[str, ...]) -> None:
    with running(program=program) as server:
        async with server.connect("/echo") as client:
            await client.send("hello")
            assert await asyncio.wait_for(client.recv(), PATIENCE) == "hello"
