"""What happens in the moments between: the server's part is said by the test, line by line."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from mashin_surfaces.client import (
    ClientError,
    IncubatorClient,
    MachineClient,
    PanelClient,
    Push,
    RunClient,
)
from mashin_surfaces.client.machine import AT_ONCE
from tests.client.conftest import soon, take

Frame = dict[str, Any]
LOG = {"offset": 0, "epoch": "e", "recovered": True}


class Peer:
    """The other side of a client's sockets."""

    def __init__(self, url: str, sockets: asyncio.Queue[ServerConnection]) -> None:
        self.url = url
        self._sockets = sockets

    async def accept(self) -> None:
        """From now on it is the next socket that is spoken over."""
        self._socket = await soon(self._sockets.get())

    @property
    def path(self) -> str:
        assert self._socket.request is not None
        return self._socket.request.path

    async def hear(self) -> Frame:
        frame: Frame = json.loads(await soon(self._socket.recv()))
        return frame

    async def say(self, frame: Frame) -> None:
        await self._socket.send(json.dumps(frame))

    async def close(self, code: int) -> None:
        await self._socket.close(code)

    async def welcome_to_a_machine(self) -> None:
        await self.accept()
        await self.say({"id": (await self.hear())["id"], "pong": True})

    async def welcome_to_a_bus(self) -> None:
        await self.accept()
        await self.say({"type": "replay_done", "cursor": 0, "epoch": "e"})
        assert await self.hear() == {"type": "ping"}
        await self.say({"type": "pong"})


@asynccontextmanager
async def listening() -> AsyncIterator[Peer]:
    sockets: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def keep(socket: ServerConnection) -> None:
        sockets.put_nowait(socket)
        await socket.wait_closed()

    def choose(_: object, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next(iter(offered), None)

    async with serve(keep, "127.0.0.1", 0, select_subprotocol=choose) as server:
        yield Peer(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", sockets)


@asynccontextmanager
async def machine(**options: Any) -> AsyncIterator[tuple[MachineClient, Peer]]:
    async with listening() as peer:
        welcoming = asyncio.create_task(peer.welcome_to_a_machine())
        async with MachineClient(peer.url, proxy=None, **options) as client:
            await welcoming
            yield client, peer


@asynccontextmanager
async def bus(kind: type[IncubatorClient] = IncubatorClient) -> AsyncIterator[tuple[Any, Peer]]:
    async with listening() as peer:
        welcoming = asyncio.create_task(peer.welcome_to_a_bus())
        async with kind(peer.url, proxy=None) as client:
            await welcoming
            yield client, peer


def subscribed(asked: Frame) -> Frame:
    return {"id": asked["id"], "subscribed": asked["subscribe"], **LOG}


# -- topics ---------------------------------------------------------------------------------------


async def test_a_subscription_that_is_given_up_before_it_is_answered_returns() -> None:
    async with machine() as (client, peer):
        subscribing = asyncio.create_task(client.subscribe("t"))
        asked = await peer.hear()
        leaving = asyncio.create_task(client.unsubscribe("t"))
        left = await peer.hear()
        await peer.say(subscribed(asked))
        await peer.say({"id": left["id"], "unsubscribed": "t"})
        await soon(asyncio.gather(subscribing, leaving))


async def test_who_subscribes_to_one_topic_twice_at_once_is_answered_twice() -> None:
    async with machine() as (client, peer):
        both = asyncio.gather(client.subscribe("t"), client.subscribe("t"))
        for asked in [await peer.hear(), await peer.hear()]:
            await peer.say(subscribed(asked))
        await soon(both)


REFUSED = {"code": "forbidden", "message": "Not any more."}


@pytest.mark.parametrize(
    "answer", [subscribed, lambda asked: {"id": asked["id"], "error": REFUSED}]
)
async def test_topics_that_are_left_while_they_are_joined_anew_keep_no_others_out(
    answer: Callable[[Frame], Frame],
) -> None:
    early, late = [f"early{n}" for n in range(AT_ONCE)], ["late", "later", "left"]
    async with machine() as (client, peer):
        for name in early + late:
            subscribing = asyncio.create_task(client.subscribe(name))
            await peer.say(subscribed(await peer.hear()))
            await soon(subscribing)
        await peer.close(1012)
        await peer.welcome_to_a_machine()
        joining = [await peer.hear() for _ in early]

        leaving = asyncio.gather(*(client.unsubscribe(name) for name in [*early, "left"]))
        left = [await peer.hear() for _ in [*early, "left"]]
        for asked in joining:
            await peer.say(answer(asked))
        for asked in left:
            await peer.say({"id": asked["id"], "unsubscribed": asked["unsubscribe"]})
        await soon(leaving)

        asking = asyncio.create_task(client.ask({}))
        heard = [await peer.hear()]
        while "input" not in heard[-1]:
            heard.append(await peer.hear())
        assert [frame.get("subscribe") for frame in heard] == ["late", "later", None]
        await peer.say({"id": heard[-1]["id"], "result": {}})
        await soon(asking)


async def test_a_reader_that_is_dropped_holds_up_the_others_no_longer() -> None:
    async with machine(most_events=2) as (client, peer):
        reader, idle = client.events(Push), client.events(Push)
        subscribing = asyncio.create_task(client.subscribe("t"))
        await peer.say(subscribed(await peer.hear()))
        await soon(subscribing)
        for offset in range(1, 6):
            await peer.say({"push": {}, "topic": "t", "offset": offset})
        await take(reader, 2)
        for _ in range(5):  # whoever was woken by that sees that the other one has read nothing
            await asyncio.sleep(0)
        assert (len(reader), len(idle)) == (0, 2)
        del idle
        gc.collect()
        assert [push.offset for push in await take(reader, 3)] == [3, 4, 5]


# -- buses ----------------------------------------------------------------------------------------


async def publish(client: IncubatorClient, peer: Peer) -> None:
    publishing = asyncio.create_task(client.publish("x"))
    frame = await peer.hear()
    await peer.say({"type": "publish_ack", "callId": frame["callId"], "eventId": 1})
    assert await soon(publishing) == 1


async def subscribe(client: IncubatorClient, types: str) -> None:
    client.subscribe(types)


@pytest.mark.parametrize(
    "do",
    [
        lambda client: client.publish("x", "\udc80"),
        lambda client: subscribe(client, "\udc80"),
        lambda client: client.wait("x", timeout=math.inf),
    ],
)
async def test_what_can_t_be_sent_fails_and_is_in_nobody_s_way(
    do: Callable[[IncubatorClient], Coroutine[Any, Any, Any]],
) -> None:
    async with bus() as (client, peer):
        with pytest.raises((ValueError, OverflowError)):
            await soon(do(client))
        await publish(client, peer)


async def test_types_that_are_chosen_while_a_bus_is_joined_are_told() -> None:
    async with listening() as peer:
        client = IncubatorClient(peer.url, proxy=None, types=("a.*",))
        entering = asyncio.create_task(client.__aenter__())
        await peer.accept()
        assert "types=a." in peer.path
        client.subscribe("b.*")
        await peer.say({"type": "replay_done", "cursor": 0, "epoch": "e"})
        assert await peer.hear() == {"type": "subscribe", "types": ["b.*"]}
        await peer.say({"type": "pong"})
        await soon(entering)
        await client.close()


async def test_who_gives_up_while_it_claims_does_not_keep_the_resource() -> None:
    async with bus() as (client, peer):
        claiming = asyncio.create_task(client.claim("disk", ttl=3600).__aenter__())
        assert (await peer.hear())["type"] == "claim"
        claiming.cancel()
        released = await peer.hear()
        assert (released["type"], released["resource"]) == ("release", "disk")
        with pytest.raises(asyncio.CancelledError):
            await claiming


async def test_who_is_cancelled_while_it_gives_a_claim_back_does_both() -> None:
    async with bus() as (client, peer):
        claim = client.claim("disk", ttl=3600)
        claiming = asyncio.create_task(claim.__aenter__())
        asked = await peer.hear()
        await peer.say({"type": "ack", "callId": asked["callId"], "id": 1, "fence": 1})
        changed = {"resource": "disk", "owner": "me", "status": "held", "fence": 1}
        await peer.say({"type": "claim_changed", "id": 1, **changed})
        await soon(claiming)
        leaving = asyncio.create_task(claim.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await peer.hear())["type"] == "release"
        with pytest.raises(asyncio.CancelledError):
            await leaving


# -- panels and runs ------------------------------------------------------------------------------


async def test_two_triggers_with_one_request_id_are_both_answered() -> None:
    connected = {"type": "CONNECTED", "panelId": "p", "tools": [], "status": "running", "state": {}}
    async with listening() as peer:
        client = PanelClient(peer.url, proxy=None)
        entering = asyncio.create_task(client.__aenter__())
        await peer.accept()
        await peer.say({**connected, **LOG})
        await soon(entering)
        both = asyncio.gather(*(client.trigger("t", request_id="x") for _ in range(2)))
        for _ in range(2):
            assert (await peer.hear())["requestId"] == "x"
            await peer.say({"type": "RESULT", "requestId": "x", "result": {"status": "success"}})
        assert [result.status for result in await soon(both)] == ["success"] * 2
        await client.close()


async def test_who_waits_for_a_run_s_end_after_the_connection_s_is_told_so() -> None:
    run = {"id": "r", "machine": "m", "status": "running"}
    rest = {"cost": {}, "topology_version": 1, "nodes": {}, "open_gates": []}
    async with listening() as peer:
        client = RunClient(peer.url, proxy=None)
        entering = asyncio.create_task(client.__aenter__())
        await peer.accept()
        await peer.say({"type": "snapshot", "run": run, **rest, **LOG})
        await soon(entering)
        news = client.events()
        await peer.close(4404)
        for waiting in (anext(news), client.until_over()):
            with pytest.raises(ClientError):
                await soon(waiting)


# -- ends -----------------------------------------------------------------------------------------


async def test_who_is_cancelled_while_it_closes_is_cancelled() -> None:
    async with bus() as (client, _):
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(closing)
        assert client.connection_state == "closed"


class Leaving(IncubatorClient):
    """One that is closed just when its socket has broken, and its writer is to end."""

    closing: asyncio.Task[None] | None = None

    async def next(self) -> str:
        try:
            return await super().next()
        except asyncio.CancelledError:
            self.closing = asyncio.create_task(self.close())
            await asyncio.sleep(0)
            raise


async def test_who_closes_while_the_socket_breaks_is_done() -> None:
    async with bus(Leaving) as (client, peer):
        news = client.events()
        await peer.close(1012)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(news))
        await soon(client.closing)
        assert client.connection_state == "closed"


def fails(_: object) -> None:
    raise LookupError("A defect of the user's.")


async def is_cancelled() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize("option", [{"on_state": fails}, {"token": is_cancelled}])
async def test_a_callback_s_defect_ends_the_connection_and_is_told(option: dict[str, Any]) -> None:
    async with listening() as peer:
        with pytest.raises(ClientError) as caught:
            await soon(IncubatorClient(peer.url, proxy=None, **option).__aenter__())
        assert caught.value.code == "failed"
