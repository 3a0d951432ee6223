"""What the clients of all four dialects have in common: a connection that comes back, calls that
are answered once, and readers of events. What frames mean is left to them."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, overload
from uuid import uuid4

from .connection import FRAME_TOO_BIG, Connection, ConnectionState, Token
from .errors import ClientError
from .inbox import Inbox, Inboxes
from .outgoing import Outgoing

E = TypeVar("E")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Frame = dict[str, Any]
Proxy = str | Literal[True] | None


class Client(Generic[E]):
    """An asynchronous context manager: inside, it is connected, and stays so.

    Entering waits until the server has said how things stand, however long that takes (bound it by
    ``asyncio.timeout``); it raises ``Refused`` when the server does not let it in.

    ``token``: a JWT or API key, or what gives one (a function, maybe a coroutine's), which is asked
    before each connection. ``most_events``: how many may wait for a reader. ``most_calls``: how
    many may wait for their answers; more wait for their turn. ``on_state`` hears of each new state.
    """

    subprotocol: str | None = None
    #: The classes of its events.
    kinds: tuple[type[Any], ...] = ()

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        most_events: int = 1_000,
        most_calls: int = 32,
        proxy: Proxy = True,
        on_state: Callable[[ConnectionState], None] | None = None,
    ) -> None:
        self._connection = Connection(
            url, self, token=token, subprotocol=self.subprotocol, proxy=proxy
        )
        self._inboxes: Inboxes[Any] = Inboxes(most_events)
        self._outgoing = Outgoing(most_calls, self._inboxes.changed.set)
        self._on_state = on_state
        self._reason: ClientError | None = None
        self._welcome: asyncio.Future[None] | None = None

    # -- for who uses it ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._welcome = asyncio.get_running_loop().create_future()
        self._connection.start()
        try:
            await self._welcome
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave. Calls that are not answered fail with ``closed``; iterators end."""
        await self._connection.close()

    @property
    def connection_state(self) -> ConnectionState:
        """Where the connection is: ``open`` once everything that was missed is there again."""
        return self._connection.state

    @overload
    def events(self) -> Inbox[E]: ...
    @overload
    def events(self, kind: type[A], /) -> Inbox[A]: ...
    @overload
    def events(self, kind: type[A], other: type[B], /) -> Inbox[A | B]: ...
    @overload
    def events(self, kind: type[A], other: type[B], third: type[C], /) -> Inbox[A | B | C]: ...
    def events(self, *kinds: type[Any]) -> Inbox[Any]:
        """What comes from now on, each once, in order; with ``kinds`` only events of those classes.

        Several may read at the same time, each gets all. Who reads too slowly holds up the
        connection, which then takes up again where it was.
        """
        wanted = kinds or self.kinds
        return self._inboxes.open(lambda event: isinstance(event, wanted))

    # -- for the dialects -----------------------------------------------------------------------

    @abstractmethod
    def query(self) -> Mapping[str, str]:
        """What the next connection is asked for."""

    @abstractmethod
    def _hear(self, frame: Frame) -> None:
        """Take a frame: fold it, tell it, answer by it."""

    def joined(self) -> None:
        """A socket is open; nothing came over it yet."""
        self._reason = None

    def _tell(self, event: Any) -> None:
        self._inboxes.put(event)

    def _welcomed(self) -> None:
        """Everything that was missed is there: say what waits to be said."""
        self._connection.settled()
        self._outgoing.go()
        self._entered()

    def _entered(self) -> None:
        """Who entered the client may go on."""
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_result(None)

    async def _ask(self, id: str, text: str, *, is_repeatable: bool = True) -> Any:
        return await self._outgoing.ask(id, lambda: text, is_repeatable=is_repeatable)

    # -- for the connection ---------------------------------------------------------------------

    async def take(self, text: str) -> None:
        frame = json.loads(text)
        if isinstance(frame, dict):
            if frame.keys() == {"error"}:  # of servers that can't refuse an upgrade in words
                self._reason = ClientError.of(frame["error"])
            else:
                self._hear(frame)
        changed = self._inboxes.changed
        while self._inboxes.is_full:
            if self._inboxes.is_overfull:
                message = "Events wait to be read: read them in a task of their own."
                self._outgoing.fail_all(ClientError("slow_reader", message))
            elif self._outgoing.is_waiting:
                return
            changed.clear()
            await changed.wait()

    async def next(self) -> str:
        return await self._outgoing.next()

    def reason(self) -> ClientError | None:
        return self._reason

    def left(self, close_code: int) -> None:
        if close_code == FRAME_TOO_BIG:
            self._outgoing.fail_sent(ClientError("too_large", "What was sent is too large."))
        self._outgoing.hold()

    def ended(self, error: ClientError) -> None:
        self._outgoing.end(error)
        self._inboxes.finish(error)
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(error)

    def state_changed(self, state: ConnectionState) -> None:
        if self._on_state is not None:
            self._on_state(state)


def new_id() -> str:
    """An id that nobody else gives."""
    return uuid4().hex


def spelled(frame: Mapping[str, Any], **optional: Any) -> str:
    """A frame as text; ``optional`` fields that are None are left out.

    Raises ``ValueError`` or ``TypeError`` for what JSON or UTF-8 does not have.
    """
    said = {**frame, **{name: value for name, value in optional.items() if value is not None}}
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()  # half a surrogate pair would end the writer
    return text
