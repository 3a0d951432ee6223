"""Whoever goes, at whatever moment, leaves nothing behind: no place, member, feed or task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db.models import F

from mashin_surfaces.commit import close_writers
from mashin_surfaces.governance.govern import Caller
from mashin_surfaces.identity.principal import anonymous
from mashin_surfaces.machines.registry import DEFINITIONS, registry
from mashin_surfaces.models import Epoch, RoomMember, Surface, SurfaceAccess
from mashin_surfaces.rooms import presence
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.surfaces import feeds, subscriptions, websocket
from mashin_surfaces.surfaces.connection import Connection
from mashin_surfaces.surfaces.follow import follow
from mashin_surfaces.surfaces.routes import Route, routes
from tests.timers.workers import apart

from .boards import BOARD, COUNTER, declare
from .clients import DEADLINE, Hold, Reader, Socket, ended

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("nobody_left"),
]


def change(path: str, /, **fields: Any) -> None:
    """Change a surface, and have this process see it."""
    assert Surface.objects.filter(path=path).update(**fields) == 1
    Epoch.objects.filter(name=DEFINITIONS).update(number=F("number") + 1)
    registry.refresh()


def recorded(event: str) -> int:
    close_writers()
    return SurfaceAccess.objects.filter(event=event).count()


def board_over_http() -> Route:
    route = routes.find("http", "/api/board")
    assert route is not None
    return route


async def leave_during(held: Hold, **asked: str) -> Connection:
    """Ask something of the board, and be gone when what is held for it goes on; it has ended."""
    socket = Socket("/ws/board")
    connection = await socket.open()
    await socket.say(id=1, **asked)
    await held.reached()
    workers = set(connection.workers)
    await socket.leave()
    held.go_on.set()
    await ended(workers)
    return connection


@pytest.mark.parametrize("where", ["enters", "joins"])
async def test_who_closes_the_socket_while_it_joins_a_topic_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await apart(declare, BOARD)
    entering = Hold(monkeypatch, presence, "enter", is_open=where != "enters")
    joining = Hold(monkeypatch, Hub, "join", is_open=where != "joins")
    await leave_during(entering if where == "enters" else joining, subscribe="main")
    [place] = joining.given
    assert place.is_gone
    assert not presence.sink.entries
    assert await apart(RoomMember.objects.count) == 0


async def test_who_went_while_it_was_answered_is_neither_waited_for_nor_ended_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await apart(declare, BOARD)
    connection = await leave_during(Hold(monkeypatch, websocket, "note"), unsubscribe="main")
    assert connection.clock is not None
    assert connection.clock.cancelled()
    connection.cut_off("It is too slow.")
    assert connection.closing is None


async def test_all_topics_are_left_though_leaving_the_first_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database is away, and the server ends an application that does not end by itself."""
    await apart(declare, BOARD)
    joining = Hold(monkeypatch, Hub, "join", is_open=True)
    leaving = Hold(monkeypatch, presence, "leave")
    socket = Socket("/ws/board")
    await socket.open()
    for topic in ("main", "side"):
        await socket.say(id=topic, subscribe=topic)
        await socket.until("subscribed")
    await socket.send_input({"type": "websocket.disconnect", "code": 1001})
    await leaving.reached()
    socket.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await socket.future
    assert [place.is_gone for place in joining.given] == [True, True]


async def test_nobody_is_fed_who_went_while_the_feed_began(monkeypatch: pytest.MonkeyPatch) -> None:
    await apart(declare, COUNTER.replace('every: "50ms"', ""))
    socket = Socket("/ws/counter/fed")
    connection = await socket.open()
    await socket.say(id=1, subscribe="main")
    await socket.until("subscribed")
    asking = Hold(monkeypatch, subscriptions, "govern_subscription")
    begun: list[Any] = []
    monkeypatch.setattr(feeds, "listen", lambda *given: begun.append(given))
    options = {"auth": ["none"], "subscribe": "topic", "every": 0.05}
    await apart(change, "/ws/counter/fed", options=options)
    await asking.reached()
    workers = set(connection.workers)
    await socket.leave()
    asking.go_on.set()
    await ended(workers)
    assert begun == []


async def test_a_topic_is_fed_on_when_the_surface_that_feeds_it_moves() -> None:
    await apart(declare, COUNTER)
    socket = Socket("/ws/counter")
    await socket.open()
    await socket.say(id=1, subscribe="main")
    await socket.until("push")
    await apart(change, "/ws/counter/fed", path="/ws/counter/moved")
    for _ in range(4):  # no more than one was on its way
        await socket.until("push")
    await socket.leave()


# -- over HTTP ------------------------------------------------------------------------------------


async def test_who_leaves_an_event_stream_is_recorded() -> None:
    await apart(declare, BOARD)
    reader = Reader("/api/board", "subscribe=main")
    await reader.begin()
    await reader.until("subscribed")
    await reader.leave()
    async with asyncio.timeout(DEADLINE):
        while presence.sink.entries or not await apart(recorded, "unsubscribe"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not board_over_http().connections


async def test_who_leaves_an_event_stream_is_recorded_though_leaving_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await apart(declare, BOARD)
    leaving = Hold(monkeypatch, presence, "leave")
    events = follow(board_over_http(), Caller(anonymous(("*",))), "main", None, "r1")
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    waiting.cancel()
    await leaving.reached()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await apart(recorded, "unsubscribe") == 1


async def test_who_leaves_an_event_stream_leaves_no_task_behind() -> None:
    await apart(declare, BOARD)
    before = asyncio.all_tasks()
    events = follow(board_over_http(), Caller(anonymous(("*",))), "main", None, "r1")
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    taking = taking_tasks(before)
    assert taking
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    _, pending = await asyncio.wait(taking, timeout=DEADLINE)
    assert not pending


def taking_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks that wait for what a queue gives next."""
    new = asyncio.all_tasks() - before
    return {task for task in new if "Queue.get" in repr(task.get_coro())}
