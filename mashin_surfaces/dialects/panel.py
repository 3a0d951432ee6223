"""The panel dialect: what frames say, without a socket (``docs/panels.md``).

``decode`` gives a command or raises ``Refusal``; the functions below it give frames. What is JSON
text already (a state, a logged payload, a result) goes into a frame as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from ..exceptions import Code, Refusal

MOST_REQUEST_ID = 63
MOST_TOPICS = 100
MOST_TOPIC = 200
MOST_DEPTH = 64  # objects and lists in one another, as machines take them
#: How request ids begin that the server gave itself; no frame shows them.
OWN = "~"

#: A defect of a frame: a JSON Pointer, a code, a sentence.
Detail = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """Run a tool. ``expect``: only when the panel is at this offset."""

    tool: str
    args: Any = None
    request_id: str | None = None
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Get these topics, too."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Get these topics no longer."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a trigger of one's own."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Answer a suspension, with a value or an error."""

    suspension_id: str
    value: Any = None
    error: str | None = None


Command = Trigger | Subscribe | Unsubscribe | Ping | Cancel | Resume


# -- client → server ------------------------------------------------------------------------------


def decode(text: str | bytes) -> Command:
    """The command of a frame; keys that it does not know are passed over.

    Raises ``Refusal``: invalid_json, with details, for what is not JSON, no object, or has a field
    that is missing or of the wrong type; unknown_message for another ``type``.
    """
    frame = _object(text)
    if _is_too_deep(text, frame):
        raise Refusal(Code.INVALID_JSON, f"A message is nested at most {MOST_DEPTH} levels deep.")
    match frame.get("type"):
        case "TRIGGER":
            return Trigger(
                _text(frame, "tool", 200),
                frame.get("args"),
                _request_id(frame),
                _expect(frame),
            )
        case "SUBSCRIBE":
            return Subscribe(_topics(frame))
        case "UNSUBSCRIBE":
            return Unsubscribe(_topics(frame))
        case "PING":
            return Ping()
        case "CANCEL":
            request_id = _request_id(frame)
            if request_id is None:
                raise _broken("/requestId", "missing", "It says which request to cancel.")
            return Cancel(request_id)
        case "RESUME":
            error = frame.get("error")
            if error is not None and not isinstance(error, str):
                raise _broken("/error", "type", "An error is a text.")
            return Resume(_text(frame, "suspensionId", 64), frame.get("value"), error)
        case str() as other:
            raise Refusal(Code.UNKNOWN_MESSAGE, f'There is no message "{other[:50]}".')
        case _:
            raise _broken("/type", "missing", 'Every message has a "type": a text.')


def request_id_of(text: str | bytes) -> str | None:
    """The request id of a frame that was refused, when it can be read."""
    try:
        return _request_id(_object(text))
    except Refusal:
        return None


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise Refusal(Code.INVALID_JSON, "A message is JSON.") from None
    if not isinstance(frame, dict):
        raise Refusal(Code.INVALID_JSON, "A message is a JSON object.")
    return frame


def _is_too_deep(text: str | bytes, frame: dict[str, Any]) -> bool:
    """orjson reads deeper than it writes: what was let in here could not be told to anybody."""
    brackets = (
        text.count("[") + text.count("{")
        if isinstance(text, str)
        else text.count(b"[") + text.count(b"{")
    )
    if brackets <= MOST_DEPTH:
        return False
    level: list[Any] = [frame]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _broken(path: str, code: str, message: str) -> Refusal:
    detail: Detail = {"path": path, "code": code, "message": message}
    return Refusal(Code.INVALID_JSON, f"{path[1:]}: {message}", details=[detail])


def _text(frame: dict[str, Any], name: str, most: int) -> str:
    value = frame.get(name)
    if value is None:
        raise _broken(
            f"/{name}", "missing", f"It has to be there: a text of 1 to {most} characters."
        )
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise _broken(f"/{name}", "type", f"It is a printable text of 1 to {most} characters.")
    return value


def _request_id(frame: dict[str, Any]) -> str | None:
    value = frame.get("requestId")
    if value is None:
        return None
    is_text = isinstance(value, str) and 0 < len(value) <= MOST_REQUEST_ID
    if not is_text or value.startswith(OWN) or not value.isprintable():
        raise _broken(
            "/requestId",
            "type",
            f"It is a printable text of 1 to {MOST_REQUEST_ID} characters that does not begin "
            f'with "{OWN}".',
        )
    return str(value)


def _expect(frame: dict[str, Any]) -> int | None:
    value = frame.get("expect")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise _broken("/expect", "type", "It is an offset: a number from 0.")
    return value


def _topics(frame: dict[str, Any]) -> tuple[str, ...]:
    value = frame.get("topics")
    if value is None:
        raise _broken("/topics", "missing", "It has to be there: a list of topics.")
    if not isinstance(value, list) or len(value) > MOST_TOPICS:
        raise _broken("/topics", "type", f"It is a list of at most {MOST_TOPICS} topics.")
    for index, topic in enumerate(value):
        if not isinstance(topic, str) or not 0 < len(topic) <= MOST_TOPIC:
            raise _broken(
                f"/topics/{index}", "type", f"A topic is a text of 1 to {MOST_TOPIC} characters."
            )
    return tuple(value)


# -- server → client ------------------------------------------------------------------------------


def connected(
    panel_id: str,
    state: str,
    *,
    offset: int,
    epoch: str,
    tools: Sequence[str],
    status: str,
    recovered: bool,
) -> str:
    """The first frame. ``state``: JSON text."""
    more = {
        "offset": offset,
        "epoch": epoch,
        "tools": list(tools),
        "status": status,
        "recovered": recovered,
    }
    return f'{{"type":"CONNECTED","panelId":{_json(panel_id)},"state":{state},{_json(more)[1:-1]}}}'


def patch(payload: str, offset: int, request_id: str, by: str) -> str:
    """``payload``: ``{"mutations": […]}``."""
    return f'{{"type":"PATCH",{payload[1:-1]}{_place(offset, request_id, by)}}}'


def event(payload: str, offset: int, request_id: str) -> str:
    """``payload``: ``{"name", "payload", "timestamp"}``."""
    return f'{{"type":"EVENT","event":{payload}{_place(offset, request_id, "")}}}'


def result(request_id: str | None, result: str) -> str:
    """``result``: an ExecutionResult as JSON text."""
    id = f'"requestId":{_json(request_id)},' if request_id else ""
    return f'{{"type":"RESULT",{id}"result":{result}}}'


def pong(offset: int) -> str:
    return f'{{"type":"PONG","offset":{offset}}}'


def error(refusal: Refusal, request_id: str | None) -> str:
    frame: dict[str, Any] = {
        "type": "ERROR",
        "code": error_code(refusal),
        "message": refusal.message,
    }
    if request_id:
        frame["requestId"] = request_id
    if refusal.details:
        frame["details"] = refusal.details
    if refusal.retry_after is not None:
        frame["retryAfter"] = refusal.retry_after
    return _json(frame)


def progress(
    suspension_id: str | None, request_id: str | None, status: str, data: Any = None
) -> str:
    frame: dict[str, Any] = {"type": "PROGRESS", "suspensionId": suspension_id, "status": status}
    if request_id:
        frame["requestId"] = request_id
    if data is not None:
        frame["data"] = data
    return _json(frame)


def status(status: str) -> str:
    return _json({"type": "STATUS", "status": status})


def subscribed(topics: Sequence[str]) -> str:
    """The full set."""
    return _json({"type": "SUBSCRIBED", "topics": list(topics)})


_CODES = {
    Code.INVALID_JSON: "PARSE_ERROR",
    Code.INVALID_INPUT: "INVALID_ARGS",
    Code.PERMISSION_DENIED: "FORBIDDEN",
    **{
        code: code.value.upper()
        for code in (
            Code.UNKNOWN_MESSAGE,
            Code.FORBIDDEN,
            Code.RATE_LIMITED,
            Code.TOO_LARGE,
            Code.CONFLICT,
            Code.BUSY,
            Code.UNAUTHENTICATED,
            Code.LEDGER_UNAVAILABLE,
            Code.DRAINING,
        )
    },
}
_NOT_FOUND = {
    "tool": "TOOL_NOT_FOUND",
    "panel": "PANEL_NOT_FOUND",
    "suspension": "SUSPENSION_NOT_FOUND",
}


def error_code(refusal: Refusal) -> str:
    """A refusal's code in this dialect's words."""
    if refusal.code is Code.NOT_FOUND:
        return _NOT_FOUND.get(refusal.subject, "PANEL_NOT_FOUND")
    return _CODES.get(refusal.code, "EXECUTION_ERROR")


def _place(offset: int, request_id: str, by: str) -> str:
    found = f',"offset":{offset}'
    if request_id and not request_id.startswith(OWN):
        found += f',"requestId":{_json(request_id)}'
    if by:
        found += f',"by":{_json(by)}'
    return found


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


# -- topics ---------------------------------------------------------------------------------------

STATE, EVENTS = "state", "events"


class Topics:
    """What a connection gets: ``state``, ``state:<key>``, ``events``, ``events:<glob>``.

    Frozen and hashable: connections with the same topics get the same frames.
    """

    __slots__ = ("_globs", "_keys", "_names")

    def __init__(self, names: Iterable[str] = (STATE, EVENTS)) -> None:
        self._names = frozenset(names)
        self._keys = frozenset(
            name.removeprefix("state:") for name in self._names if name.startswith("state:")
        )
        self._globs = tuple(
            sorted(
                name.removeprefix("events:") for name in self._names if name.startswith("events:")
            )
        )

    def with_(self, names: Iterable[str]) -> Topics:
        """These too; of more than ``MOST_TOPICS`` a ``Refusal`` (too_large)."""
        found = self._names | frozenset(names)
        if len(found) > MOST_TOPICS:
            raise Refusal(Code.TOO_LARGE, f"A connection has at most {MOST_TOPICS} topics.")
        return Topics(found)

    def without(self, names: Iterable[str]) -> Topics:
        return Topics(self._names - frozenset(names))

    def sorted(self) -> list[str]:
        return sorted(self._names)

    def encode(self, type: str, payload: str, offset: int, request_id: str, by: str) -> str | None:
        """An entry of the log as a frame; None when no topic wants it."""
        if type == "PATCH":
            if STATE in self._names:
                return patch(payload, offset, request_id, by)
            return self._narrowed(payload, offset, request_id, by)
        if EVENTS in self._names:
            return event(payload, offset, request_id)
        if self._globs:
            name = orjson.loads(payload)["name"]
            if any(fnmatchcase(name, glob) for glob in self._globs):
                return event(payload, offset, request_id)
        return None

    def _narrowed(self, payload: str, offset: int, request_id: str, by: str) -> str | None:
        if not self._keys:
            return None
        mutations = orjson.loads(payload)["mutations"]
        wanted = [each for each in mutations if _top(each["key"]) in self._keys]
        return patch(_json({"mutations": wanted}), offset, request_id, by) if wanted else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topics) and self._names == other._names

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return f"Topics({self.sorted()!r})"


def merged(payloads: Sequence[str]) -> str:
    """Several ``{"mutations": […]}`` as one: the last one for each key, unless a JSON Pointer
    reaches into it: then all of them, in order."""
    everything = [each for payload in payloads for each in orjson.loads(payload)["mutations"]]
    pointed = {_top(each["key"]) for each in everything if each["key"].startswith("/")}
    kept: list[Any] = []
    seen: set[str] = set()
    for each in reversed(everything):
        top = _top(each["key"])
        if top in pointed:
            kept.append(each)
        elif top not in seen:
            seen.add(top)
            kept.append(each)
    return _json({"mutations": kept[::-1]})


def _top(key: str) -> str:
    """The top-level key that a mutation's key, or JSON Pointer (RFC 6901), is under."""
    if not key.startswith("/"):
        return key
    return key[1:].split("/", 1)[0].replace("~1", "/").replace("~0", "~")
