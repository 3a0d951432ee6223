"""The incubator dialect: what frames say, without a socket (``docs/incubators.md``).

``decode`` gives a command or raises ``Refusal``; the functions below it give frames. What is JSON
text already (a logged payload, a result, a state) goes into a frame as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

from ..exceptions import Code, Refusal

MOST_NAME = 200
MOST_DEPTH = 64  # objects and lists in one another
MOST_ID = 64
MOST_GLOBS = 100
LONGEST_WAIT = 24 * 3600 * 1000  # milliseconds
LARGEST_ID = 2**63 - 1  # what every database has as an integer

Command_ = Literal["halt", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class Publish:
    """An event for everybody. ``call_id``, here and below: done once, however often it is said."""

    event: str
    data: Any = None
    request_id: str | None = None
    agent_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class DanceCall:
    """Run a tool; the answer comes with ``call_id``."""

    tool: str
    args: Any
    call_id: str
    agent_id: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Clear everything."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From now on only events of these types (globs); None: all."""

    types: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SetState:
    """Write a key; with ``if_version`` only when it has this version (0: when it is not there)."""

    key: str
    value: Any
    if_version: int | None = None
    request_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteState:
    """Take a key away."""

    key: str
    request_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Have a resource, or keep it, for ``ttl_ms``; None: until it is released."""

    resource: str
    ttl_ms: int | None = None
    request_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Give a resource back."""

    resource: str
    request_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Stop everybody, or one agent, or let them go on."""

    command: Command_
    reason: str
    target: str | None = None
    request_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Be woken by an event of one of these types, or after ``delay_ms``. ``since``: the id after
    which it counts; else the message's own place in the log."""

    call_id: str
    types: tuple[str, ...] | None = None
    delay_ms: int | None = None
    timeout_ms: int | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Go on with fresh credentials."""

    token: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""


Command = (
    Publish | DanceCall | Reset | Subscribe | SetState | DeleteState | Claim | Release | Control
    | Wait | Authenticate | Ping
)  # fmt: skip


# -- client → server ------------------------------------------------------------------------------


def decode(text: str | bytes) -> Command:
    """The command of a frame; keys that it does not know are passed over.

    Raises ``Refusal``: invalid_json for what is no JSON object, unknown_message for another
    ``type``, invalid_input (with details) for a field that is missing or wrong.
    """
    frame = _object(text)
    type = frame.get("type")
    if not isinstance(type, str):
        raise _broken("type", "missing", 'Every message has a "type": a text.')
    read = _READERS.get(type)
    if read is None:
        raise Refusal(Code.UNKNOWN_MESSAGE, f'There is no message "{type[:50]}".')
    return read(frame)


def _publish(frame: dict[str, Any]) -> Publish:
    agent_id, data = _optional(frame, "agentId"), frame.get("data", {})
    return Publish(
        _text(frame, "event"), data, _id(frame, "requestId"), agent_id, _id(frame, "callId")
    )


def _dance_call(frame: dict[str, Any]) -> DanceCall:
    call_id = _call_id(frame)
    args = frame.get("args")
    if not isinstance(args, dict | None):
        raise _broken("args", "type", "It is an object.")
    agent_id, role = _optional(frame, "agentId"), _optional(frame, "role")
    return DanceCall(_text(frame, "tool"), args or {}, call_id, agent_id, role)


def _set_state(frame: dict[str, Any]) -> SetState:
    if "value" not in frame:
        raise _broken("value", "missing", "It has to be there.")
    version = _number(frame, "ifVersion", 0)
    return SetState(_text(frame, "key"), frame["value"], version, *_ids(frame))


def _call_id(frame: dict[str, Any]) -> str:
    call_id = _id(frame, "callId")
    if call_id is None:
        raise _broken("callId", "missing", "It has to be there: the answer brings it.")
    return call_id


def control_of(frame: dict[str, Any]) -> Control:
    """A control command out of a frame's fields, or a request's."""
    command = frame.get("command")
    if command not in ("halt", "pause", "resume"):
        raise _broken("command", "choice", "It is halt, pause or resume.")
    reason = frame.get("reason", "")
    if not isinstance(reason, str) or len(reason) > 1000:
        raise _broken("reason", "type", "It is a text of at most 1000 characters.")
    return Control(command, reason, _optional(frame, "target"), *_ids(frame))


def _wait(frame: dict[str, Any]) -> Wait:
    call_id = _call_id(frame)
    delay = _number(frame, "delayMs", 0)
    types = None if frame.get("types") is None else _types(frame)
    if delay is None and types is None:
        raise _broken("types", "missing", "It waits for types, or for delayMs.")
    timeout, since = _number(frame, "timeoutMs", 0), _number(frame, "since", 0, LARGEST_ID)
    return Wait(call_id, types, delay, timeout, since)


def _authenticate(frame: dict[str, Any]) -> Authenticate:
    token = frame.get("token")
    if not isinstance(token, str) or not token:
        raise _broken("token", "missing", "It has to be there: a text.")
    return Authenticate(token, _id(frame, "requestId"))


_READERS: Mapping[str, Callable[[dict[str, Any]], Command]] = {
    "publish": _publish,
    "dance_call": _dance_call,
    "reset": lambda frame: Reset(),
    "subscribe": lambda frame: Subscribe(None if frame.get("types") is None else _types(frame)),
    "set_state": _set_state,
    "delete_state": lambda frame: DeleteState(_text(frame, "key"), *_ids(frame)),
    "claim": lambda frame: Claim(
        _text(frame, "resource"), _number(frame, "ttlMs", 1), *_ids(frame)
    ),
    "release": lambda frame: Release(_text(frame, "resource"), *_ids(frame)),
    "control": control_of,
    "wait": _wait,
    "authenticate": _authenticate,
    "ping": lambda frame: Ping(),
}


def request_id_of(text: str | bytes) -> str | None:
    """The request or call id of a frame that was refused, when it can be read."""
    try:
        frame = _object(text)
        return _id(frame, "requestId") or _id(frame, "callId")
    except Refusal:
        return None


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise Refusal(Code.INVALID_JSON, "A message is JSON.") from None
    if not isinstance(frame, dict):
        raise Refusal(Code.INVALID_JSON, "A message is a JSON object.")
    if len(text) > 2 * MOST_DEPTH and _is_deeper(frame, MOST_DEPTH):
        raise Refusal(Code.INVALID_JSON, f"The JSON is nested deeper than {MOST_DEPTH} levels.")
    return frame


def _is_deeper(value: Any, most: int) -> bool:
    """orjson reads deeper than it writes: what was let in here could not be told to anybody."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _broken(name: str, code: str, message: str) -> Refusal:
    detail = {"path": f"/{name}", "code": code, "message": message}
    return Refusal(Code.INVALID_INPUT, f"{name}: {message}", details=[detail])


def _text(frame: dict[str, Any], name: str) -> str:
    value = frame.get(name)
    if value is None:
        raise _broken(
            name, "missing", f"It has to be there: a text of 1 to {MOST_NAME} characters."
        )
    if not isinstance(value, str) or not 0 < len(value) <= MOST_NAME or not value.isprintable():
        raise _broken(name, "type", f"It is a printable text of 1 to {MOST_NAME} characters.")
    return value


def _optional(frame: dict[str, Any], name: str) -> str | None:
    return None if frame.get(name) is None else _text(frame, name)


def _id(frame: dict[str, Any], name: str) -> str | None:
    value = frame.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MOST_ID or not value.isprintable():
        raise _broken(name, "type", f"It is a printable text of 1 to {MOST_ID} characters.")
    return value


def _ids(frame: dict[str, Any]) -> tuple[str | None, str | None]:
    """The request id, and the call id."""
    return _id(frame, "requestId"), _id(frame, "callId")


def _number(frame: dict[str, Any], name: str, least: int, most: int = LONGEST_WAIT) -> int | None:
    value = frame.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise _broken(name, "type", f"It is a whole number from {least} to {most}.")
    return int(value)


def _types(frame: dict[str, Any]) -> tuple[str, ...]:
    value = frame["types"]
    if not isinstance(value, list) or len(value) > MOST_GLOBS:
        raise _broken("types", "type", f"It is a list of at most {MOST_GLOBS} types, or null.")
    for each in value:
        if not isinstance(each, str) or not is_glob(each):
            raise _broken("types", "type", "A type is a text; * stands for one part between dots.")
    return tuple(value)


# -- types of events ------------------------------------------------------------------------------

_GLOB = re.compile(r"[^\s,]{1,200}")


def is_glob(text: str) -> bool:
    """Whether this can stand for types of events."""
    return _GLOB.fullmatch(text) is not None and text.isprintable()


@lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    each = (re.escape(glob).replace(r"\*", "[^.]*") for glob in globs)
    return re.compile("|".join(each))


def matches(globs: tuple[str, ...] | None, type: str) -> bool:
    """Whether a type is wanted; ``*`` stands for anything within one part between dots."""
    if globs is None:
        return True
    return bool(globs) and _pattern(globs).fullmatch(type) is not None


# -- server → client ------------------------------------------------------------------------------


def entry(type: str, payload: str, offset: int, timestamp: str, epoch: str) -> str:
    """An entry of the log. ``payload``: a JSON object as text."""
    inner = f",{payload[1:-1]}" if len(payload) > 2 else ""
    if type == "event":
        return (
            f'{{"type":"event","id":{offset}{inner},"timestamp":"{timestamp}","epoch":"{epoch}"}}'
        )
    return f'{{"type":"{type}","id":{offset}{inner}}}'


def replay_done(cursor: int, epoch: str) -> str:
    return _json({"type": "replay_done", "cursor": cursor, "epoch": epoch})


def gap(since: int, to: int, epoch: str) -> str:
    return _json({"type": "gap", "from": since, "to": to, "epoch": epoch})


def state(state: dict[str, Any], cursor: int) -> str:
    return _json({"type": "state", "state": state, "cursor": cursor})


def dance_tools(tools: Sequence[dict[str, Any]]) -> str:
    return _json({"type": "dance_tools", "tools": list(tools)})


def dance_result(call_id: str, result: str) -> str:
    """``result``: JSON text."""
    return f'{{"type":"dance_result","callId":{_json(call_id)},"result":{result}}}'


def publish_ack(event_id: int, request_id: str | None, call_id: str | None = None) -> str:
    call = {} if call_id is None else {"callId": call_id}
    return _json({"type": "publish_ack", "eventId": event_id, **_request(request_id), **call})


def ack(call_id: str, id: int, outcome: Mapping[str, Any]) -> str:
    """What brought a ``callId`` is done: where it stands, and what came of it (a ``version``, a
    ``fence``)."""
    return _json({"type": "ack", "callId": call_id, "id": id, **outcome})


def reset(epoch: str, by: str) -> str:
    return _json({"type": "reset", "epoch": epoch, "by": by})


def reset_ack(epoch: str) -> str:
    return _json({"type": "reset_ack", "epoch": epoch})


def wake(call_id: str, event: Any) -> str:
    """``event``: what woke it, None when the time was over."""
    return _json({"type": "wake", "callId": call_id, "event": event})


def metrics(data: dict[str, Any]) -> str:
    return _json({"type": "metrics", "data": data})


def authenticated(request_id: str | None) -> str:
    return _json({"type": "authenticated", **_request(request_id)})


def pong() -> str:
    return '{"type":"pong"}'


_WORDS = {Code.INVALID_JSON: "parse_error", Code.INVALID_INPUT: "invalid_message"}


def error_code(refusal: Refusal) -> str:
    """A refusal's code in this dialect's words: ``halted`` and ``paused`` are conflicts."""
    if refusal.code is Code.CONFLICT and refusal.subject:
        return refusal.subject
    return _WORDS.get(refusal.code, refusal.code.value)


def error(refusal: Refusal, request_id: str | None) -> str:
    frame: dict[str, Any] = {
        "type": "error",
        "code": error_code(refusal),
        "message": refusal.message,
        **_request(request_id),
    }
    if refusal.details:
        frame["details"] = refusal.details
    if refusal.retry_after is not None:
        frame["retry_after"] = refusal.retry_after
    return _json(frame)


def _request(id: str | None) -> dict[str, str]:
    return {} if id is None else {"requestId": id}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
