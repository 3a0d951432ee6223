"""The incubator dialect: text in, command out; what the log and the bus say, in frames out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mashin_surfaces.dialects import incubator as bus
from mashin_surfaces.dialects.incubator import (
    LONGEST_WAIT,
    Authenticate,
    Claim,
    Command,
    Control,
    DanceCall,
    DeleteState,
    Ping,
    Publish,
    Release,
    Reset,
    SetState,
    Subscribe,
    Wait,
    decode,
    is_glob,
    matches,
    request_id_of,
)
from mashin_surfaces.exceptions import Code, Refusal


def refused(frame: Any) -> Refusal:
    """How a frame is refused; a frame that is taken fails the test."""
    with pytest.raises(Refusal) as caught:
        decode(frame if isinstance(frame, str | bytes) else json.dumps(frame))
    return caught.value


def detail(refusal: Refusal) -> Any:
    """The first of its details."""
    assert refusal.details
    return refusal.details[0]


# -- client → server ------------------------------------------------------------------------------

COMMANDS: list[tuple[dict[str, Any], Command]] = [
    ({"type": "publish", "event": "task.started"}, Publish("task.started", {})),
    ({"type": "publish", "event": "a", "data": None}, Publish("a", None)),
    (
        {"type": "publish", "event": "a", "data": [1], "requestId": "r", "agentId": "w-1"},
        Publish("a", [1], "r", "w-1"),
    ),
    ({"type": "publish", "event": "ü" * 200, "agentId": None}, Publish("ü" * 200, {})),
    ({"type": "publish", "event": "a", "callId": "c"}, Publish("a", {}, call_id="c")),
    ({"type": "wait", "callId": "c", "types": [], "since": 7}, Wait("c", (), since=7)),
    ({"type": "release", "resource": "r", "callId": "c"}, Release("r", call_id="c")),
    (
        {"type": "dance_call", "tool": "move", "args": {"to": "e4"}, "callId": "c1"},
        DanceCall("move", {"to": "e4"}, "c1"),
    ),
    (
        {"type": "dance_call", "tool": "move", "callId": "c" * 64, "agentId": "a", "role": "r"},
        DanceCall("move", {}, "c" * 64, "a", "r"),
    ),
    ({"type": "dance_call", "tool": "t", "args": None, "callId": "c"}, DanceCall("t", {}, "c")),
    ({"type": "reset"}, Reset()),
    ({"type": "subscribe", "types": ["a", "b.*"]}, Subscribe(("a", "b.*"))),
    ({"type": "subscribe", "types": []}, Subscribe(())),
    ({"type": "subscribe", "types": None}, Subscribe(None)),
    ({"type": "subscribe"}, Subscribe(None)),
    ({"type": "set_state", "key": "k", "value": None}, SetState("k", None)),
    (
        {"type": "set_state", "key": "k", "value": {"a": 1}, "ifVersion": 0, "requestId": "r"},
        SetState("k", {"a": 1}, 0, "r"),
    ),
    ({"type": "delete_state", "key": "k", "requestId": "r"}, DeleteState("k", "r")),
    ({"type": "claim", "resource": "r"}, Claim("r")),
    ({"type": "claim", "resource": "r", "ttlMs": 1, "requestId": "x"}, Claim("r", 1, "x")),
    ({"type": "claim", "resource": "r", "ttlMs": LONGEST_WAIT}, Claim("r", LONGEST_WAIT)),
    ({"type": "release", "resource": "r"}, Release("r")),
    ({"type": "control", "command": "halt"}, Control("halt", "")),
    (
        {"type": "control", "command": "resume", "reason": "go", "target": "a", "requestId": "r"},
        Control("resume", "go", "a", "r"),
    ),
    ({"type": "control", "command": "pause", "reason": "r" * 1000}, Control("pause", "r" * 1000)),
    ({"type": "wait", "types": ["a.*"], "callId": "w"}, Wait("w", ("a.*",))),
    ({"type": "wait", "delayMs": 0, "callId": "w"}, Wait("w", None, 0)),
    (
        {"type": "wait", "types": ["a"], "delayMs": 5, "timeoutMs": 7, "callId": "w"},
        Wait("w", ("a",), 5, 7),
    ),
    ({"type": "authenticate", "token": "t"}, Authenticate("t")),
    (
        {"type": "authenticate", "token": "t" * 9000, "requestId": "r"},
        Authenticate("t" * 9000, "r"),
    ),
    ({"type": "ping"}, Ping()),
]


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_a_frame_is_a_command_as_text_and_as_bytes(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps(frame)) == command
    assert decode(json.dumps(frame, ensure_ascii=False).encode()) == command


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_keys_that_nobody_knows_are_passed_over(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps({"__proto__": 1, **frame, "later": [1]})) == command


@pytest.mark.parametrize(
    "text",
    ["", "{", "nope", "[]", "1", "null", '"publish"', b"\xff", '{"a":NaN}', "{'type':'ping'}"],
)
def test_what_is_no_json_object_is_a_parse_error(text: str | bytes) -> None:
    assert bus.error_code(refused(text)) == "parse_error"


@pytest.mark.parametrize("type", ["", "jump", "PUBLISH", "event", "wake", "t" * 500])
def test_another_type_is_unknown_and_named(type: str) -> None:
    refusal = refused({"type": type})
    assert bus.error_code(refusal) == "unknown_message"
    assert type[:50] in refusal.message
    assert len(refusal.message) < 100


@pytest.mark.parametrize("type", [None, 1, True, [], {}])
def test_a_message_needs_a_type(type: Any) -> None:
    assert detail(refused({"type": type}))["path"] == "/type"
    assert bus.error_code(refused({})) == "invalid_message"


CALL = {"type": "dance_call", "tool": "t", "callId": "c"}
NO_EVENTS: list[Any] = [None, "", 1, [], "x" * 201, "a\nb", "a\u0000"]
NO_ARGS: list[Any] = [[], "x", 1, False]
NO_TYPES: list[Any] = ["a", {}, 1, [1], [""], ["a b"], ["a,b"], ["a"] * 101]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "publish"}, "/event"),
    *(({"type": "publish", "event": event}, "/event") for event in NO_EVENTS),
    ({"type": "publish", "event": "a", "requestId": ""}, "/requestId"),
    ({"type": "publish", "event": "a", "requestId": "r" * 65}, "/requestId"),
    ({"type": "publish", "event": "a", "requestId": 7}, "/requestId"),
    ({"type": "publish", "event": "a", "agentId": 7}, "/agentId"),
    ({"type": "publish", "event": "a", "agentId": "\t"}, "/agentId"),
    ({"type": "dance_call", "tool": "t"}, "/callId"),
    ({"type": "dance_call", "callId": "c"}, "/tool"),
    *(({**CALL, "args": args}, "/args") for args in NO_ARGS),
    *(({**CALL, "callId": id}, "/callId") for id in ("", 1, "c" * 65, "\n")),
    ({**CALL, "role": 1}, "/role"),
    *(({"type": "subscribe", "types": types}, "/types") for types in NO_TYPES),
    ({"type": "set_state", "key": "k"}, "/value"),
    ({"type": "set_state", "value": 1}, "/key"),
    *(
        ({"type": "set_state", "key": "k", "value": 1, "ifVersion": version}, "/ifVersion")
        for version in (-1, 1.5, "1", True, LONGEST_WAIT + 1)
    ),
    ({"type": "delete_state"}, "/key"),
    ({"type": "claim"}, "/resource"),
    *(
        ({"type": "claim", "resource": "r", "ttlMs": ttl}, "/ttlMs")
        for ttl in (0, -1, 0.5, "1", False, LONGEST_WAIT + 1)
    ),
    ({"type": "release", "resource": ""}, "/resource"),
    *(({"type": "control", "command": command}, "/command") for command in (None, "stop", 1)),
    ({"type": "control", "command": []}, "/command"),
    ({"type": "control", "command": "halt", "reason": 1}, "/reason"),
    ({"type": "control", "command": "halt", "reason": "r" * 1001}, "/reason"),
    ({"type": "control", "command": "halt", "target": ""}, "/target"),
    ({"type": "wait", "types": ["a"]}, "/callId"),
    ({"type": "wait", "callId": "w"}, "/types"),
    ({"type": "wait", "callId": "w", "timeoutMs": 5}, "/types"),
    ({"type": "wait", "callId": "w", "types": "a"}, "/types"),
    ({"type": "wait", "callId": "w", "delayMs": -1}, "/delayMs"),
    ({"type": "wait", "callId": "w", "delayMs": 1, "timeoutMs": "1"}, "/timeoutMs"),
    *(({"type": "authenticate", "token": token}, "/token") for token in (None, "", 1, ["t"])),
]


@pytest.mark.parametrize(("frame", "path"), WRONG)
def test_a_missing_or_wrong_field_is_named(frame: dict[str, Any], path: str) -> None:
    refusal = refused(frame)
    assert bus.error_code(refusal) == "invalid_message"
    assert detail(refusal)["path"] == path
    assert refusal.message.startswith(path[1:])


@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_data_may_be_63_levels_deep_and_no_deeper(pair: str) -> None:
    def nested(levels: int) -> str:
        value = "1"
        for _ in range(levels):
            value = f"{pair[:-1]}{value}{pair[-1]}"
        return f'{{"type":"publish","event":"a","data":{value}}}'

    assert isinstance(decode(nested(63)), Publish)  # and one around it
    for levels in (64, 300, 900):
        assert "64 levels" in refused(nested(levels)).message


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ('{"type":"publish","requestId":"r9"}', "r9"),
        (b'{"type":"dance_call","callId":"c9"}', "c9"),
        ('{"requestId":"r","callId":"c"}', "r"),
        ('{"requestId":5}', None),
        ('{"type":"ping"}', None),
        ("{oops", None),
        ("[1]", None),
        (b"\xff", None),
    ],
)
def test_a_refused_frame_still_tells_its_id(text: str | bytes, id: str | None) -> None:
    assert request_id_of(text) == id


# -- types of events ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "type", "is_wanted"),
    [
        (None, "anything", True),
        ((), "anything", False),
        (("a",), "a", True),
        (("a",), "a.b", False),
        (("a",), "ab", False),
        (("a.*",), "a.b", True),
        (("a.*",), "a.", True),
        (("a.*",), "a", False),
        (("a.*",), "a.b.c", False),
        (("a.*.c",), "a.b.c", True),
        (("*",), "a", True),
        (("*",), "a.b", False),
        (("tu*",), "turn", True),
        (("x", "b.*"), "b.1", True),
        (("a+", "(", "[a]", "a?", "a|b"), "a", False),
        (("a|b",), "a|b", True),
    ],
)
def test_a_glob_stands_for_one_part(
    globs: tuple[str, ...] | None, type: str, is_wanted: bool
) -> None:
    assert matches(globs, type) is is_wanted


@pytest.mark.parametrize("text", ["", " ", "a b", "a,b", "a\n", "x" * 201, "\u0000"])
def test_what_can_not_be_a_glob(text: str) -> None:
    assert not is_glob(text)


PARTS = st.text(st.sampled_from("ab*+(["), max_size=3)


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(PARTS, min_size=1, max_size=3))
def test_globs_match_part_by_part(glob: list[str], type: list[str]) -> None:
    def part_matches(glob: str, part: str) -> bool:
        if not glob:
            return not part
        if glob[0] == "*":
            return any(part_matches(glob[1:], part[n:]) for n in range(len(part) + 1))
        return part[:1] == glob[0] and part_matches(glob[1:], part[1:])

    expected = len(glob) == len(type) and all(map(part_matches, glob, type))
    assert matches((".".join(glob),), ".".join(type)) is expected


# -- server → client ------------------------------------------------------------------------------

AT = "2026-11-21T10:00:00Z"
SAID: list[tuple[str, dict[str, Any]]] = [
    (
        bus.replay_done(7, "e"),
        {"type": "replay_done", "cursor": 7, "epoch": "e"},
    ),
    (bus.gap(1, 7, "e"), {"type": "gap", "from": 1, "to": 7, "epoch": "e"}),
    (bus.state({"k": [1]}, 7), {"type": "state", "state": {"k": [1]}, "cursor": 7}),
    (bus.dance_tools(({"name": "t"},)), {"type": "dance_tools", "tools": [{"name": "t"}]}),
    (bus.dance_result('c"1', "[1]"), {"type": "dance_result", "callId": 'c"1', "result": [1]}),
    (bus.publish_ack(7, None), {"type": "publish_ack", "eventId": 7}),
    (bus.publish_ack(7, "r"), {"type": "publish_ack", "eventId": 7, "requestId": "r"}),
    (bus.reset("e", "ada"), {"type": "reset", "epoch": "e", "by": "ada"}),
    (bus.reset_ack("e"), {"type": "reset_ack", "epoch": "e"}),
    (bus.wake("w", None), {"type": "wake", "callId": "w", "event": None}),
    (bus.metrics({"totalTokens": 1}), {"type": "metrics", "data": {"totalTokens": 1}}),
    (bus.authenticated(None), {"type": "authenticated"}),
    (bus.authenticated("r"), {"type": "authenticated", "requestId": "r"}),
    (bus.pong(), {"type": "pong"}),
]


@pytest.mark.parametrize(("text", "says"), SAID)
def test_the_frames(text: str, says: dict[str, Any]) -> None:
    assert json.loads(text) == says


@pytest.mark.parametrize("subject", ["halted", "paused", "claimed", "reset"])
def test_a_conflict_that_clients_tell_apart_has_its_own_word(subject: str) -> None:
    assert bus.error_code(Refusal(Code.CONFLICT, "No.", subject=subject)) == subject
    assert bus.error_code(Refusal(Code.NOT_FOUND, "No.", subject=subject)) == "not_found"
    assert bus.error_code(Refusal(Code.CONFLICT, "No.")) == "conflict"


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_word(code: Code) -> None:
    words = {Code.INVALID_JSON: "parse_error", Code.INVALID_INPUT: "invalid_message"}
    assert json.loads(bus.error(Refusal(code, "No."), None)) == {
        "type": "error",
        "code": words.get(code, code.value),
        "message": "No.",
    }


def test_an_error_says_all_there_is_to_say() -> None:
    details = [{"resource": "disk", "owner": "ada", "fence": 3}]
    refusal = Refusal(Code.CONFLICT, "No.", details=details, subject="claimed", retry_after=1)
    assert json.loads(bus.error(refusal, "r")) == {
        "type": "error",
        "code": "claimed",
        "message": "No.",
        "requestId": "r",
        "details": details,
        "retry_after": 1,
    }


def test_what_is_json_already_is_not_read_again() -> None:
    number = "123456789012345678901234567890.10"  # no reader of 64 bits could give it back
    assert number in bus.entry("event", f'{{"data":{number}}}', 1, AT, "e")
    assert number in bus.dance_result("c", number)


# -- any input ------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=9,
)
TYPES: dict[str, type[Command]] = {
    "publish": Publish,
    "dance_call": DanceCall,
    "reset": Reset,
    "subscribe": Subscribe,
    "set_state": SetState,
    "delete_state": DeleteState,
    "claim": Claim,
    "release": Release,
    "control": Control,
    "wait": Wait,
    "authenticate": Authenticate,
    "ping": Ping,
}
NAMES = st.sampled_from(["a", "task.started", "disk"])
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(list(TYPES)) | JSON},
    optional={
        **dict.fromkeys(("event", "tool", "key", "resource", "token", "target"), NAMES | JSON),
        **dict.fromkeys(("requestId", "callId", "agentId", "role"), NAMES | JSON),
        **dict.fromkeys(("data", "value"), JSON),
        **dict.fromkeys(("ifVersion", "ttlMs", "delayMs", "timeoutMs"), st.integers(-1, 9) | JSON),
        "args": st.dictionaries(TEXT, JSON, max_size=2) | JSON,
        "types": st.lists(NAMES, max_size=2) | JSON,
        "command": st.sampled_from(["halt", "pause", "resume"]) | JSON,
        "reason": TEXT | JSON,
    },
)
#: Each field of a command with the key that it has in a frame.
FIELDS = {
    "request_id": "requestId",
    "agent_id": "agentId",
    "call_id": "callId",
    "if_version": "ifVersion",
    "ttl_ms": "ttlMs",
    "delay_ms": "delayMs",
    "timeout_ms": "timeoutMs",
}
#: What stands for a field that was not sent, or is null.
EMPTY: dict[str, Any] = {"args": {}, "reason": ""}


@given(st.text() | st.binary())
@example("[" * 2000)
@example('{"a":' * 2000)
def test_any_frame_is_a_command_or_a_refusal(frame: str | bytes) -> None:
    with suppress(Refusal):
        assert isinstance(decode(frame), Command)
    request_id_of(frame)


@given(FRAMES)
def test_any_object_is_its_command_or_a_refusal_that_can_be_told(frame: dict[str, Any]) -> None:
    text = json.dumps(frame)
    try:
        command = decode(text)
    except Refusal as refusal:
        told = json.loads(bus.error(refusal, request_id_of(text)))
        is_known = frame["type"] in list(TYPES) or not isinstance(frame["type"], str)
        assert told["type"] == "error"
        assert told["code"] == ("invalid_message" if is_known else "unknown_message")
        return
    assert type(command) is TYPES[frame["type"]]
    for field in type(command).__dataclass_fields__:
        sent = frame.get(FIELDS.get(field, field))
        if field == "data" and "data" not in frame:
            sent = {}
        if field == "types" and sent is not None:
            sent = tuple(sent)
        assert getattr(command, field) == (EMPTY.get(field) if sent is None else sent)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


PLACED = {"type", "id", "timestamp", "epoch"}
PAYLOADS = st.dictionaries(TEXT.filter(lambda key: key not in PLACED), JSON, max_size=3)
OFFSETS = st.integers(1, 2**63 - 1)


@given(payload=PAYLOADS, offset=OFFSETS)
def test_any_event_comes_back_from_its_frame(payload: dict[str, Any], offset: int) -> None:
    frame = json.loads(bus.entry("event", compact(payload), offset, AT, "e"))
    assert frame == {"type": "event", "id": offset, **payload, "timestamp": AT, "epoch": "e"}


@given(
    type=st.sampled_from(["state_changed", "claim_changed", "control"]),
    payload=PAYLOADS,
    offset=OFFSETS,
)
def test_any_other_entry_comes_back_from_its_frame(
    type: str, payload: dict[str, Any], offset: int
) -> None:
    frame = json.loads(bus.entry(type, compact(payload), offset, AT, "e"))
    assert frame == {"type": type, "id": offset, **payload}


@given(code=st.sampled_from(Code), message=TEXT, subject=TEXT, id=st.none() | TEXT)
def test_any_refusal_can_be_told(code: Code, message: str, subject: str, id: str | None) -> None:
    frame = json.loads(bus.error(Refusal(code, message, subject=subject), id))
    assert (frame["message"], frame.get("requestId")) == (message, id)
