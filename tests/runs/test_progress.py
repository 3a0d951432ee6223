"""Looks at a run in memory, without a database: what can begin does, whatever else there is."""

from __future__ import annotations

from decimal import Decimal

from mashin_surfaces.governance.door import GovernedMachine
from mashin_surfaces.machines.parser import parse
from mashin_surfaces.machines.registry import CompiledMachine
from mashin_surfaces.runs.change import Change
from mashin_surfaces.runs.execution import Outcome
from mashin_surfaces.runs.progress import MOST_EVENTS, Progress
from mashin_surfaces.runs.store import Creation, NewRun
from mashin_surfaces.steps.spending import Charge

COST = [Charge(Decimal("0.01"))]
STEP = """
    ask ask_{number}, from: "mail.send", after: none
      number: {number}
"""


def machine(steps: int) -> GovernedMachine:
    """So many steps that need nothing of each other."""
    source = "machine wide\n  ensures\n    allowed to mail.send\n  implements" + "".join(
        STEP.format(number=number) for number in range(steps)
    )
    return GovernedMachine(CompiledMachine.of(parse(source).definition, revision=1))


def test_a_node_that_waits_for_a_place_begins_although_so_much_ended_at_once() -> None:
    """The look that takes all of it in has no time left to begin anything: it is not the last."""
    at_once = MOST_EVENTS
    creation = Creation(NewRun(machine(at_once + 1), {}, "ada", max_parallel=at_once))
    state = creation.state
    progress = Progress(state, creation.change)
    progress.go_on(())
    while not progress.is_resting:
        ended = [] if progress.has_more else state.executing()
        outcomes = [Outcome(node.name, node.attempt, output={}, charges=COST) for node in ended]
        progress = Progress(state, Change(state))
        progress.go_on(outcomes)
    assert progress.is_over
