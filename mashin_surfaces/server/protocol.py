"""One websocket: Daphne's protocol with bounded memory both ways, true refusals and close codes.

Towards the application it is plain ASGI (``websocket`` 2.3 with the "Websocket Denial Response"
extension), and one key more: ``websocket.accept`` may carry ``max_message``, the most bytes of one
message on this socket. Daphne and autobahn do the handshake, pings, fragments and everything odd.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus
from http.client import responses
from typing import Any

from autobahn.util import encode_truncate
from daphne import ws_protocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer

from mashin_surfaces.server import frames
from mashin_surfaces.server.inbox import Event, Inbox

Headers = Iterable[tuple[bytes, bytes]]

#: Close codes that may be sent (RFC 6455, section 7.4, and IANA's registry): 1004, 1005, 1006 and
#: 1015 are reserved and never stand in a close frame.
SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
GOING_AWAY = 1012
#: Most bytes of a close frame's reason.
REASON_BYTES = 123
#: ``send`` lets the other sockets have a turn after so many messages, also when it need not wait.
TURN = 64

_OPEN = ws_protocol.WebSocketProtocol.STATE_OPEN
_STATUS_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


@implementer(IPushProducer)  # the application, as the transport sees it: paused when it is too fast
class WebSocketProtocol(ws_protocol.WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """A socket from its handshake to its end."""

    #: Daphne's server, from the moment that the request is known to be a websocket's.
    server: Any = None
    inbox: Inbox
    #: What has come and is not understood yet.
    data: bytes
    _gate: asyncio.Event | None = None
    _shut_since = 0.0
    _socket: Any = None
    _sent = 0
    _short = 0
    _refusal: Event | None = None
    _refusal_begun = False

    # The application sends

    async def send(self, message: Event) -> None:
        """The application's ``send``. Waits while the client does not take what was sent before.

        Nothing is sent on a socket that is closed, as with Daphne; the application learns of it
        by its ``websocket.disconnect``.
        """
        kind = message["type"]
        if kind in ("websocket.send", "websocket.http.response.body"):
            while self._gate is not None:
                await self._gate.wait()
            self._sent += 1
            if self.state == self.STATE_CLOSED or not self._sent % TURN:
                await asyncio.sleep(0)  # a loop of sends starves nobody
            if kind == "websocket.send":
                self._send_message(message)
                return
        self.handle_reply(message)

    def handle_reply(self, message: Event) -> None:
        """Everything but messages: accept, close, and the parts of a refusal."""
        if self.state in (self.STATE_CLOSING, self.STATE_CLOSED):
            return
        kind = message["type"]
        if kind == "websocket.close":
            self._close(message.get("code") or 1000, message.get("reason") or "")
        elif self.state != self.STATE_CONNECTING:
            raise RuntimeError(f"The socket is open: {kind} comes before websocket.accept.")
        elif kind == "websocket.http.response.start":
            self._refusal = message
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._refuse_body(message.get("body", b""), message.get("more_body", False))
        elif kind == "websocket.accept" and self._refusal is None:
            self._accept(message)
        else:
            raise RuntimeError(f"A message of the type {kind} is not expected here.")

    def _send_message(self, message: Event) -> None:
        if self.state == self.STATE_CONNECTING:
            raise RuntimeError("The socket is not accepted: send websocket.accept first.")
        if self.state != self.STATE_OPEN:
            return
        text, data = message.get("text"), message.get("bytes")
        if text is not None and data is None:
            self._write(self.server.last_text.framed(text))
        elif data is not None and text is None:
            self._write(frames.frame(frames.BINARY, data))
        else:
            raise ValueError("websocket.send carries text or bytes: one of them, and not both.")

    def _write(self, data: bytes) -> None:
        """Straight to the operating system when nothing waits before it; the rest, and all of it
        where that is not possible, by way of the transport."""
        transport = self.transport
        if self._socket and not (transport.dataBuffer or transport._tempDataBuffer):
            try:
                taken = self._socket.send(data)
            except OSError:  # full, or broken: the transport finds out
                taken = 0
            if taken == len(data):
                return
            data = data[taken:]
        transport.write(data)

    def push(self, text: str) -> bool:
        """Send a text at once, without a coroutine, where nothing waits before it.

        False, and nothing is done, when the socket is not open, or not idle: ``send`` is the way
        then. On the event loop's thread only. A broadcast calls it for each of its sockets, so
        it does what ``_write`` does in fewer steps.
        """
        if self.state != _OPEN or (socket := self._socket) is None:
            return False
        transport = self.transport
        if transport._tempDataBuffer or transport.dataBuffer:
            return False
        last = self.server.last_text
        data = last.frame if text is last.text else last.framed(text)
        try:
            taken = socket.send(data)
        except OSError:
            taken = 0
        if taken != len(data):
            transport.write(data[taken:])
        return True

    def _accept(self, message: Event) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.websocket_protocols:
            raise ValueError(f"The client does not offer the subprotocol {subprotocol!r}.")
        headers: dict[str, list[str]] = {}
        for name, value in _clean(message.get("headers", ())):
            if name.lower() == b"sec-websocket-protocol":
                raise ValueError("The subprotocol goes into the key subprotocol, not the headers.")
            headers.setdefault(name.decode("ascii"), []).append(value.decode())
        if message.get("max_message") is not None:
            self.maxMessagePayloadSize = self.maxFramePayloadSize = message["max_message"]
        self.serverAccept((subprotocol, headers))

    def _close(self, code: int, reason: str) -> None:
        if self.state == self.STATE_CONNECTING:
            self.serverReject()
            return
        if code not in SENDABLE_CODES:
            raise ValueError(
                f"{code} can't be sent as a close code: use 1000–1003, 1007–1014 or 3000–4999."
            )
        self.sendCloseFrame(code, encode_truncate(reason, REASON_BYTES))
        self.inbox.end(_disconnect(code, reason), discard=True)

    def go_away(self) -> None:
        """The server stops: say so to both sides."""
        if self.state == self.STATE_CONNECTING:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        elif self.state == self.STATE_OPEN:
            self.sendCloseFrame(GOING_AWAY)
        if self.server is not None:
            self.inbox.end(_disconnect(GOING_AWAY, ""))

    # The handshake is refused

    def refuse(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Answer the handshake with an HTTP response, and close the connection."""
        self._refusal = {"status": status, "headers": headers}
        self._refuse_body(body, more=False)

    def _refuse_body(self, body: bytes, more: bool) -> None:
        assert self._refusal is not None  # noqa: S101  the callers have looked
        if not self._refusal_begun:
            head = _head(self._refusal, None if more else len(body))
            self._watch_transport()
            self._refusal_begun = True
            self.transport.write(head)
        if self._refusal["status"] not in _STATUS_WITHOUT_BODY:
            self.transport.write(bytes(body))
        if not more:
            self.wasNotCleanReason = "the application refused the handshake"
            self.dropConnection(abort=False)
            self.server.protocol_disconnected(self)
            self._log("rejected")

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802  Daphne's name
        self._close(code or 1000, "")

    def serverReject(self) -> None:  # noqa: N802  Daphne's name
        if self._refusal_begun:
            self.dropConnection(abort=True)
        else:
            self.refuse(HTTPStatus.FORBIDDEN)

    def sendHttpErrorResponse(  # noqa: N802  autobahn's name
        self,
        code: int,
        reason: str,
        responseHeaders: Any = None,  # noqa: N803
    ) -> None:
        """Autobahn refuses a handshake that is wrong."""
        headers = [
            (str(name).encode(), str(value).encode()) for name, value in responseHeaders or ()
        ]
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
        body = reason.encode()
        self.transport.write(_head({"status": code, "headers": headers}, len(body)) + body)

    def onOpenHandshakeTimeout(self) -> None:  # noqa: N802  autobahn's name
        self.openHandshakeTimeoutCall = None
        if self.server is not None and self.state == self.STATE_CONNECTING:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            super().onOpenHandshakeTimeout()

    # The application ends

    def handle_exception(self, exception: BaseException) -> None:
        self.handle_end(1011)

    def handle_end(self, code: int = 1000) -> None:
        """The application is gone; a socket that it left behind is of no use to anyone."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code)
            self.inbox.end(_disconnect(code, ""), discard=True)
        elif self.state == self.STATE_CONNECTING and self._refusal_begun:
            self.dropConnection(abort=True)
        elif self.state == self.STATE_CONNECTING:
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    # The client sends

    def onOpen(self) -> None:  # noqa: N802  autobahn's name
        self._watch_transport()
        if isinstance(self.transport, Connection) and not getattr(self.transport, "TLS", False):
            self._socket = self.transport.getHandle()
        limits = (self.maxMessagePayloadSize, self.maxFramePayloadSize)
        self._short = min(limit or frames.LONGEST for limit in (*limits, frames.LONGEST))
        self.transport.resumeProducing()  # what came before its time has waited
        super().onOpen()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        if self.state != self.STATE_OPEN or self.inside_message or self.current_frame:
            self._dataReceived(data)
            return
        # Between messages: short whole ones are taken here, the rest is for autobahn.
        if self.data:
            data, self.data = self.data + data, b""
        position, size, inbox, limit = 0, len(data), self.inbox, self._short
        while position < size and not inbox.held:
            end, payload = frames.short_frame(data, position, limit)
            if end <= 0:
                break
            inbox.put(payload)
            position = end
        else:
            end = -1
        if position:
            self._heard()
            data = data[position:]
        self.data = data
        if end == 0:
            self.consumeData()

    def consumeData(self) -> None:  # noqa: N802  autobahn's name
        if self.state == self.STATE_CONNECTING:
            if self.server is not None:  # the application has not answered the handshake yet
                self.transport.pauseProducing()
            else:
                super().consumeData()
            return
        while not self.failedByMe and not self.inbox.held and self.state != self.STATE_CLOSED:
            if not self.processData():
                return
        if self.failedByMe:  # after a broken frame nothing can be understood
            self.data = b""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803  autobahn's
        self._heard()
        self.inbox.put(payload if isBinary else payload.decode())

    def _heard(self) -> None:
        self.last_ping = time.time()
        if self.autoPingTimeoutCall:
            self._cancelAutoPingTimeoutCall()

    def hold(self) -> None:
        """The application is slow: read no more. A pong would not be read either."""
        self._heard()
        self.transport.pauseProducing()

    def release(self) -> None:
        """It has caught up."""
        self._heard()
        self.transport.resumeProducing()
        if self.data and self.state != self.STATE_CLOSED:
            self.dataReceived(b"")

    # The connection

    def _watch_transport(self) -> None:
        self.transport.unregisterProducer()  # the place is held by the HTTP channel
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport holds more than it likes (64 KiB): ``send`` waits."""
        if self._gate is None:
            self._gate = asyncio.Event()
            self._shut_since = time.monotonic()

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport is empty, or gone: whoever waits in ``send`` goes on."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    stopProducing = resumeProducing  # noqa: N815  Twisted's name

    def unregisterProducer(self) -> None:  # noqa: N802  autobahn's name
        super().unregisterProducer()
        self.resumeProducing()

    def check_timeouts(self) -> None:
        """Every two seconds. A client whose socket we do not read is not pinged; it is dropped
        when it takes nothing for as long as a pong may take."""
        if self.state == self.STATE_CONNECTING:
            return  # Daphne would say 403; ``onOpenHandshakeTimeout`` says 503
        if self.state == self.STATE_OPEN and self.inbox.held:
            self._heard()
            patience = self.server.ping_interval + (self.server.ping_timeout or 0)
            shut = time.monotonic() - self._shut_since if self._gate else 0
            if self.server.ping_timeout and shut > patience:
                self.dropConnection(abort=True)
        elif self.autoPingTimeoutCall:
            self.last_ping = time.time()  # one ping at a time: each has its own deadline
        super().check_timeouts()

    def _fail_connection(self, code: int = 1001, reason: str = "") -> None:
        """The client broke the protocol or a limit. Autobahn would drop the connection without a
        word; we say why, and read on without listening until the client has read it."""
        if self.state != self.STATE_OPEN:
            self.dropConnection(abort=True)
            return
        self.failedByMe = True
        self.sendCloseFrame(code, encode_truncate(reason, REASON_BYTES))
        self.inbox.end(_disconnect(code, reason))
        if self._socket:
            self.unregisterProducer()
            self.transport.loseWriteConnection()

    def onClose(self, wasClean: bool, code: int | None, reason: str) -> None:  # noqa: N802, N803
        self.resumeProducing()
        if self.server is None:
            return  # autobahn refused it: no application has heard of it
        if self.closedByMe:
            code = self.localCloseCode
        self.inbox.end(_disconnect(1005 if code is None else code, self.remoteCloseReason or ""))
        self.server.protocol_disconnected(self)
        self._log("disconnected")

    def _log(self, action: str) -> None:
        client = ":".join(map(str, self.client_addr)) if self.client_addr else None
        self.server.log_action("websocket", action, {"path": self.request.path, "client": client})


def _disconnect(code: int, reason: str) -> Event:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _clean(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers as pairs of bytes; none of them may end its line and begin another."""
    pairs = [(bytes(name), bytes(value)) for name, value in headers]
    for name, value in pairs:
        if any(mark in part for part in (name, value) for mark in (b"\r", b"\n", b"\0")):
            raise ValueError(f"The header {name!r} holds a line break.")
    return pairs


def _head(response: Event, length: int | None) -> bytes:
    """An HTTP response up to its body. Without a ``length`` the end of the connection is the
    body's end; the connection ends in any case."""
    status = int(response["status"])
    headers = [
        (name, value)
        for name, value in _clean(response.get("headers", ()))
        if name.lower() not in (b"connection", b"transfer-encoding")
    ]
    if length is not None and status not in _STATUS_WITHOUT_BODY:
        headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", b"%d" % length))
    headers.append((b"connection", b"close"))
    lines = [
        f"HTTP/1.1 {status} {responses.get(status, '')}".encode(),
        *(b": ".join(pair) for pair in headers),
    ]
    return b"\r\n".join([*lines, b"", b""])
