"""Members of rooms for the tests: they keep what they were told, and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from uuid import uuid4

from mashin_surfaces.rooms import log
from mashin_surfaces.rooms.appending import Append, append_here
from mashin_surfaces.rooms.events import Event, NewEvent
from mashin_surfaces.rooms.hub import Hub
from mashin_surfaces.rooms.live import Joined, Place
from mashin_surfaces.rooms.outbox import Outbox

#: Seconds within which anything happens that is waited for.
DEADLINE = 20.0


class Follower:
    """A member with a socket of its own, which can be closed for a while.

    ``told``: in order, ``(offset, payload)`` of each event and ``("reset", epoch, offset)``;
    events that are in no log have the offset 0.
    """

    merge: Callable[[Sequence[Event]], Sequence[Event]] | None = None

    def __init__(self, spelling: Hashable = "plain", names: Sequence[str] = ()) -> None:
        self.spelling = spelling
        self.names = names
        self.told: list[tuple[int | str, ...]] = []
        self.joined: Joined | None = None
        self.closed: list[str] = []
        self.encoded: list[int] = []
        self.overflows = 0
        self.may = True
        self.place: Place | None = None
        self.outbox = Outbox(self._send, None, self._overflow)
        self._gate = asyncio.Event()
        self._gate.set()
        self._news = asyncio.Event()

    # -- as the hub sees it -----------------------------------------------------------------------

    def encode(self, event: Event) -> str | None:
        self.encoded.append(event.offset)
        self._news.set()
        return f"{event.offset} {event.payload}"

    def may_replay(self) -> bool:
        return self.may

    def was_reset(self, epoch: str, offset: int) -> None:
        self.outbox.push(f"reset {epoch} {offset}")

    def was_closed(self, reason: str, is_gone: bool = False) -> None:
        self.closed.append(reason)
        self._news.set()

    # -- its socket -------------------------------------------------------------------------------

    async def _send(self, text: str) -> None:
        await self._gate.wait()
        first, _, rest = text.partition(" ")
        if first == "reset":
            epoch, _, offset = rest.partition(" ")
            self.told.append(("reset", epoch, int(offset)))
        else:
            self.told.append((int(first), rest))
        self._news.set()

    def _overflow(self) -> None:
        self.overflows += 1
        self._news.set()

    def stop_reading(self) -> None:
        self._gate.clear()

    def read_on(self) -> None:
        self._gate.set()

    # -- as the tests see it ----------------------------------------------------------------------

    async def join(
        self,
        hub: Hub,
        room: int,
        *,
        since: int | None = None,
        epoch: str | None = None,
        back: int = 0,
    ) -> Joined:
        self.place = await hub.join(room, self, self._welcome, since=since, epoch=epoch, back=back)
        assert self.joined is not None
        return self.joined

    async def is_followed(self) -> None:
        """Returns when this process is surely in the group of its room, and has read what may have
        been rung before it was."""
        assert self.place is not None
        async with asyncio.timeout(DEADLINE):
            await self.place.room.followed.wait()
            while self.place.room.filling is not None:
                await asyncio.wait([self.place.room.filling])

    def _welcome(self, joined: Joined) -> None:
        assert self.joined is None, "it is welcomed once"
        assert self.told == [], "it is welcomed first"
        self.joined = joined

    def leave(self, hub: Hub) -> None:
        assert self.place is not None
        hub.leave(self.place)
        self.outbox.close()

    @property
    def offsets(self) -> list[int]:
        """Offsets of the events that it was told."""
        return [int(each[0]) for each in self.told if each[0] != "reset"]

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns when it holds; looks whenever something is encoded or told."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def has(self, offsets: Iterable[int]) -> None:
        """Returns when it was told as many events; they must be these, in this order."""
        wanted = list(offsets)
        await self.until(lambda: len(self.offsets) >= len(wanted))
        assert self.offsets == wanted


async def new_room() -> int:
    """A room that nobody else has."""
    return (await log.aroom_of("topic", uuid4().hex)).id


def events(*payloads: object) -> list[NewEvent]:
    return [NewEvent("t", str(payload)) for payload in payloads]


async def unheard(room: int, number: int) -> None:
    """Events of which no bell is heard: the layer lost it, or the process died behind COMMIT."""
    item = Append(room, events(*range(number)))
    await log.room_threads.run(append_here, [item], log.database(), lambda bells: None)
    item.outcome()
