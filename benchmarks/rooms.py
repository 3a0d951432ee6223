"""Rooms: a broadcast to many members, publishes into logs, the replay of a log.

Peers: Channels' ``group_send`` with the pub/sub layer on plain Daphne; a room of Node's ``ws`` in
one process, for what is in no log; one INSERT (``acreate``) for each publish, one after the other
as an application does it, and 100 at once; a query with a loop of ``json.dumps``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import product
from typing import Any

from tqdm import tqdm

from benchmarks import node
from benchmarks.servers import OURS, PLAIN, UVICORN, Running, environment, prepare, running
from benchmarks.session import DATABASES, Limit, Session, Target, databases
from tests.servers import valkey

MEMBERS = 1000
#: Messages on their way at once.
WINDOW = 8
PUBLISHERS = 100
#: What the publishers' process is given: words for the table, the number of the only core.
CORES = {"on all cores": None, "on one core": 1}
EVENTS = 10_000
TEXT = "x" * 64

FOLLOW = {"subscribe": '{"subscribe":"all"}', "subprotocol": "mashin.v1"}
DURABLE, PASSING = (
    f'{{"id":1,"input":{{"sequence":SEQ,"text":"{TEXT}","durable":{word}}}}}'
    for word in ("true", "false")
)
ORDERS: dict[str, dict[str, Any]] = {
    "ours": {**FOLLOW, "message": DURABLE},
    "ours passing": {**FOLLOW, "message": PASSING},
    "uvicorn passing": {**FOLLOW, "message": PASSING},
    "group_send": {
        "subscribe": "", "subprotocol": "", "message": f'{{"sequence":SEQ,"text":"{TEXT}"}}'
    },
}  # fmt: skip
ORDERS["node"] = ORDERS["group_send"]


def measure(session: Session, database: str, parts: set[str]) -> None:
    """``parts``: broadcast, publish, replay."""
    if "broadcast" in parts:
        with broadcasters(session, database, passing=database == DATABASES[0]) as servers:
            measure_broadcast(session, database, servers)
    if "publish" in parts:
        measure_publish(session, database)
    if "replay" in parts:
        measure_replay(session, database)


# -- broadcast ------------------------------------------------------------------------------------


@contextlib.contextmanager
def broadcasters(session: Session, database: str, *, passing: bool) -> Iterator[dict[str, Running]]:
    """The servers by the names of ``ORDERS``. ``passing``: also those for what is in no log, which
    the database has no part in."""
    logs = session.folder
    with (
        databases(database, session.folder) as (our_url, peer_url),
        valkey() as layer,
        contextlib.ExitStack() as stack,
    ):
        ours = stack.enter_context(running(OURS, our_url, logs / "ours.log", layer.url))
        peer = stack.enter_context(running(PLAIN, peer_url, logs / "peers.log", layer.url))
        servers = {"ours": ours, "group_send": peer}
        if passing:
            other = running(UVICORN, our_url, logs / "uvicorn.log", layer.url)
            bare = running(node.room(session), "", logs / "node.log")
            servers["ours passing"] = ours
            servers["uvicorn passing"] = stack.enter_context(other)
            servers["node"] = stack.enter_context(bare)
        yield servers


def measure_broadcast(session: Session, database: str, servers: dict[str, Running]) -> None:
    """Deliveries per second as fast as they go; then both at half of the peer's rate."""
    with tqdm(total=session.rounds * (len(servers) + 2), desc=f"{database} broadcast") as progress:
        for _ in range(session.rounds):
            for name, server in servers.items():
                rate = deliveries(session, server, name, MEMBERS)
                session.note(f"{database} broadcast {name}", rate)
                progress.set_postfix_str(f"{name}: {rate:.0f}/s")
                progress.update()
        rate = (session.median(f"{database} broadcast group_send") or 0.0) / MEMBERS / 2
        for _ in range(session.rounds):
            for name in ("ours", "group_send"):
                order = {
                    **_order(session, servers[name], name, MEMBERS),
                    "kind": "paced", "rate": rate, "seconds": max(session.seconds, 10 / rate),
                }  # fmt: skip
                late = session.client("room_load", order)["p99_us"]
                session.note(f"{database} late {name}", late)
                progress.set_postfix_str(f"{name}: p99 {late:.0f} µs at {rate:.1f} messages/s")
                progress.update()


def deliveries(session: Session, server: Running, name: str, members: int) -> float:
    """Deliveries per second of one of ``ORDERS``."""
    order = {**_order(session, server, name, members), "kind": "flood", "window": WINDOW}
    return session.client("room_load", order)["per_second"]


def _order(session: Session, server: Running, name: str, members: int) -> dict[str, Any]:
    return {
        **ORDERS[name], "port": server.port, "path": "/ws/room", "publish": "/ws/publish",
        "members": members, "warm_up": session.seconds / 3, "seconds": session.seconds,
    }  # fmt: skip


# -- publish --------------------------------------------------------------------------------------


def measure_publish(session: Session, database: str) -> None:
    """Publishes per second: into one room and into 100, and the peer's INSERTs; by a process that
    has all cores, and by one that leaves the others to the database's server."""
    cases = [
        (*case, cores)
        for case in (
            ("apublish", PUBLISHERS, 1),
            ("apublish", PUBLISHERS, 100),
            ("acreate", 1, 1),
            ("acreate", PUBLISHERS, 1),
        )
        for cores in CORES
    ]
    with databases(database, session.folder) as (url, _), valkey() as layer:
        prepare(OURS, url)
        with tqdm(total=session.rounds * len(cases), desc=f"{database} publish") as progress:
            for _ in range(session.rounds):
                for kind, publishers, rooms, cores in cases:
                    rate = publishes(session, url, layer.url, kind, publishers, rooms, CORES[cores])
                    name = f"{kind} {publishers} {rooms} {cores}"
                    session.note(f"{database} {name}", rate)
                    progress.set_postfix_str(f"{name}: {rate:.0f}/s")
                    progress.update()


def publishes(
    session: Session, url: str, layer: str, kind: str, publishers: int, rooms: int, core: int | None
) -> float:
    """Per second, in a process of their own."""
    order = {
        "kind": kind, "publishers": publishers, "rooms": rooms,
        "warm_up": session.seconds / 3, "seconds": session.seconds,
    }  # fmt: skip
    settings = environment(OURS.settings, url, layer)
    return session.client("publishers", order, settings, core)["per_second"]


# -- replay ---------------------------------------------------------------------------------------


def measure_replay(session: Session, database: str) -> None:
    """10,000 events over one socket; both servers have been asked before."""
    with (
        databases(database, session.folder) as (our_url, peer_url),
        running(OURS, our_url, session.folder / "ours.log") as ours,
        running(PLAIN, peer_url, session.folder / "peers.log") as peers,
    ):
        servers = {"ours": (ours, our_url), "peers": (peers, peer_url)}
        for name, (server, url) in servers.items():
            fill(session, name, url, "few", 100)
            replay(session, name, server, "few", 100)
            fill(session, name, url, "many", EVENTS)
        for number in range(session.rounds):
            for name, (server, _) in servers.items():
                before = server.forget_peak()
                measured = replay(session, name, server, "many", EVENTS)
                key = f"{database} replay {name}"
                session.note(f"{key} first", measured["first_ms"])
                session.note(f"{key} total", measured["total_ms"])
                if not number:  # later ones find the memory that the first one took
                    session.note(f"{key} growth", (server.peak() - before) / 2**20)


def fill(session: Session, kind: str, url: str, topic: str, events: int) -> None:
    """Make a log of so many events; the peers have one."""
    settings = OURS.settings if kind == "ours" else PLAIN.settings
    order = {"kind": kind, "topic": topic, "events": events}
    session.client("logs", order, environment(settings, url))


def replay(
    session: Session, name: str, server: Running, topic: str, events: int
) -> dict[str, float]:
    """first_ms and total_ms of a whole log."""
    question = {
        "ours": {
            "path": "/ws/room", "subprotocol": "mashin.v1", "extra": 1,
            "question": f'{{"id":1,"subscribe":"{topic}","since":0}}',
        },
        "peers": {"path": "/ws/replay", "subprotocol": "", "extra": 0, "question": "{}"},
    }[name]  # fmt: skip
    order = {"kind": "replay", "port": server.port, "events": events, **question}
    return session.client("room_load", order)


# -- targets --------------------------------------------------------------------------------------


def targets(database: str) -> list[Target | Limit]:
    """What the numbers are held against."""
    broadcast, late, logged = (f"{database} {word}" for word in ("broadcast", "late", "replay"))
    title = f"{database}, {MEMBERS:,} members"
    found: list[Target | Limit] = [
        Target(
            f"{title}, durable, deliveries/s, against `group_send`",
            f"{broadcast} ours", f"{broadcast} group_send", 12,
        ),
        Target(
            f"{title}, durable, p99 in µs at half the peer's rate, against `group_send`",
            f"{late} ours", f"{late} group_send", 0.1, at_most=True,
        ),
        Target(
            f"{MEMBERS:,} members, not durable, deliveries/s, against Node `ws`",
            f"{broadcast} ours passing", f"{broadcast} node", 0.9,
        ),
        Target(
            f"{MEMBERS:,} members, not durable, under uvicorn, deliveries/s, against Node `ws`",
            f"{broadcast} uvicorn passing", f"{broadcast} node", 0.6,
        ),
    ]  # fmt: skip
    for (rooms, words), cores in product(((1, "one room"), (100, "100 rooms")), CORES):
        ours = f"{database} apublish {PUBLISHERS} {rooms} {cores}"
        title = (
            f"{database}, {PUBLISHERS} publishers {cores}, {words}, durable publishes/s, against"
        )
        found += [
            Target(f"{title} an INSERT each", ours, f"{database} acreate 1 1 {cores}", 10),
            Target(
                f"{title} an INSERT each, {PUBLISHERS} at once",
                ours, f"{database} acreate {PUBLISHERS} 1 {cores}", 10,
            ),
        ]  # fmt: skip
    title = f"{database}, replay of {EVENTS:,} events"
    return [
        *found,
        Target(
            f"{title}, total in ms, against a query and `json.dumps`",
            f"{logged} ours total", f"{logged} peers total", 1.3, at_most=True,
        ),
        Limit(f"{title}, first in ms", f"{logged} ours first", f"{logged} peers first", 100),
        Limit(f"{title}, memory in MiB", f"{logged} ours growth", f"{logged} peers growth", 10),
    ]  # fmt: skip
