"""Gates: one decision counts, for what was shown; what it does, and what happens without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Condition, Event
from typing import Any

import pytest

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.models import Decision, Gate, Run, SurfaceAccess
from mashin_surfaces.runs import announcements, commands
from mashin_surfaces.signals import gate_opened, run_ended
from mashin_surfaces.steps.threads import effect_threads
from tests.runs import run_effects
from tests.runs.conftest import DEADLINE, Runs, caller, refusal

pytestmark = pytest.mark.django_db(transaction=True)

REVIEW = """\
    ask draft, from: "run.note"
      value: state.feedback
    gate review
      title: "Release ${input.n}?"
      question: "Made ${steps.draft.times} times"
    compute end
      {by: steps.review.by, value: steps.draft.value}
"""


async def expire(gate: Gate) -> None:
    """As if its time were over: by the database, so that nobody waits for it."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    await Gate.objects.filter(pk=gate.pk).aupdate(
        expires_at=past, opened_at=past - timedelta(seconds=60)
    )
    await Run.objects.filter(pk=gate.run_id).aupdate(due_at=past)


# -- decided --------------------------------------------------------------------------------------


async def test_at_a_gate_nothing_is_in_memory_and_nobody_holds_the_run(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    gate = await runs.gate(run, "review")
    rested = await runs.at_rest(run)
    assert rested.holder == ""
    assert runs.engine.working_on == 0
    assert rested.due_at == gate.expires_at


async def test_of_a_hundred_who_decide_at_once_one_has_decided(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")

    async def decide(number: int) -> str:
        choice = commands.Choice("approve", node_id="review")
        try:
            await commands.adecide(run, choice, caller(f"p{number}"))
        except Refusal as error:
            return error.subject
        return f"p{number}"

    said = await asyncio.gather(*(decide(number) for number in range(100)))
    (winner,) = [each for each in said if each != "gate_closed"]
    ended = await runs.ended(run)
    assert ended.output is not None
    assert ended.output["by"] == winner
    assert [each.by async for each in Decision.objects.all()] == [winner]
    assert len(await runs.log(run, "gate_decided")) == 1


async def test_the_ledger_names_who_decided(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    await runs.decide(run, "review", feedback="fine")
    row = await SurfaceAccess.objects.aget(event="decide", outcome="allowed")
    assert (row.principal, row.surface, row.machine) == ("ada", f"run:{run.pk}", "graph")


async def test_who_may_not_decide_is_refused_and_recorded(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    choice = commands.Choice("approve", node_id="review")
    for scopes in (("runs:view",), ("runs:decide:other",)):
        refused = await refusal(commands.adecide(run, choice, caller("eve", *scopes)))
        assert refused.code is Code.FORBIDDEN
    assert await SurfaceAccess.objects.filter(principal="eve", code="forbidden").acount() == 2
    await commands.adecide(run, choice, caller("eve", "runs:decide:graph"))


@pytest.mark.parametrize("held", ["runs:decide", "runs:view", "runs:control:other"])
async def test_who_may_not_control_is_refused_and_recorded(runs: Runs, held: str) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    before = await runs.log(await runs.at_rest(run))
    eve = caller("eve", held)
    edge = {"kind": "add_edge", "edges_added": [["draft", "end"]]}
    for command in (
        commands.acontrol(run, "cancel", eve),
        commands.aretry(run, "draft", eve),
        commands.amutate(run, edge, 1, eve),
    ):
        assert (await refusal(command)).code is Code.FORBIDDEN
    assert await SurfaceAccess.objects.filter(principal="eve", event="control").acount() == 3
    assert await runs.log(run) == before
    await commands.acontrol(run, "cancel", caller("bob", "runs:control:gr*"))
    assert (await runs.ended(run)).outcome == "cancelled"


async def test_a_decision_counts_for_what_was_shown(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    gate = await runs.gate(run, "review")
    stale = commands.Choice("approve", node_id="review", digest=gate.digest)
    await runs.decide(run, "review", "modify", feedback="shorter")
    again = await runs.gate(run, "review", revision=2)
    assert again.pk == gate.pk
    for choice in (stale, commands.Choice("approve", node_id="review", revision=1)):
        assert (await refusal(commands.adecide(run, choice, runs.ada))).subject == "gate_changed"
    await runs.decide(run, "review", revision=2)
    assert (await runs.ended(run)).output == {"by": "ada", "value": "shorter"}
    assert run_effects.done["note"] == 2


async def test_the_same_ref_again_changes_nothing(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    for _ in range(3):
        await runs.decide(run, "review", ref="mine")
    await runs.ended(run)
    await runs.decide(run, "review", ref="mine")
    assert await Decision.objects.acount() == 1


async def test_an_option_leads_to_one_of_several_steps(runs: Runs) -> None:
    run = await runs.run(
        '    gate which\n      question: "?"\n'
        '      options: [{id: "left", label: "Left", branch_to: "a"}, '
        '{id: "right", label: "Right", branch_to: "b"}]\n'
        "    compute a, after: which\n      {n: 1}\n"
        "    compute b, after: which\n      {n: 2}\n"
        "    compute more, after: a\n      {n: 3}\n"
        "    compute end, after: a, b\n      {n: 4}\n"
    )
    await runs.gate(run, "which")
    wrong = await refusal(runs.decide(run, "which", option_id="up"))
    assert wrong.code is Code.INVALID_INPUT
    await runs.decide(run, "which", option_id="right")
    await runs.ended(run)
    assert await runs.statuses(run) == {
        "which": "completed", "a": "skipped", "b": "completed", "more": "skipped",
        "end": "completed",
    }  # fmt: skip


async def test_only_what_is_rejected_has_a_scope(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    for choice in ({"scope": "abort"}, {"scope": "phase", "option_id": "approve"}):
        assert (await refusal(runs.decide(run, "review", **choice))).code is Code.INVALID_INPUT
    assert await Decision.objects.acount() == 0


async def test_at_the_gate_of_a_run_that_is_over_nothing_is_decided(runs: Runs) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    await commands.acontrol(run, "cancel", runs.ada)
    await runs.ended(run)
    assert (await refusal(runs.decide(run, "review"))).subject == "gate_closed"


@pytest.mark.parametrize(
    ("scope", "outcome", "end"),
    [("node", "failed", "skipped"), ("abort", "cancelled", "cancelled")],
)
async def test_a_rejection_fails_the_node_or_ends_the_run(
    runs: Runs, scope: Any, outcome: str, end: str
) -> None:
    run = await runs.run(REVIEW)
    await runs.gate(run, "review")
    await runs.decide(run, "review", "reject", scope=scope)
    assert (await runs.ended(run)).outcome == outcome
    statuses = await runs.statuses(run)
    assert (statuses["draft"], statuses["review"]) == ("completed", "failed")
    assert statuses["end"] in {end, "skipped"}


async def test_the_phase_is_done_again_but_for_what_must_not_repeat(runs: Runs) -> None:
    run = await runs.run(
        '    ask send, from: "run.send", after: none\n'
        '    ask draft, from: "run.note", after: none\n'
        '    gate review, after: send, draft\n      question: "?"\n'
    )
    await runs.gate(run, "review")
    await runs.decide(run, "review", "reject", scope="phase", feedback="again")
    await runs.gate(run, "review", revision=2)
    assert run_effects.done == {"send": 1, "note": 2}


# -- effects that need approval -------------------------------------------------------------------

APPROVED = """\
    compute who
      {name: "bob"}
    ask send, from: "run.send"
      name: steps.who.name
"""
ENSURES = "      requires approval for\n        run.send\n"


async def test_an_effect_that_needs_approval_does_nothing_before(runs: Runs) -> None:
    run = await runs.run(APPROVED, ensures=ENSURES)
    gate = await runs.gate(run, "send")
    assert (gate.kind, gate.shown["output"]["inputs"]) == ("approval", {"name": "bob"})
    assert not run_effects.done
    await runs.decide(run, "send")
    await runs.ended(run)
    assert run_effects.done == {"bob": 1}


async def test_what_is_not_approved_is_not_done(runs: Runs) -> None:
    run = await runs.run(APPROVED, ensures=ENSURES)
    await runs.gate(run, "send")
    await runs.decide(run, "send", "reject")
    assert (await runs.ended(run)).outcome == "failed"
    assert (await runs.error_of(run, "send"))["code"] == "approval_denied"
    assert not run_effects.done


async def test_what_was_changed_since_is_approved_anew(runs: Runs) -> None:
    made_anew = APPROVED.replace('{name: "bob"}', '{name: state.feedback ?? "bob"}')
    run = await runs.run(made_anew, ensures=ENSURES)
    first = await runs.gate(run, "send")
    await runs.decide(run, "send", "modify", feedback="eve")
    second = await runs.gate(run, "send", revision=2)
    assert second.shown["output"]["inputs"] == {"name": "eve"}
    stale = commands.Choice("approve", node_id="send", digest=first.digest)
    assert (await refusal(commands.adecide(run, stale, runs.ada))).subject == "gate_changed"
    assert not run_effects.done
    await runs.decide(run, "send", digest=second.digest)
    await runs.ended(run)
    assert run_effects.done == {"eve": 1}


# -- in time --------------------------------------------------------------------------------------


def gated(gate_class: str) -> str:
    return f'    gate review\n      question: "?"\n      class: "{gate_class}"\n'


async def test_an_irreversible_gate_fails_when_nobody_decides(runs: Runs) -> None:
    run = await runs.run(gated("irreversible"))
    await expire(await runs.gate(run, "review"))
    assert (await runs.ended(run)).outcome == "failed"
    assert (await runs.error_of(run, "review"))["code"] == "timeout"


async def test_a_calibration_goes_on_with_the_recommendation(runs: Runs) -> None:
    run = await runs.run(gated("calibration"))
    await expire(await runs.gate(run, "review"))
    assert (await runs.ended(run)).outcome == "completed"
    (told,) = await runs.log(run, "gate_decided")
    assert told["timed_out"]


class Told:
    """What the signals told, on whatever thread."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._came = Condition()

    def opened(self, sender: Any, gate: Gate, is_escalated: bool, **_: Any) -> None:
        self._add((gate.node, is_escalated))

    def ended(self, sender: Any, run: Run, **_: Any) -> None:
        self._add(("ended", run.outcome))

    def _add(self, said: tuple[str, Any]) -> None:
        with self._came:
            self.heard.append(said)
            self._came.notify_all()

    def has(self, number: int) -> bool:
        """Whether so much is told before the deadline."""
        with self._came:
            return self._came.wait_for(lambda: len(self.heard) >= number, DEADLINE)


@pytest.fixture
def told() -> Iterator[Told]:
    heard = Told()
    gate_opened.connect(heard.opened)
    run_ended.connect(heard.ended)
    yield heard
    gate_opened.disconnect(heard.opened)
    run_ended.disconnect(heard.ended)


async def test_a_quality_gate_is_escalated_and_fails_at_twice_the_time(
    runs: Runs, told: Told
) -> None:
    run = await runs.run(gated("quality"))
    await expire(await runs.gate(run, "review"))
    escalated = await runs.until(run, _was_escalated)
    gate = await Gate.objects.aget(run=run)
    assert (gate.status, gate.is_escalated) == ("open", True)
    await expire(gate)
    await runs.ended(escalated)
    assert await asyncio.to_thread(told.has, 3)
    assert told.heard == [("review", False), ("review", True), ("ended", "failed")]


@pytest.mark.parametrize("is_too_much", [False, True])
async def test_what_is_told_of_a_run_comes_in_its_order_however_long_somebody_listens(
    runs: Runs,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_too_much: bool,
) -> None:
    go_on = Event()

    def listen(sender: Any, **_: Any) -> None:
        assert go_on.wait(DEADLINE)

    if is_too_much:
        monkeypatch.setattr(announcements, "MOST_WAITING", 0)
    gate_opened.disconnect(told.opened)
    gate_opened.connect(listen)
    gate_opened.connect(told.opened)
    try:
        run = await runs.run(gated("quality"))
        await runs.gate(run, "review")
        await runs.decide(run, "review")
        await runs.ended(run)
        await runs.engine.rest_of(run.pk)
        await asyncio.wrap_future(effect_threads.submit(lambda: None))  # what waited has begun
        go_on.set()
        assert await asyncio.to_thread(told.has, 1 if is_too_much else 2)
    finally:
        go_on.set()
        gate_opened.disconnect(listen)
    effect_threads.close()  # returns when all is sent
    assert told.heard == [("review", False), ("ended", "completed")][: 1 if is_too_much else 2]
    assert ("are too slow" in caplog.text) == is_too_much


def _was_escalated(run: Run) -> bool:
    return run.due_at is not None and run.due_at > datetime.now(UTC) and run.version > 1
