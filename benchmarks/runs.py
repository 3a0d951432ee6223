"""Runs: nodes per second of many short runs, how soon a decision is gone on with, and one large
run, streamed and replayed.

Peer: DBOS (PyPI), which executes the same steps durably in one process, on the same kind of
database. It commits after every step; a run of ours commits what only computes together with what
comes next, because that may be done again.
"""

from __future__ import annotations

from tqdm import tqdm

from benchmarks.servers import OURS, environment, prepare, running
from benchmarks.session import Limit, Session, Target, databases

RUNS = 1_000
#: Gates that are decided, and how many a second.
DECISIONS, RATE = 500, 50
#: Nodes of the large run, and of one before it.
NODES, FEW = 10_000, 20


def measure(session: Session, database: str) -> None:
    """Both alternate; gates are decided, and the large run is told, once a round."""
    runs, decisions = (100, 50) if session.quick else (RUNS, DECISIONS)
    deciding = {"kind": "decisions", "decisions": decisions, "rate": RATE}
    with tqdm(total=4 * session.rounds, desc=f"{database} runs") as progress:
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
                    measured = session.client("run_work", order, variables)
                    for key, value in measured.items():
                        session.note(f"{database} runs {name} {key}", value)
                    shown = ", ".join(f"{key} {value:.0f}" for key, value in measured.items())
                    progress.set_postfix_str(f"{number + 1} {name}: {shown}")
                    progress.update()
                for kind in ("live", "replay"):
                    measure_large(session, database, kind, our_url)
                progress.update()


def measure_large(session: Session, database: str, kind: str, url: str) -> None:
    """Seconds of a large run that is followed live, or of its replay, and what that added to the
    memory of a fresh server at most."""
    with running(OURS, url, session.folder / "ours.log") as server:

        def follow(kind: str, nodes: int) -> dict[str, float]:
            order = {"kind": kind, "port": server.port, "nodes": nodes}
            return session.client("large_run", order, environment(OURS.settings, url))

        follow("live", FEW)  # what the first run and its follower cost a server is not theirs
        before = server.forget_peak()
        measured = follow(kind, NODES)
        session.note(f"{database} large {kind} seconds", measured["seconds"])
        session.note(f"{database} large {kind} growth", (server.peak() - before) / 2**20)


def targets(database: str) -> list[Target | Limit]:
    """What the numbers are held against."""
    key, large = f"{database} runs", f"{database} large"
    return [
        Target(
            f"{database}, {RUNS:,} runs of 10 computations, nodes/s, against DBOS",
            f"{key} ours per_second", f"{key} dbos per_second", 1,
        ),
        Limit(
            f"{database}, from a decision to the next node's start, p99 in ms (beside it: p50)",
            f"{key} decisions p99_ms", f"{key} decisions p50_ms", 100,
        ),
        Limit(
            f"{database}, replay of a run of {NODES:,} nodes, in s (beside it: run and followed)",
            f"{large} replay seconds", f"{large} live seconds",
        ),
        Limit(
            f"{database}, the same replay, memory in MiB (beside it: run and followed)",
            f"{large} replay growth", f"{large} live growth", 30,
        ),
    ]  # fmt: skip
