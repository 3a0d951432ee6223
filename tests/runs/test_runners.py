"""What a run does, whoever executes its nodes: the same tests with the server's own processes and
with Celery's workers, two of each, some of which are killed.

What is special to Celery is in ``test_celery.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from tests.runs.site import Runner, Site, site, statuses
from tests.servers import postgres
from tests.wire.conftest import Wire
from tests.wire.following import following

pytestmark = pytest.mark.slow

#: Characters of the output that is more than is told.
SIZE = 20_000


@pytest.fixture(scope="module", params=get_args(Runner))
def manned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """On SQLite where nothing else is needed, else on PostgreSQL."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "process":
        with site(folder, "process", f"sqlite:///{folder / 'db.sqlite3'}") as made:
            yield _with_two(made)
        return
    with postgres() as cluster, site(folder, "celery", cluster.create_database("runs")) as made:
        made.add_worker()
        made.add_worker()
        yield _with_two(made)


def _with_two(made: Site) -> Site:
    made.add_server()
    made.add_server()
    return made


@pytest.fixture
def works(manned: Site) -> Iterator[Site]:
    """With nothing to do afterwards, also when a test has failed."""
    yield manned
    manned.cancel_all()


# -- order ----------------------------------------------------------------------------------------


def test_nodes_begin_when_what_they_need_is_done_and_no_more_at_once_than_may(works: Site) -> None:
    run, book = works.start("crowd")
    works.awaited(lambda: len(book.begun()) == 3)
    first, *two = book.begun()
    assert first == "first"
    (third,) = {"a", "b", "c"} - set(two)
    seen = works.until(run, lambda seen: statuses(seen)[third] == "scheduled")
    assert statuses(seen) == {
        "first": "completed", **dict.fromkeys(two, "running"), third: "scheduled",
        "last": "pending",
    }  # fmt: skip
    book.let(two[0])
    works.awaited(lambda: third in book.begun())
    assert two[1] not in book.ended()
    book.let(two[1], third)
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert ended["nodes"]["last"]["output"]["value"] == ["a", "b", "c"]
    assert sorted(book.begun()) == sorted(book.ended()) == ["a", "b", "c", "first", "last"]
    assert book.ended()[-1] == "last"
    assert {line.process for line in book.lines("begins")} <= works.executors()


def test_what_fails_is_tried_again_and_what_is_optional_or_not_wanted_holds_up_nobody(
    works: Site,
) -> None:
    run, book = works.start("tries")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert statuses(ended) == {
        "slips": "completed", "maybe": "failed", "behind_maybe": "completed", "never": "skipped",
        "behind_never": "completed",
    }  # fmt: skip
    assert ended["nodes"]["slips"]["metrics"]["retries"] == 2
    assert ended["nodes"]["never"]["reason"] == "condition_not_met"
    assert sorted(book.begun()) == ["behind_maybe", "behind_never", "maybe", *["slips"] * 3]


def test_the_last_failure_skips_what_needs_the_node_and_nothing_else(works: Site) -> None:
    run, book = works.start("breaks")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "failed"
    assert statuses(ended) == {"broken": "failed", "needy": "skipped", "other": "completed"}
    assert ended["nodes"]["needy"]["reason"] == "dependency_failed"
    assert sorted(book.begun()) == ["broken", "broken", "other"]


# -- gates and waits ------------------------------------------------------------------------------


def test_at_a_gate_the_run_waits_and_goes_on_with_what_was_decided(works: Site) -> None:
    run, book = works.start("review")
    works.gate(run, "read")
    assert book.begun() == ["draft"]
    works.decide(run, "read", feedback="Well done.")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    given = ended["nodes"]["read"]["output"]
    assert (given["by"], given["feedback"]) == ("ada", "Well done.")
    late = works.request(
        "POST", f"/api/dags/{run}/decisions", {"node_id": "read", "decision": "reject"}
    )
    assert (late.status_code, late.json()["error"]["code"]) == (409, "gate_closed")


def test_what_was_shown_is_made_anew_with_the_feedback_and_shown_again(works: Site) -> None:
    run, book = works.start("review")
    works.gate(run, "read")
    works.decide(run, "read", "modify", feedback="Shorter.")
    shown = works.gate(run, "read", revision=2)
    assert shown["output"]["value"] == "Shorter."
    works.decide(run, "read", revision=2)
    ended = works.ended(run)
    assert ended["nodes"]["publish"]["output"]["value"] == "Shorter."
    assert book.begun() == ["draft", "draft", "publish"]


@pytest.mark.parametrize(
    ("scope", "outcome", "publish"),
    [("node", "failed", "skipped"), ("abort", "cancelled", "cancelled")],
)
def test_what_is_rejected_is_not_done(works: Site, scope: str, outcome: str, publish: str) -> None:
    run, book = works.start("review")
    works.gate(run, "read")
    works.decide(run, "read", "reject", scope=scope)
    ended = works.ended(run)
    assert ended["run"]["outcome"] == outcome
    assert statuses(ended) == {"draft": "completed", "read": "failed", "publish": publish}
    assert book.begun() == ["draft"]


def test_a_gate_for_which_nobody_comes_in_time_ends_as_its_class_says(works: Site) -> None:
    run, book = works.start("hurried")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "failed"
    assert statuses(ended) == {
        "easy": "completed", "strict": "failed", "behind_easy": "completed",
        "behind_strict": "skipped",
    }  # fmt: skip
    assert ended["nodes"]["strict"]["error"]["code"] == "timeout"
    assert book.begun() == ["behind_easy"]


def test_an_effect_that_needs_approval_is_not_asked_before(works: Site) -> None:
    run, book = works.start("letter")
    works.gate(run, "mail")
    assert book.begun() == []
    works.decide(run, "mail")
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert book.begun() == ["mail"]


def test_a_run_waits_for_an_event_and_goes_on_with_what_came(works: Site) -> None:
    run, book = works.start("embargo")
    works.until(run, lambda found: statuses(found)["lifted"] == "paused")
    given = {"event": "embargo.lifted", "value": {"by": 7}}
    assert works.request("POST", f"/api/dags/{run}/signals", given).status_code == 422
    assert book.begun() == []
    works.http("POST", f"/api/dags/{run}/signals", {**given, "value": {"by": "press"}})
    assert works.ended(run)["nodes"]["publish"]["output"]["value"] == "press"


# -- runs that launch runs ------------------------------------------------------------------------


def test_who_launches_many_goes_on_when_all_have_ended(works: Site) -> None:
    run, book = works.start("parent")
    works.awaited(lambda: len(book.begun()) >= 2)  # as many as there are workers
    book.let("child0", "child1", "child2")
    works.decide(run, "stop")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert ended["nodes"]["names"]["output"] == {"names": ["child1", "child2"]}
    alone = works.ended(ended["nodes"]["alone"]["output"]["run_id"])
    assert alone["nodes"]["work"]["output"] == {"name": "child0"}
    assert sorted(book.begun()) == ["child0", "child1", "child2"]


def test_with_a_run_are_cancelled_those_that_it_waits_for_and_no_others(works: Site) -> None:
    run, book = works.start("parent")
    works.awaited(lambda: len(book.begun()) >= 2)  # as many as there are workers
    works.control(run, "cancel")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "cancelled"
    book.let("child0")
    children = works.http("GET", "/api/dags?machine=child&limit=3")["runs"]
    outcomes = {child["id"]: works.ended(child["id"])["run"]["outcome"] for child in children}
    assert outcomes.pop(ended["nodes"]["alone"]["output"]["run_id"]) == "completed"
    assert list(outcomes.values()) == ["cancelled", "cancelled"]
    assert book.ended() == ["child0"]


# -- changed and controlled -----------------------------------------------------------------------


def test_a_graph_is_changed_while_it_runs(works: Site) -> None:
    run, book = works.start("crowd")
    works.awaited(lambda: len(book.begun()) == 3)
    _, *begun = book.begun()
    (waiting,) = {"a", "b", "c"} - set(begun)
    extra = {"kind": "compute", "name": "extra", "body": "{n: 3}"}
    last = {"kind": "compute", "name": "last", "body": "{n: steps.extra.n + 1}"}
    change = {
        "mutation": {
            "kind": "replace_node",
            "nodes_added": [{"id": "extra", "step": extra, "needs": ["first"]}],
            "nodes_removed": [waiting],
            "nodes_changed": [{"id": "last", "needs": [*begun, "extra"], "step": last}],
        },
        "topology_version": 1,
    }
    path = f"/api/dags/{run}/mutations"
    refused = works.request("POST", path, {**change, "topology_version": 7})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "stale_topology")
    works.http("POST", path, change)
    book.let("a", "b", "c")
    ended = works.ended(run)
    assert ended["topology_version"] == 2
    assert ended["nodes"]["last"]["output"] == {"n": 4}
    assert waiting not in book.begun()


def test_a_pause_lets_end_what_runs_and_begins_nothing(works: Site) -> None:
    run, book = works.start("crowd")
    works.awaited(lambda: len(book.begun()) == 3)
    works.until(run, lambda seen: "scheduled" in statuses(seen).values())
    works.control(run, "pause")
    works.until_it_is(run, "pausing")
    book.let("a", "b", "c")
    paused = works.until_it_is(run, "paused")
    assert sorted(statuses(paused).values()) == [*["completed"] * 3, "pending", "scheduled"]
    assert len(book.begun()) == 3
    works.control(run, "resume")
    assert works.ended(run)["run"]["outcome"] == "completed"
    assert sorted(book.ended()) == ["a", "b", "c", "first", "last"]


def test_a_cancelled_run_ends_what_is_executed(works: Site) -> None:
    run, book = works.start("crowd")
    works.awaited(lambda: len(book.begun()) == 3)
    works.control(run, "cancel")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "cancelled"
    assert sorted(statuses(ended).values()) == [*["cancelled"] * 4, "completed"]
    book.let("a", "b", "c")
    later, other = works.start("review")  # whoever was at it has time for something else
    works.gate(later, "read")
    assert other.begun() == ["draft"]
    assert book.ended() == ["first"]


# -- costs and outputs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "outcome", "spent"),
    [("approve", "completed", 1.2), ("reject", "budget_exceeded", 0.8)],
)
def test_when_the_budget_is_spent_somebody_is_asked(
    works: Site, decision: str, outcome: str, spent: float
) -> None:
    run, book = works.start("shopping")
    shown = works.gate(run, "three")
    assert "0.8" in shown["context"]
    assert book.begun() == ["one", "two"]
    works.decide(run, "three", decision)
    ended = works.ended(run)
    assert (ended["run"]["outcome"], ended["cost"]["spent"]) == (outcome, spent)
    log = works.log(run)
    told = [entry for entry in log if entry["type"] == "cost_update" and "node_id" in entry]
    assert [entry["spent"] for entry in told] == [0.4, 0.8, 1.2][: len(told)]
    assert len(told) == len(book.begun())
    assert [entry["spent"] for entry in log if entry["type"] == "budget_warning"] == [0.8]


def test_a_big_output_is_told_by_reference_and_handed_over_whole(works: Site) -> None:
    run, _ = works.start("large")
    ended = works.ended(run)
    told = ended["nodes"]["text"]["output"]
    assert told["size"] == len('{"text":""}') + SIZE
    assert works.http("GET", told["$ref"]) == {"text": "x" * SIZE}
    assert ended["nodes"]["size"]["output"] == {"size": SIZE}


# -- told -----------------------------------------------------------------------------------------


async def test_every_server_tells_the_log_in_order_and_again_from_its_beginning(
    works: Site,
) -> None:
    run, book = works.start("frail")
    wires = [Wire(server) for server in works.servers]
    async with (
        following(wires[0], run, works.token) as here,
        following(wires[1], run, works.token) as there,
    ):
        for follower in (here, there):
            await follower.hear()
        book.let("again", "once")
        done = await here.until("execution_complete")
        assert await there.until("execution_complete") == done
    whole = works.log(run)
    offsets = [entry["offset"] for entry in whole]
    assert offsets == list(range(1, done["offset"] + 1))
    for follower in (here, there):
        begin = follower.heard[0]["offset"]
        assert follower.entries == whole[begin:]
    epoch = here.heard[0]["epoch"]
    async with following(wires[1], run, works.token, f"?since=0&epoch={epoch}") as late:
        await late.until("execution_complete")
    assert late.entries == whole


# -- killed ---------------------------------------------------------------------------------------


def test_of_what_is_cut_off_that_which_may_repeat_is_done_again_and_else_somebody_is_asked(
    works: Site,
) -> None:
    run, book = works.start("frail")
    works.awaited(lambda: len(book.begun()) == 3)
    works.replace(book.executor("again"), book.executor("once"))
    gate = works.gate(run, "once")
    assert "run again" in gate["question"]
    works.awaited(lambda: book.begun().count("again") == 2)
    assert (book.begun().count("first"), book.begun().count("once")) == (1, 1)
    book.let("again", "once")
    works.decide(run, "once")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert ended["nodes"]["end"]["output"] == {"again": "again", "once": "once"}
    assert sorted(book.ended()) == ["again", "first", "once"]
    assert book.begun().count("once") == 2


def test_a_run_goes_on_when_the_server_that_works_on_it_is_killed(works: Site) -> None:
    run, book = works.start("crowd")
    works.awaited(lambda: len(book.begun()) == 3)
    works.replace(works.pid(works.server))
    book.let("a", "b", "c")
    ended = works.ended(run)
    assert ended["run"]["outcome"] == "completed"
    assert sorted(book.ended()) == ["a", "b", "c", "first", "last"]
    offsets = [entry["offset"] for entry in works.log(run)]
    assert offsets == list(range(1, len(offsets) + 1))
