"""Changed definitions reach other processes at once, through the doorbell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.live import LiveProject
from tests.servers import Valkey, valkey
from tests.wire.conftest import HERE, Wire

pytestmark = pytest.mark.slow

SOURCE = """
machine told "Told"
  accepts
    text as text
  responds with
    text as text
  implements
    compute answer
      {{text: {expression}}}
  expresses
    websocket
      path: "/ws/{path}"
      auth: none
"""


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
def patient(tmp_path: Path, redis: Valkey) -> Iterator[Wire]:
    """A server that looks at the database for changes only once in ten minutes."""
    env = {
        "REDIS_URL": redis.url,
        "PYTHONPATH": str(HERE),
        "DJANGO_SETTINGS_MODULE": "patient_settings",
    }
    with LiveProject(tmp_path, env=env, machines=[HERE / "machines"]) as project:
        yield Wire(project)


async def test_another_process_hears_of_a_changed_machine(patient: Wire) -> None:
    patient.load(SOURCE.format(expression="input.text", path="told"))
    socket = await patient.eventually_connect("/ws/told")
    async with socket:
        await patient.eventually_answers(socket, {"text": "a"}, {"text": "a"})
        patient.load(SOURCE.format(expression='"changed"', path="told"))
        await patient.eventually_answers(socket, {"text": "a"}, {"text": "changed"})


async def test_sockets_of_a_surface_that_went_are_told_and_closed(patient: Wire) -> None:
    patient.load(SOURCE.format(expression="input.text", path="told"))
    socket = await patient.eventually_connect("/ws/told")
    async with socket:
        patient.load(SOURCE.format(expression="input.text", path="elsewhere"))
        assert json.loads(await socket.recv())["error"]["code"] == "not_found"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4404
