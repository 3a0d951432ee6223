"""Daphne's server, hardened: it hands out our websockets, looks after their applications, and
ends cleanly. ``protocol.py`` has the life of one socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any

from mashin_surfaces.server import loop as _loop  # noqa: F401  before Daphne chooses a reactor

from daphne import server as daphne_server  # isort: skip
from twisted.internet import defer, reactor
from twisted.logger import LogLevel, STDLibLogObserver, globalLogPublisher

from mashin_surfaces.server.access import redacted
from mashin_surfaces.server.frames import LastText
from mashin_surfaces.server.inbox import Event, Inbox
from mashin_surfaces.server.protocol import WebSocketProtocol
from mashin_surfaces.server.streaming import Stream

logger = logging.getLogger("mashin_surfaces.server")

Application = Callable[..., Awaitable[None]]
#: Seconds that applications get to end after a SIGTERM, and then, cancelled, to clean up.
GRACE = 15.0
CANCELLED_GRACE = 3.0
#: Seconds between two looks for connections whose time is over.
LOOK = 2.0
#: Seconds that a client gets to answer a close frame.
CLOSE_GRACE = 5.0
#: The websocket scope's extension by which a text is sent without waiting:
#: ``scope["extensions"][PUSH]["push"](text)``; see ``WebSocketProtocol.push``.
PUSH = "mashin_surfaces.push"


_twisted_log = STDLibLogObserver(logger.name)


def _log_errors(event: dict[str, Any]) -> None:
    if event["log_level"] is LogLevel.critical:
        _twisted_log(event)


def loop_name() -> str:
    """``uvloop`` or ``asyncio``."""
    return type(reactor._asyncioEventloop).__module__.partition(".")[0]


class Server(daphne_server.Server):  # type: ignore[misc]  # Daphne has no types
    """Daphne's server with our websockets. ``sockets``: bound ones that listen already, besides
    the endpoints."""

    def __init__(
        self,
        application: Application,
        endpoints: Sequence[str] = (),
        *,
        sockets: Sequence[socket.socket] = (),
        ready_callable: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        # Daphne wants to know at once that there is something to listen on.
        super().__init__(application, [*endpoints, *sockets], **options)
        self.endpoints = list(endpoints)
        self.last_text = LastText()
        self._sockets = sockets
        self._ports: list[Any] = []
        self._ready = ready_callable
        self._streams: dict[Any, Stream] = {}
        self._is_ending = False
        self.ready_callable = self._before_running

    def run(self) -> None:
        """Serve until a signal or ``stop()``; ``abort_start`` is true when it could not listen."""
        try:
            super().run()
        finally:
            self._cancel_tasks()

    def _before_running(self) -> None:
        self.ws_factory.protocol = WebSocketProtocol
        self.ws_factory.setProtocolOptions(
            echoCloseCodeReason=True, closeHandshakeTimeout=CLOSE_GRACE
        )
        # Daphne sends Twisted's log nowhere; what went wrong inside it should be seen.
        globalLogPublisher.addObserver(_log_errors)  # type: ignore[arg-type]  # zope's
        for each in self._sockets:
            self.listen_success(
                reactor.adoptStreamPort(each.fileno(), each.family, self.http_factory)
            )
        # What is loaded by now stays. Each full collection walked through it (100,000 objects of
        # this app alone), and nobody was served for so long.
        gc.collect()
        gc.freeze()
        if self._ready:
            reactor.callWhenRunning(self._ready)  # signals are heard from then on

    def listen_success(self, port: Any) -> None:
        self._ports.append(port)
        super().listen_success(port)

    # Applications

    def create_application(self, protocol: Any, scope: MutableMapping[str, Any]) -> Any:
        if scope["type"] != "websocket":
            queue = super().create_application(protocol, scope)
        else:
            queue = self._create_websocket(protocol, scope)
        if task := self.connections.get(protocol, {}).get("application_instance"):
            task.add_done_callback(partial(self._application_ended, protocol))
        return queue

    def _create_websocket(self, protocol: Any, scope: MutableMapping[str, Any]) -> Inbox:
        inbox = protocol.inbox = Inbox(protocol.hold, protocol.release)
        secure = (
            protocol.transport_details.is_secure
            or getattr(protocol, "client_scheme", None) == "https"
        )
        scope["scheme"] = "wss" if secure else "ws"
        scope["extensions"] = {"websocket.http.response": {}, PUSH: {"push": protocol.push}}
        scope.setdefault("asgi", {"version": "3.0"})
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(
            self.application(scope, inbox.receive, protocol.send)
        )
        if self._is_ending:  # once its handshake has been read
            asyncio.get_running_loop().call_soon(protocol.go_away)
        return inbox

    async def handle_reply(self, protocol: Any, message: Event) -> None:
        """An HTTP application's ``send``. Waits while the client does not take what was sent
        before; does nothing when the client is gone."""
        if message.get("more_body") and protocol not in self._streams:
            if "disconnected" in self.connections.get(protocol, {"disconnected": True}):
                await asyncio.sleep(0)  # a loop of sends starves nobody
                return
            begun = self._streams[protocol] = Stream(protocol)
            if self._is_ending and begun.is_endless:
                protocol.send_disconnect()
        if stream := self._streams.get(protocol):
            await stream.turn()
        if stream and not message.get("more_body"):
            self._end_stream(protocol)
        await super().handle_reply(protocol, message)

    def _end_stream(self, protocol: Any) -> None:
        if stream := self._streams.pop(protocol, None):
            stream.end()

    def timeout_checker(self) -> None:
        """Every two seconds, whatever happens in one of them."""
        asyncio.get_running_loop().call_later(LOOK, self.timeout_checker)
        if self.ping_timeout:
            for stream in list(self._streams.values()):
                stream.drop_idle(self.ping_interval + self.ping_timeout)
        for protocol in list(self.connections):
            try:
                protocol.check_timeouts()
            except Exception:  # Daphne ends a response twice, for one
                logger.exception("The timeouts of a connection can't be checked.")

    def application_checker(self) -> None:
        """Every second. Who ended in this very turn of the loop is ours all the same."""
        for protocol, details in list(self.connections.items()):
            task = details.get("application_instance")
            if task is not None and task.done():
                try:
                    self._application_ended(protocol, task)
                except Exception:
                    logger.exception("The end of an application can't be told to its client.")
        super().application_checker()

    def _application_ended(self, protocol: Any, task: asyncio.Task[None]) -> None:
        """At once, and not only when Daphne looks for it, once a second."""
        details = self.connections.get(protocol)
        if details is None or details.pop("application_instance", None) is not task:
            return
        exception = None if task.cancelled() else task.exception()
        if exception is not None:
            logger.error("The application failed: %s", exception, exc_info=exception)
        if "disconnected" in details:
            del self.connections[protocol]
        elif isinstance(protocol, WebSocketProtocol):
            protocol.handle_end(1000 if exception is None else 1011)
        elif protocol._response_started:
            protocol.loseConnection()
        else:
            protocol.handle_exception(exception)

    def protocol_disconnected(self, protocol: Any) -> None:
        self._end_stream(protocol)
        if details := self.connections.get(protocol):
            super().protocol_disconnected(protocol)
            if "application_instance" not in details:
                del self.connections[protocol]

    def log_action(self, protocol: str, action: str, details: Event) -> None:
        super().log_action(protocol, action, {**details, "path": redacted(details["path"])})

    # The end

    def kill_all_applications(self) -> Any:
        """Called when the reactor is told to stop; it waits for what this returns."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._wind_down()))

    async def _wind_down(self) -> None:
        """Take no more connections, tell every socket and its application, wait for them."""
        self._is_ending = True
        for port in self._ports:
            port.stopListening()
        sockets = [each for each in self.connections if isinstance(each, WebSocketProtocol)]
        for each in sockets:
            each.go_away()
        for request, stream in self._streams.items():
            if stream.is_endless:
                request.send_disconnect()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GRACE
        # Also who comes over a connection that was there before.
        while (tasks := self._applications()) and loop.time() < deadline:
            await asyncio.wait(tasks, timeout=deadline - loop.time())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCELLED_GRACE)
        sockets = [each for each in self.connections if isinstance(each, WebSocketProtocol)]
        if sockets:
            closed = [each.is_closed.asFuture(asyncio.get_running_loop()) for each in sockets]
            await asyncio.wait(closed, timeout=CLOSE_GRACE)

    def _applications(self) -> list[asyncio.Task[None]]:
        found = (details.get("application_instance") for details in self.connections.values())
        return [task for task in found if task is not None and not task.done()]

    def _cancel_tasks(self) -> None:
        """What applications left running in the background ends with the loop, in order."""
        loop = reactor._asyncioEventloop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=CANCELLED_GRACE))
        loop.run_until_complete(loop.shutdown_asyncgens())
