"""How costs grow: with members, with rooms, with the length of a log; drawn as SVG."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from benchmarks import rooms
from benchmarks.chart import chart
from benchmarks.servers import OURS, PLAIN, prepare, running
from benchmarks.session import Session, databases
from tests.servers import valkey

DATABASE = "PostgreSQL"
MEMBERS = (10, 100, 1000, 5000)
ROOMS = (1, 10, 100, 1000)
EVENTS = (1000, 10_000, 100_000, 1_000_000)
#: The peer gets no further than this in a reasonable time, or in memory.
PEER_MEMBERS = 1000
PEER_EVENTS = 100_000


def measure(session: Session) -> None:
    """Microseconds per delivery, per publish, per replayed event."""
    _measure_members(session)
    _measure_rooms(session)
    _measure_events(session)


def draw(session: Session, folder: Path) -> None:
    """Three pictures of what was measured."""
    _draw(
        session, folder / "cost-members.svg", "Microseconds per delivery", "members of one room",
        {"mashin_surfaces, durable": "members ours", "Channels group_send": "members group_send"},
    )  # fmt: skip
    _draw(
        session, folder / "cost-rooms.svg", "Microseconds per durable publish", "rooms",
        {"mashin_surfaces": "rooms apublish", "one INSERT each": "rooms acreate"},
    )  # fmt: skip
    _draw(
        session, folder / "cost-events.svg", "Microseconds per replayed event", "events in the log",
        {"mashin_surfaces": "events ours", "query and json.dumps": "events peers"},
    )  # fmt: skip


def _measure_members(session: Session) -> None:
    with rooms.broadcasters(session, DATABASE, passing=False) as servers:
        cases = [
            (name, members)
            for members in MEMBERS
            for name in servers
            if name == "ours" or members <= PEER_MEMBERS
        ]
        for _ in range(session.rounds):
            for name, members in tqdm(cases, desc="members"):
                rate = rooms.deliveries(session, servers[name], name, members)
                session.note(f"members {name} {members}", 1e6 / rate)


def _measure_rooms(session: Session) -> None:
    cases = [(kind, number) for number in ROOMS for kind in ("apublish", "acreate")]
    with databases(DATABASE, session.folder) as (url, _), valkey() as layer:
        prepare(OURS, url)
        for _ in range(session.rounds):
            for kind, number in tqdm(cases, desc="rooms"):
                core = rooms.CORES["on one core"]
                rate = rooms.publishes(
                    session, url, layer.url, kind, rooms.PUBLISHERS, number, core
                )
                session.note(f"rooms {kind} {number}", 1e6 / rate)


def _measure_events(session: Session) -> None:
    lengths = [number for number in EVENTS if not session.quick or number <= PEER_EVENTS]
    with (
        databases(DATABASE, session.folder) as (our_url, peer_url),
        running(OURS, our_url, session.folder / "ours.log") as ours,
        running(PLAIN, peer_url, session.folder / "peers.log") as peers,
    ):
        for length in tqdm(lengths, desc="events"):
            for name, server, url in (("ours", ours, our_url), ("peers", peers, peer_url)):
                if name == "ours" or length <= PEER_EVENTS:
                    topic = f"log-{length}"
                    rooms.fill(session, name, url, topic, length)
                    for _ in range(session.rounds):
                        measured = rooms.replay(session, name, server, topic, length)
                        cost = measured["total_ms"] * 1e3 / length
                        session.note(f"events {name} {length}", cost)


def _draw(session: Session, path: Path, title: str, across: str, series: dict[str, str]) -> None:
    lines = {}
    for words, key in series.items():
        numbers = [int(each.split()[-1]) for each in session.numbers if each.startswith(f"{key} ")]
        lines[words] = [
            (float(number), session.median(f"{key} {number}") or 0.0) for number in sorted(numbers)
        ]
    path.write_text(chart(title, across, lines))
