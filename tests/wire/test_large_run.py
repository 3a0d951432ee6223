"""A run of 10,000 nodes: streamed live and replayed, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.live import LiveProject
from tests.wire.conftest import Wire
from tests.wire.following import following, started

pytestmark = pytest.mark.slow

NODES = 10_000
#: Bytes that a replay may add to the server: one chunk, and what the snapshot of so many nodes
#: takes while it is made.
MOST = 120 * 2**20
MAKE = f"""
from mashin_surfaces.machines.definition import Compute, Field, Gate, Implements
from mashin_surfaces.machines.definition import MachineDefinition, Type
from mashin_surfaces.machines.store import save_machine
gate = Gate(name="begin", question="Begin?")
nodes = [
    Compute(name="n" + str(n), body="{{n: input.amount, text: '{"x" * 40}'}}", after=("begin",))
    for n in range({NODES - 1})
]
amount = Field(name="amount", type=Type(name="number"))
steps = Implements(steps=(gate, *nodes))
save_machine(MachineDefinition(name="large", accepts=(amount,), implements=steps))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    project = LiveProject(tmp_path_factory.mktemp("large"))
    project.prepare()
    project.manage("shell", "-c", MAKE)  # before the server comes: it would hear of it a bit later
    project.start()
    yield Wire(project)
    project.stop()


async def test_a_run_of_ten_thousand_nodes_is_streamed_and_replayed(large: Wire) -> None:
    token = large.token("ada")
    run = await started(large, token, "large")
    async with following(large, run, token) as follower:
        await follower.until("human_gate_waiting")
        await follower.say("human_decision", node_id="begin", decision="approve")
        done = await follower.until("execution_complete")
    assert done["metrics"]["nodes_completed"] == NODES
    told = [entry["offset"] for entry in follower.entries]
    assert told == list(range(told[0], done["offset"] + 1))
    assert "$ref" in done["results"]

    process = large.project.process
    assert process is not None
    served = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    before = sum(each.memory_info().rss for each in served)
    epoch = follower.heard[0]["epoch"]
    async with following(large, run, token, query=f"?since=0&epoch={epoch}") as again:
        await again.until("execution_complete")
    assert sum(each.memory_info().rss for each in served) - before < MOST
    assert [entry["offset"] for entry in again.entries] == list(range(1, done["offset"] + 1))
