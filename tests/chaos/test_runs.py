"""Runs whose processes are killed all the time: each ends, and nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.book import COST, lines
from tests.live import ROOT
from tests.rooms.databases import PATIENCE, SQLITE, SharedDatabase
from tests.servers import postgres

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(300)]

WORKERS = 3
#: Seconds within which all runs end, and those between two looks whether they have.
DEADLINE, LOOK = 200.0, 0.2
MACHINE = Path(__file__).with_name("hardy.mashin")
#: Nodes of the machine: those that must not be repeated, those that fail the first time, all that
#: ask effects, and the gates.
ONCE = {"send_a", "send_b", "send_c", "publish"}
SLIPPERY = {"slip_a", "slip_b"}
EFFECTS = ONCE | SLIPPERY | {"write_a", "write_b"} | {f"look_{letter}" for letter in "abcde"}
GATES = {"first", "second"}
NODES = EFFECTS | GATES | {"base", "early", "late", "words", "answer"}

Row = dict[str, Any]


class Tables:
    """Rows of our tables, as dictionaries."""

    def __init__(self, database: SharedDatabase) -> None:
        self._database = database

    def of(self, table: str, *columns: str) -> list[Row]:
        names = ", ".join(f'"{column}"' for column in columns)
        found = self._database.rows(f"SELECT {names} FROM mashin_surfaces_{table}")
        return [dict(zip(columns, row, strict=True)) for row in found]


class Story:
    """One run, by its number: its row, its log, and what else is there of it."""

    def __init__(self, row: Row, head: int) -> None:
        self.row = row
        self.head = head
        self.number: int = read(row["input"])["number"]
        self.nodes: dict[str, Row] = {}
        self.gates: list[Row] = []
        self.costs: list[Row] = []
        #: Entries of the log: ``offset`` and ``type``, with what is in the payload.
        self.log: list[Row] = []
        #: The words that its effects wrote into the book, by node.
        self.words: dict[str, list[str]] = {name: [] for name in EFFECTS}

    def told(self, type: str, node: str | None = None) -> list[Row]:
        """Its entries of a type, in order; of one node, when it is named."""
        return [
            entry
            for entry in self.log
            if entry["type"] == type and node in {None, entry.get("node_id")}
        ]

    def states(self, node: str) -> list[str]:
        return [entry["status"] for entry in self.told("node_state", node)]

    def cut_off(self) -> dict[str, list[str]]:
        """How its gates were decided that ask whether an effect may run again, by node."""
        found: dict[str, list[str]] = {}
        for name in ONCE:
            after_gates = self.told("gate_decided", name)
            if after_gates:
                found[name] = [entry["decision"] for entry in after_gates]
        return found


def read(value: Any) -> Any:
    """JSON of a column, which SQLite gives as text."""
    return json.loads(value) if isinstance(value, str) else value


def stories(database: SharedDatabase, book: Path) -> list[Story]:
    """All that is known of the runs."""
    tables = Tables(database)
    heads = {row["id"]: row["head"] for row in tables.of("room", "id", "head")}
    runs = tables.of(
        "run", "id", "input", "output", "room_id", "status", "outcome", "holder", "due_at",
        "spent", "reserved",
    )  # fmt: skip
    by_id = {row["id"]: Story(row, heads[row["room_id"]]) for row in runs}
    by_room = {story.row["room_id"]: story for story in by_id.values()}
    by_number = {story.number: story for story in by_id.values()}
    for row in tables.of(
        "node", "run_id", "name", "status", "attempt", "output", "reason", "metrics", "reserved"
    ):
        by_id[row["run_id"]].nodes[row["name"]] = row
    for row in tables.of("gate", "run_id", "node", "kind", "status", "revision", "is_taken"):
        by_id[row["run_id"]].gates.append(row)
    for row in tables.of("costentry", "run_id", "node", "attempt", "amount"):
        by_id[row["run_id"]].costs.append(row)
    for row in tables.of("roomevent", "room_id", "offset", "type", "payload"):
        entry = {"offset": row["offset"], "type": row["type"], **json.loads(row["payload"])}
        by_room[row["room_id"]].log.append(entry)
    for story in by_id.values():
        story.log.sort(key=lambda entry: int(entry["offset"]))
    for line in lines(book):
        by_number[line.run].words[line.node].append(line.word)
    return list(by_id.values())


# -- the storm ------------------------------------------------------------------------------------


@contextmanager
def crew(env: dict[str, str], runs: int, log: Path) -> Iterator[None]:
    """Workers that are killed and started again; they must not end by themselves."""
    words = [sys.executable, "-m", "tests.chaos.crew", str(WORKERS), str(runs)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield
            process.communicate(b"enough\n", timeout=PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert process.returncode == 0, log.read_text()


def weather(database: SharedDatabase, folder: Path, runs: int) -> list[Story]:
    """Have so many runs done by processes that are killed; what has become of them."""
    book = folder / "book"
    env = {**database.env, "MASHIN_MODULES": "tests.chaos.book", "BOOK": str(book)}
    load = [sys.executable, "manage.py", "load_machines", str(MACHINE)]
    subprocess.run(load, cwd=ROOT, env=env, check=True, timeout=PATIENCE)
    log = folder / "crew.log"
    ended = "SELECT count(*) FROM mashin_surfaces_run WHERE ended_at IS NOT NULL"
    with crew(env, runs, log):
        until = time.monotonic() + DEADLINE
        while database.rows(ended) != [(runs,)] and time.monotonic() < until:
            time.sleep(LOOK)
    assert "Traceback" not in log.read_text()
    assert "deadlock" not in log.read_text()
    return stories(database, book)


RUNS = {"postgresql": 100, "sqlite": 20}


@pytest.fixture(scope="module", params=RUNS)
def after(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Story]]:
    """What has become of the runs, on each database."""
    folder, runs = tmp_path_factory.mktemp(request.param), RUNS[request.param]
    if request.param == "sqlite":
        yield weather(SharedDatabase(f"{SQLITE}{folder / 'runs.sqlite3'}"), folder, runs)
    else:
        with postgres() as cluster:
            yield weather(SharedDatabase(cluster.create_database("runs")), folder, runs)


# -- what is true afterwards ----------------------------------------------------------------------


def test_every_run_was_started_once_and_has_ended(
    after: list[Story], request: pytest.FixtureRequest
) -> None:
    runs = RUNS[request.node.callspec.params["after"]]
    assert sorted(story.number for story in after) == list(range(runs))
    for story in after:
        assert story.row["status"] in {"completed", "failed"}
        assert story.told("execution_complete") == [story.log[-1]]


def test_a_run_fails_only_where_somebody_said_that_an_effect_must_not_run_again(
    after: list[Story],
) -> None:
    for story in after:
        denied = any("reject" in decisions for decisions in story.cut_off().values())
        assert story.row["outcome"] == ("failed" if denied else "completed")
        ended = {name: node["status"] for name, node in story.nodes.items()}
        assert ended.keys() == NODES
        if not denied:
            assert set(ended.values()) == {"completed"}
            assert read(story.row["output"]) == {"total": story.number}


def test_processes_were_killed_in_the_middle_of_effects(after: list[Story]) -> None:
    """Else the other tests would not have shown much."""
    lost = [
        entry
        for story in after
        for entry in story.told("node_state")
        if entry.get("reason") == "process_died"
    ]
    assert lost or any(story.cut_off() for story in after)


def test_an_effect_that_must_not_be_repeated_runs_again_only_when_somebody_says_so(
    after: list[Story],
) -> None:
    for story in after:
        for name in ONCE:
            approvals = story.cut_off().get(name, []).count("approve")
            assert len(story.words[name]) <= 1 + approvals, (story.number, name)


def test_every_attempt_is_begun_once_and_none_after_the_node_has_finished(
    after: list[Story],
) -> None:
    for story in after:
        for name, node in story.nodes.items():
            begun = [
                entry["attempt"]
                for entry in story.told("node_state", name)
                if entry["status"] == "running"
            ]
            assert begun == list(range(1, len(begun) + 1)), (story.number, name)
            assert node["attempt"] == len(begun)
            assert len(story.words.get(name, ())) <= len(begun)
            states = story.states(name)
            if "completed" in states:
                assert states.index("completed") == len(states) - 1, (story.number, name)


def test_what_a_node_gave_is_what_one_of_its_executions_gave_and_what_came_after_it_saw(
    after: list[Story],
) -> None:
    for story in after:
        given = {name: read(node["output"]) for name, node in story.nodes.items()}
        for name in EFFECTS:
            if story.nodes[name]["status"] == "completed":
                assert given[name]["word"] in story.words[name]
        for gathered, names in (
            ("early", ("look_a", "look_b", "write_a", "send_a", "slip_a")),
            ("late", ("send_b", "send_c", "look_c", "slip_b")),
        ):
            if story.nodes[gathered]["status"] == "completed":
                assert given[gathered]["words"] == [given[name]["word"] for name in names]


def test_a_step_that_fails_is_tried_again(after: list[Story]) -> None:
    for story in after:
        for name in SLIPPERY:
            assert story.nodes[name]["status"] != "failed"
            if story.nodes[name]["status"] == "completed":
                assert len(story.words[name]) > 1


def test_no_gate_is_left_open_and_each_was_decided_once(after: list[Story]) -> None:
    for story in after:
        for gate in story.gates:
            assert (gate["status"], bool(gate["is_taken"])) == ("decided", True)
            decided = story.told("gate_decided", gate["node"])
            shown = story.told("human_gate_waiting", gate["node"])
            assert len(decided) == len(shown) == gate["revision"]
            assert gate["kind"] == ("step" if gate["node"] in GATES else "crash")


def test_the_log_has_no_gap(after: list[Story]) -> None:
    for story in after:
        assert [entry["offset"] for entry in story.log] == list(range(1, story.head + 1))


def test_the_log_tells_what_the_rows_say(after: list[Story]) -> None:
    for story in after:
        for name, node in story.nodes.items():
            told = (story.told("node_state", name) or [{"status": "pending"}])[-1]
            assert told["status"] == node["status"]
            assert told.get("attempt", 0) == node["attempt"]
            assert told.get("reason", "") == node["reason"]
            assert told.get("metrics") == read(node["metrics"])
            if node["status"] == "completed":
                assert told["output"] == read(node["output"])
        assert story.told("run_state")[-1]["status"] == story.row["status"]
        assert amount(story.told("cost_update")[-1]["spent"]) == amount(story.row["spent"])
        (end,) = story.told("execution_complete")
        assert end["outcome"] == story.row["outcome"]
        assert end["results"] == {
            name: read(node["output"])
            for name, node in story.nodes.items()
            if node["status"] == "completed"
        }


def test_the_cost_account_is_the_sum_of_its_entries(after: list[Story]) -> None:
    for story in after:
        amounts = [amount(entry["amount"]) for entry in story.costs]
        assert set(amounts) == {Decimal(COST)}
        assert amount(story.row["spent"]) == sum(amounts)


def test_every_attempt_that_ended_has_cost_once(after: list[Story]) -> None:
    for story in after:
        booked = Counter((entry["node"], entry["attempt"]) for entry in story.costs)
        assert set(booked.values()) == {1}
        for name in EFFECTS:
            if story.nodes[name]["status"] == "completed":
                assert booked[name, story.nodes[name]["attempt"]] == 1


def test_nobody_holds_a_run_that_has_ended_and_nothing_is_reserved(after: list[Story]) -> None:
    for story in after:
        assert (story.row["holder"], story.row["due_at"]) == ("", None)
        assert not amount(story.row["reserved"])
        assert not any(amount(node["reserved"]) for node in story.nodes.values())


def amount(value: Any) -> Decimal:
    """US dollars, of a column or of JSON."""
    return Decimal(str(value)).quantize(Decimal("0.000001"))
