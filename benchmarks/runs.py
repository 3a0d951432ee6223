"""Runs: nodes per second of many short runs, and how soon a decision is gone on with.

Peer: DBOS (PyPI), which executes the same steps durably in one process, on the same kind of
database.
"""

from __future__ import annotations

from tqdm import tqdm

from benchmarks.servers import OURS, environment, prepare
from benchmarks.session import Limit, Session, Target, databases

RUNS = 1_000
#: Gates that are decided, and how many a second.
DECISIONS, RATE = 500, 50


def measure(session: Session, database: str) -> None:
    """Both alternate; gates are decided once a round."""
    runs, decisions = (100, 50) if session.quick else (RUNS, DECISIONS)
    deciding = {"kind": "decisions", "decisions": decisions, "rate": RATE}
    with tqdm(total=3 * session.rounds, desc=f"{database} runs") as progress:
        for number in range(session.rounds):
            with databases(database, session.folder) as (our_url, peer_url):
                prepare(OURS, our_url)
                ours = environment(OURS.settings, our_url)
                peer = {**ours, "PEER_URL": peer_url}
                for name, order, variables in (
                    ("ours", {"kind": "runs", "runs": runs}, ours),
                    ("dbos", {"kind": "dbos", "runs": runs}, peer),
                    ("decisions", deciding, ours),
                ):
                    measured = session.client("run_work", order, **variables)
                    for key, value in measured.items():
                        session.note(f"{database} runs {name} {key}", value)
                    shown = ", ".join(f"{key} {value:.0f}" for key, value in measured.items())
                    progress.set_postfix_str(f"{number + 1} {name}: {shown}")
                    progress.update()


def targets(database: str) -> list[Target | Limit]:
    """What the numbers are held against."""
    key = f"{database} runs"
    return [
        Target(
            f"{database}, {RUNS:,} runs of 10 computations, nodes/s, against DBOS",
            f"{key} ours per_second", f"{key} dbos per_second", 1,
        ),
        Limit(
            f"{database}, from a decision to the next node's start, p99 in ms (beside it: p50)",
            f"{key} decisions p99_ms", f"{key} decisions p50_ms", 100,
        ),
    ]  # fmt: skip
