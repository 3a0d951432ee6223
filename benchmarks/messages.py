"""Questions and answers: websocket at 1, 50 and 500 sockets, API at 50 connections.

Peers: a bare Channels echo consumer, a consumer that validates with pydantic and awaits one
``acreate`` per message, a plain DRF view with a serializer and one INSERT; all on plain Daphne.
"""

from __future__ import annotations

import json

from tqdm import tqdm

from benchmarks.servers import OURS, PLAIN, running
from benchmarks.session import Session, Target, databases

BODY = json.dumps({"text": "hello", "times": 3})
EXPECTED = "hello"


def measure(session: Session, database: str, kinds: set[str]) -> None:
    """``kinds``: websocket, api."""
    cases: list[tuple[str, int, list[tuple[str, str]]]] = []
    if "websocket" in kinds:
        sockets = [("ours", "/ws/bench"), ("bare", "/ws/bare"), ("acreate", "/ws/recorded")]
        cases += [("websocket", number, sockets) for number in (1, 50, 500)]
    if "api" in kinds:
        cases.append(("http", 50, [("ours", "/api/bench"), ("drf", "/api/bench")]))
    with (
        databases(database, session.folder) as (our_url, peer_url),
        running(OURS, our_url, session.folder / "ours.log") as ours,
        running(PLAIN, peer_url, session.folder / "peers.log") as peers,
    ):
        total = session.rounds * sum(len(parts) for _, _, parts in cases)
        with tqdm(total=total, desc=database, unit="window") as progress:
            for _ in range(session.rounds):
                for kind, connections, parts in cases:
                    for name, path in parts:
                        server = ours if name == "ours" else peers
                        order = {
                            "kind": kind, "port": server.port, "path": path, "body": BODY,
                            "expected": EXPECTED, "connections": connections,
                            "warm_up": session.seconds / 3, "seconds": session.seconds,
                        }  # fmt: skip
                        measured = session.client("load", order)
                        key = f"{database} {kind} {connections} {name}"
                        session.note(key, measured["per_second"])
                        session.note(f"{key} p50", measured["p50_us"])
                        progress.set_postfix_str(f"{key}: {measured['per_second']:.0f}/s")
                        progress.update()


def targets(database: str) -> list[Target]:
    """What the numbers are held against."""
    acreate = 6 if database == "SQLite" else 10
    found = []
    for peer, words, wanted in (
        ("bare", "a bare echo", {50: 1.5, 500: 2.0}),
        ("acreate", "pydantic + `acreate`", {50: acreate, 500: acreate}),
    ):
        for number, ratio in wanted.items():
            key = f"{database} websocket {number}"
            title = f"{database}, {number} sockets, messages/s, against {words}"
            found.append(Target(title, f"{key} ours", f"{key} {peer}", ratio))
    one, api = f"{database} websocket 1", f"{database} http 50"
    return [
        *found,
        Target(
            f"{database}, one socket, p50 in µs, against a bare echo",
            f"{one} ours p50", f"{one} bare p50", 2, at_most=True,
        ),
        Target(
            f"{database}, API, 50 connections, requests/s, against DRF + INSERT",
            f"{api} ours", f"{api} drf", 1.2,
        ),
    ]  # fmt: skip
