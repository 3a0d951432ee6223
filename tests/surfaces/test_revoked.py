"""A credential that is worth less, or nothing, while its owner comes in or has come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.governance.door import governed
from mashin_surfaces.identity import api_keys, cache, freshness
from mashin_surfaces.identity.models import ApiKey
from mashin_surfaces.machines.registry import registry
from mashin_surfaces.rooms import presence
from mashin_surfaces.runs.engine import engine
from mashin_surfaces.runs.store import NewRun
from mashin_surfaces.surfaces import recheck as recheck_module
from mashin_surfaces.surfaces.recheck import recheck_connections
from mashin_surfaces.surfaces.routes import routes
from tests.timers.workers import apart

from .boards import BOARD, declare
from .clients import Hold, Reader, Socket

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("nobody_left"),
]

SOCKETS = ["/ws/board", "/ws/board/panel", "/ws/board/runs", "/ws/board/bus"]


@pytest.fixture(autouse=True)
async def _board(nobody_left: None) -> None:
    """The board, with a run that nobody works on."""
    await apart(declare, BOARD)
    board = governed(registry.snapshot.machines["board"])
    await engine().create(NewRun(board, {"topic": "main"}, "ada"))


def issued(*scopes: str) -> str:
    _, text = api_keys.issue("ada", scopes or ["*"])
    return text


def look() -> None:
    """What the watcher does when credentials have changed."""
    cache.forget()
    recheck_connections()


def revoke(text: str) -> None:
    api_keys.revoke(ApiKey.objects.get(pk=text.split("_")[1]))
    look()


@pytest.fixture
def revoked_when_verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that are good when they are looked up, and revoked before anybody learns that."""
    unlucky: list[str] = []
    verify = api_keys.verify

    def verified(text: str) -> ApiKey:
        key = verify(text)
        if text in unlucky:
            revoke(text)
        return key

    monkeypatch.setattr(api_keys, "verify", verified)
    return unlucky


def socket_at(path: str, key: str) -> Socket:
    return Socket(path, key, "mashin.v1" if path == "/ws/board" else None)


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_key_that_is_revoked_while_its_owner_comes_in_is_found_out(
    revoked_when_verified: list[str], path: str
) -> None:
    key = await apart(issued)
    revoked_when_verified.append(key)
    socket = socket_at(path, key)
    await socket.open()
    assert await socket.closing() == 4401
    await socket.leave()


@pytest.mark.parametrize("path", ["/ws/board/panel", "/ws/board/bus"])
async def test_a_key_that_is_revoked_while_its_owner_joins_a_room_is_found_out(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    key = await apart(issued)
    entering = Hold(monkeypatch, presence, "enter")
    socket = socket_at(path, key)
    opening = asyncio.create_task(socket.open())
    await entering.reached()
    await apart(revoke, key)
    entering.go_on.set()
    await opening
    assert await socket.closing() == 4401
    await socket.leave()


async def test_a_key_that_is_revoked_while_its_owner_begins_to_follow_is_found_out(
    revoked_when_verified: list[str],
) -> None:
    key = await apart(issued)
    revoked_when_verified.append(key)
    reader = Reader("/api/board", "subscribe=main", key)
    await reader.begin()
    await reader.until("unauthenticated")
    await reader.leave()


@pytest.mark.parametrize("path", ["/ws/board", "/ws/board/runs", "/ws/board/bus"])
async def test_a_key_that_is_revoked_while_it_is_presented_afresh_is_found_out(
    revoked_when_verified: list[str], path: str
) -> None:
    key, fresh = await apart(issued), await apart(issued)
    revoked_when_verified.append(fresh)
    socket = socket_at(path, key)
    await socket.open()
    await socket.say(id=1, type="authenticate", token=fresh)
    assert await socket.closing() == 4401
    await socket.leave()


async def test_who_can_not_be_looked_at_now_is_looked_at_later(
    revoked_when_verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh, outcomes = freshness.refresh, ["the database is away", ""]

    async def sometimes(principals: list[object]) -> list[object]:
        if outcomes.pop(0):
            raise Refusal(Code.LEDGER_UNAVAILABLE, "The database can't be read.")
        return await refresh(principals)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(recheck_module, "RETRY", 0.0)
    monkeypatch.setattr(recheck_module, "refresh", sometimes)
    key = await apart(issued)
    revoked_when_verified.append(key)
    socket = Socket("/ws/board", key)
    await socket.open()
    assert await socket.closing() == 4401
    assert outcomes == []
    await socket.leave()


# -- what it may by now ---------------------------------------------------------------------------


async def test_who_may_less_by_fresh_credentials_follows_no_longer() -> None:
    key, less = await apart(issued), await apart(issued, "nothing:of:this")
    socket = Socket("/ws/board", key)
    await socket.open()
    await socket.say(id=1, subscribe="main")
    await socket.until("subscribed")
    await socket.say(id=2, type="authenticate", token=less)
    assert (await socket.until("error"))["code"] == "forbidden"
    await socket.leave()


async def test_who_may_less_by_fresh_credentials_is_told_no_more_of_a_run() -> None:
    key, less = await apart(issued), await apart(issued, "nothing:of:this")
    socket = socket_at("/ws/board/runs", key)
    await socket.open()
    await socket.say(type="authenticate", token=less)
    assert await socket.closing() == 4403
    await socket.leave()


async def follow_over_a_socket(key: str) -> Callable[[], Awaitable[None]]:
    socket = Socket("/ws/board", key)
    await socket.open()

    async def until_the_end() -> None:
        assert await socket.closing() == 4401
        await socket.leave()

    return until_the_end


async def follow_over_http(key: str) -> Callable[[], Awaitable[None]]:
    reader = Reader("/api/board", "subscribe=main", key)
    await reader.begin()
    await reader.until("subscribed")

    async def until_the_end() -> None:
        await reader.until("unauthenticated")
        await reader.leave()

    return until_the_end


@pytest.mark.parametrize("follow", [follow_over_a_socket, follow_over_http])
async def test_a_credential_whose_end_is_moved_ends_its_connection_then(
    follow: Callable[[str], Awaitable[Callable[[], Awaitable[None]]]],
) -> None:
    until_the_end = await follow(await apart(issued))
    [connection] = routes.connections()
    before = connection.caller.principal
    soon = replace(before.credential, expires_at=time.time() + 0.05)
    connection.principal_changed(before, replace(before, credential=soon))
    await until_the_end()
