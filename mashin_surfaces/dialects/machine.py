"""The machine dialect: what frames say, without a socket (``docs/websocket.md``).

*Plain* (default): bare objects of ``accepts`` in, bare objects of ``responds with`` out, refusals
as ``{"error": {…}}``. *Envelope* (subprotocol ``mashin.v1``): ``{"id", "input"}`` in, ``{"id",
"result"}`` or ``{"id", "error"}`` out, so that answers may come in any order.

``decode`` gives a command or raises ``Refusal``; everything else gives a frame's text, or None
where a spelling has no frame for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import orjson

from ..exceptions import Code, Refusal

#: Strict JSON to a dict; raises ``Refusal`` (invalid_json).
Loads = Callable[[str | bytes], dict[str, Any]]
Id = str | int | None

ENVELOPE = "mashin.v1"


@dataclass(frozen=True, slots=True)
class Invoke:
    """Run the machine with ``input``."""

    input: dict[str, Any]
    id: Id = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Go on with fresh credentials: a JWT or an API key."""

    token: str
    id: Id = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow a topic; what came after ``since`` (an offset of ``epoch``) first."""

    topic: str
    since: int | None = None
    epoch: str | None = None
    id: Id = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Follow a topic no longer."""

    topic: str
    id: Id = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Only with the envelope: bare frames have no room for the answer."""

    id: Id = None


Command = Invoke | Authenticate | Subscribe | Unsubscribe | Ping


class Dialect(Protocol):
    """One spelling of the same conversation."""

    subprotocol: ClassVar[str | None]
    ordered: ClassVar[bool]

    def decode(self, text: str | bytes) -> Command: ...
    def id_of(self, text: str | bytes) -> Id: ...
    def result(self, id: Id, body: bytes) -> str: ...
    def refusal(self, id: Id, error: dict[str, Any]) -> str: ...
    def authenticated(self, id: Id) -> str: ...
    def pong(self, id: Id) -> str | None: ...
    def done(self, id: Id) -> str | None: ...
    def subscribed(
        self, id: Id, topic: str, offset: int, epoch: str, recovered: bool
    ) -> str | None: ...
    def unsubscribed(self, id: Id, topic: str) -> str | None: ...

    @staticmethod
    def pushed(topic: str, offset: int, body: str) -> str:
        """A result that came by itself; ``offset`` 0: it is in no log."""

    @staticmethod
    def reset(topic: str, offset: int, epoch: str) -> str | None:
        """The topic's log was cleared; what comes next comes after ``offset``."""


class Plain:
    """Bare frames. ``fields``: the names in ``accepts``; they win over control words."""

    subprotocol: ClassVar[str | None] = None
    ordered: ClassVar[bool] = True  # without ids, only the order tells which answer is whose

    __slots__ = ("_fields", "_loads")

    def __init__(self, loads: Loads, fields: frozenset[str]) -> None:
        self._loads = loads
        self._fields = fields

    def decode(self, text: str | bytes) -> Command:
        value = self._loads(text)
        if "type" in value or "subscribe" in value or "unsubscribe" in value:
            return control(value, self._fields) or Invoke(value)
        return Invoke(value)

    def id_of(self, text: str | bytes) -> Id:
        return None

    def result(self, id: Id, body: bytes) -> str:
        return body.decode()

    def refusal(self, id: Id, error: dict[str, Any]) -> str:
        return orjson.dumps({"error": error}).decode()

    def authenticated(self, id: Id) -> str:
        return '{"type":"authenticated"}'

    def pong(self, id: Id) -> str | None:
        return None

    def done(self, id: Id) -> str | None:
        return None

    def subscribed(
        self, id: Id, topic: str, offset: int, epoch: str, recovered: bool
    ) -> str | None:
        return None

    def unsubscribed(self, id: Id, topic: str) -> str | None:
        return None

    @staticmethod
    def pushed(topic: str, offset: int, body: str) -> str:
        return body

    @staticmethod
    def reset(topic: str, offset: int, epoch: str) -> str | None:
        return None


class Envelope:
    """Frames with an ``id`` that the client chooses: a string or an integer."""

    subprotocol: ClassVar[str | None] = ENVELOPE
    ordered: ClassVar[bool] = False

    __slots__ = ("_loads",)

    def __init__(self, loads: Loads, fields: frozenset[str]) -> None:
        self._loads = loads

    def decode(self, text: str | bytes) -> Command:
        frame = self._loads(text)
        id = _checked_id(frame)
        if frame.get("type") == "ping":
            _no_more(frame, {"id", "type"})
            return Ping(id)
        other = control(frame, frozenset(), id, resuming=True)
        if other is not None:
            return other
        value = frame.get("input")
        if not isinstance(value, dict):
            raise Refusal(
                Code.UNKNOWN_MESSAGE, 'Send {"id": …, "input": {…}}: this has no object "input".'
            )
        surplus = frame.keys() - {"id", "input"}
        if surplus:
            raise Refusal(
                Code.UNKNOWN_MESSAGE, f"The envelope does not know {', '.join(sorted(surplus))}."
            )
        return Invoke(value, id)

    def id_of(self, text: str | bytes) -> Id:
        """The id of a frame that was refused, None when it has none that can be read."""
        try:
            return _checked_id(self._loads(text))
        except Refusal:
            return None

    def result(self, id: Id, body: bytes) -> str:
        return f'{{"id":{orjson.dumps(id).decode()},"result":{body.decode()}}}'

    def refusal(self, id: Id, error: dict[str, Any]) -> str:
        return orjson.dumps({"id": id, "error": error}).decode()

    def authenticated(self, id: Id) -> str:
        return orjson.dumps({"id": id, "authenticated": True}).decode()

    def pong(self, id: Id) -> str | None:
        return orjson.dumps({"id": id, "pong": True}).decode()

    def done(self, id: Id) -> str | None:
        return orjson.dumps({"id": id, "done": True}).decode()

    def subscribed(
        self, id: Id, topic: str, offset: int, epoch: str, recovered: bool
    ) -> str | None:
        return orjson.dumps(
            {
                "id": id,
                "subscribed": topic,
                "offset": offset,
                "epoch": epoch,
                "recovered": recovered,
            }
        ).decode()

    def unsubscribed(self, id: Id, topic: str) -> str | None:
        return orjson.dumps({"id": id, "unsubscribed": topic}).decode()

    @staticmethod
    def pushed(topic: str, offset: int, body: str) -> str:
        place = f',"offset":{offset}' if offset else ""
        return f'{{"push":{body},"topic":{orjson.dumps(topic).decode()}{place}}}'

    @staticmethod
    def reset(topic: str, offset: int, epoch: str) -> str | None:
        return orjson.dumps(
            {"reset": True, "topic": topic, "offset": offset, "epoch": epoch}
        ).decode()


def control(
    value: dict[str, Any], fields: frozenset[str], id: Id = None, *, resuming: bool = False
) -> Command | None:
    """The control command that a frame is, None when it is none.

    ``resuming``: a subscription may say what it has already.
    """
    if value.get("type") == "authenticate" and "type" not in fields:
        token = value.get("token")
        if not isinstance(token, str) or not token:
            raise Refusal(
                Code.UNKNOWN_MESSAGE, 'Send {"type": "authenticate", "token": "…"} with a token.'
            )
        return Authenticate(token, id)
    for word in ("subscribe", "unsubscribe"):
        if word in value and word not in fields:
            return _about_topic(word, value, id, resuming=resuming)
    return None


def _about_topic(word: str, value: dict[str, Any], id: Id, *, resuming: bool) -> Command:
    topic = value[word]
    if not isinstance(topic, str):
        raise Refusal(Code.UNKNOWN_MESSAGE, f'"{word}" names a topic: a text.')
    known = {word, "id"} if resuming else {word}
    if word == "unsubscribe":
        _no_more(value, known)
        return Unsubscribe(topic, id)
    since, epoch = value.get("since"), value.get("epoch")
    if resuming:
        _no_more(value, {*known, "since", "epoch"})
        is_offset = isinstance(since, int) and not isinstance(since, bool)
        if since is not None and not (is_offset and since >= 0):
            raise Refusal(Code.UNKNOWN_MESSAGE, '"since" is the offset of the last push you have.')
        if epoch is not None and not isinstance(epoch, str):
            raise Refusal(Code.UNKNOWN_MESSAGE, '"epoch" is the text that came with "subscribed".')
    else:
        _no_more(value, known)
    return Subscribe(topic, since, epoch, id)


def _no_more(value: dict[str, Any], known: set[str]) -> None:
    surplus = value.keys() - known
    if surplus:
        raise Refusal(
            Code.UNKNOWN_MESSAGE, f"This message does not know {', '.join(sorted(surplus))}."
        )


def _checked_id(frame: dict[str, Any]) -> Id:
    id = frame.get("id")
    if id is None or isinstance(id, bool) or not isinstance(id, str | int):
        raise Refusal(Code.UNKNOWN_MESSAGE, 'Every frame needs an "id": a string or an integer.')
    if isinstance(id, str) and len(id) > MAX_ID:
        raise Refusal(Code.UNKNOWN_MESSAGE, f'An "id" has at most {MAX_ID} characters.')
    return id


MAX_ID = 128

DIALECTS: dict[str | None, type[Plain] | type[Envelope]] = {None: Plain, ENVELOPE: Envelope}
