"""What a person has run again: a failed node, or what a gate does not let pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mashin_surfaces.exceptions import Code
from mashin_surfaces.models import Run
from mashin_surfaces.runs import commands
from tests.runs import run_effects
from tests.runs.conftest import Runs, refusal

pytestmark = pytest.mark.django_db(transaction=True)

FAILS_ONCE = """\
    ask broken, from: "run.fail", after: none
      times: 1
"""


async def test_a_run_that_failed_is_not_resumed(runs: Runs) -> None:
    run = await runs.ended(await runs.run(FAILS_ONCE))
    refused = await refusal(commands.acontrol(run, "resume", runs.ada))
    assert (refused.code, refused.subject) == (Code.CONFLICT, "run_state")
    assert (await runs.ended(run)).status == "failed"


async def test_a_node_can_be_run_again_when_the_time_of_the_run_is_over(runs: Runs) -> None:
    run = await runs.ended(await runs.run(FAILS_ONCE, ensures='    limits\n      timeout: "1m"\n'))
    await Run.objects.filter(pk=run.pk).aupdate(deadline_at=datetime.now(UTC) - timedelta(hours=1))
    await commands.aretry(run, "broken", runs.ada)
    ended = await runs.until(run, lambda found: found.ended_at not in {None, run.ended_at})
    assert (ended.outcome, ended.deadline_at) == ("completed", None)


async def test_with_a_failed_node_goes_on_what_was_cancelled_when_the_run_failed(
    runs: Runs,
) -> None:
    run = await runs.run(
        FAILS_ONCE + '    ask slow, from: "run.wait", after: none\n      name: "slow"\n',
        ensures='    limits\n      timeout: "1m"\n',
    )
    await runs.node(run, "broken", "failed")
    await runs.node(run, "slow", "running")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await Run.objects.filter(pk=run.pk).aupdate(deadline_at=past)
    await commands.acontrol(run, "pause", runs.ada)  # whoever works on it looks again
    ended = await runs.ended(run)
    assert ended.outcome == "timeout"
    run_effects.gate("slow").set()
    await commands.aretry(ended, "broken", runs.ada)
    await runs.until(run, lambda found: found.outcome == "completed")
    assert await runs.statuses(run) == {"broken": "completed", "slow": "completed"}


async def test_who_waits_for_a_place_waits_for_what_is_made_anew(runs: Runs) -> None:
    run = await runs.run(
        '    ask draft, from: "run.note", after: none\n      value: state.feedback\n'
        '    ask slow, from: "run.wait", after: none\n      name: "slow"\n'
        '    gate review, after: draft\n      question: "?"\n'
        '    ask use, from: "run.note", after: draft\n      name: "use"\n'
        "      value: steps.draft.value\n",
        max_parallel=1,
    )
    await runs.gate(run, "review")
    await runs.node(run, "use", "scheduled")
    await runs.decide(run, "review", "modify", feedback="shorter")
    await runs.node(run, "draft", "scheduled")
    run_effects.gate("slow").set()
    await runs.gate(run, "review", revision=2)
    used = await runs.node(run, "use", "completed")
    assert used.output is not None
    assert used.output["value"] == "shorter"


async def test_another_gate_behind_it_shows_what_was_made_anew(runs: Runs) -> None:
    run = await runs.run(
        '    ask draft, from: "run.note", after: none\n      value: state.feedback\n'
        '    gate lawyer, after: draft\n      question: "?"\n'
        '    gate editor, after: draft\n      question: "?"\n'
    )
    stale = await runs.gate(run, "lawyer")
    await runs.gate(run, "editor")
    await runs.decide(run, "editor", "modify", feedback="shorter")
    again = await runs.gate(run, "lawyer", revision=2)
    assert again.shown["output"]["value"] == "shorter"
    refused = await refusal(runs.decide(run, "lawyer", digest=stale.digest))
    assert refused.subject == "gate_changed"


APPROVED = """\
    compute who
      {name: "bob"}
    ask send, from: "run.send"
      name: UUID.generate()
"""


async def test_what_is_done_is_what_was_approved_also_when_chance_had_a_part_in_it(
    runs: Runs,
) -> None:
    run = await runs.run(APPROVED, ensures="      requires approval for\n        run.send\n")
    gate = await runs.gate(run, "send")
    await runs.decide(run, "send")
    ended = await runs.ended(run)
    assert ended.outcome == "completed"
    assert run_effects.done == {gate.shown["output"]["inputs"]["name"]: 1}
