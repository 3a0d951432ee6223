"""The panel dialect: text in, command out; what was committed, in frames out."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mashin_surfaces.dialects import panel
from mashin_surfaces.dialects.panel import (
    Cancel,
    Command,
    Ping,
    Resume,
    Subscribe,
    Topics,
    Trigger,
    Unsubscribe,
    decode,
    error_code,
    merged,
    request_id_of,
)
from mashin_surfaces.exceptions import Code, Refusal
from mashin_surfaces.rooms.events import Mutation
from mashin_surfaces.rooms.state import applied


def refused(frame: Any) -> Refusal:
    """How a frame is refused; a frame that is taken fails the test."""
    with pytest.raises(Refusal) as caught:
        decode(frame if isinstance(frame, str | bytes) else json.dumps(frame))
    return caught.value


def payload_of(*mutations: Mutation) -> str:
    return json.dumps({"mutations": mutations}, separators=(",", ":"))


def put(key: str, value: Any) -> Mutation:
    return {"op": "set", "key": key, "value": value}


def drop(key: str) -> Mutation:
    return {"op": "delete", "key": key}


# -- client → server ------------------------------------------------------------------------------

COMMANDS: list[tuple[dict[str, Any], Command]] = [
    ({"type": "TRIGGER", "tool": "inc"}, Trigger("inc")),
    (
        {"type": "TRIGGER", "tool": "inc", "args": {"by": 2}, "requestId": "r1", "expect": 0},
        Trigger("inc", {"by": 2}, "r1", 0),
    ),
    ({"type": "TRIGGER", "tool": "inc", "args": [1, "x"]}, Trigger("inc", [1, "x"])),
    ({"type": "TRIGGER", "tool": "inc", "args": False}, Trigger("inc", False)),
    (
        {"type": "TRIGGER", "tool": "inc", "args": None, "requestId": None, "expect": None},
        Trigger("inc"),
    ),
    ({"type": "TRIGGER", "tool": "inc", "requestId": "r" * 63}, Trigger("inc", None, "r" * 63)),
    ({"type": "TRIGGER", "tool": "inc", "requestId": "a~b ü"}, Trigger("inc", None, "a~b ü")),
    ({"type": "TRIGGER", "tool": "t" * 200}, Trigger("t" * 200)),
    ({"type": "SUBSCRIBE", "topics": ["state:a", "x"]}, Subscribe(("state:a", "x"))),
    ({"type": "SUBSCRIBE", "topics": []}, Subscribe(())),
    ({"type": "UNSUBSCRIBE", "topics": ["events"]}, Unsubscribe(("events",))),
    (
        {"type": "UNSUBSCRIBE", "topics": [f"{n:0200}" for n in range(100)]},
        Unsubscribe(tuple(f"{n:0200}" for n in range(100))),
    ),
    ({"type": "PING"}, Ping()),
    ({"type": "CANCEL", "requestId": "r1"}, Cancel("r1")),
    ({"type": "RESUME", "suspensionId": "s"}, Resume("s")),
    ({"type": "RESUME", "suspensionId": "s", "value": {"a": [1]}}, Resume("s", {"a": [1]})),
    ({"type": "RESUME", "suspensionId": "s", "error": ""}, Resume("s", None, "")),
]


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_a_frame_is_a_command_as_text_and_as_bytes(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps(frame)) == command
    assert decode(json.dumps(frame, ensure_ascii=False).encode()) == command


@pytest.mark.parametrize(("frame", "command"), COMMANDS)
def test_keys_that_nobody_knows_are_passed_over(frame: dict[str, Any], command: Command) -> None:
    assert decode(json.dumps({"panelId": "p", "at": [1], **frame, "": None})) == command


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "",
        "{",
        "{'type':'PING'}",
        '{"type":"PING"}{"type":"PING"}',
        '{"type":"TRIGGER","tool":"a","args":NaN}',
        '{"type":"TRIGGER","tool":"\\ud800"}',
        '\ufeff{"type":"PING"}',
        "\ud800",
        b"\xff",
        '{"type":"PING"}'.encode("utf-16"),
    ],
)
def test_what_is_not_json_is_a_parse_error(text: str | bytes) -> None:
    refusal = refused(text)
    assert refusal.code is Code.INVALID_JSON
    assert error_code(refusal) == "PARSE_ERROR"


@pytest.mark.parametrize("text", ["null", "[]", '"PING"', "3", '[{"type":"PING"}]'])
def test_what_is_no_object_is_a_parse_error(text: str) -> None:
    assert refused(text).code is Code.INVALID_JSON


@pytest.mark.parametrize(
    ("frame", "path", "code"),
    [
        ({}, "/type", "missing"),
        ({"type": None}, "/type", "missing"),
        ({"type": 3}, "/type", "missing"),
        ({"type": ["PING"]}, "/type", "missing"),
        ({"type": "TRIGGER"}, "/tool", "missing"),
        ({"type": "TRIGGER", "tool": 5}, "/tool", "type"),
        ({"type": "TRIGGER", "tool": ""}, "/tool", "type"),
        ({"type": "TRIGGER", "tool": "t" * 201}, "/tool", "type"),
        ({"type": "TRIGGER", "tool": "a\x00b"}, "/tool", "type"),
        ({"type": "TRIGGER", "tool": "a", "requestId": 1}, "/requestId", "type"),
        ({"type": "TRIGGER", "tool": "a", "requestId": ""}, "/requestId", "type"),
        ({"type": "TRIGGER", "tool": "a", "requestId": "r" * 64}, "/requestId", "type"),
        ({"type": "TRIGGER", "tool": "a", "requestId": "~r"}, "/requestId", "type"),
        ({"type": "TRIGGER", "tool": "a", "requestId": "r\x00"}, "/requestId", "type"),
        ({"type": "TRIGGER", "tool": "a", "expect": "1"}, "/expect", "type"),
        ({"type": "TRIGGER", "tool": "a", "expect": 1.0}, "/expect", "type"),
        ({"type": "TRIGGER", "tool": "a", "expect": -1}, "/expect", "type"),
        ({"type": "TRIGGER", "tool": "a", "expect": True}, "/expect", "type"),
        ({"type": "TRIGGER", "tool": "a", "expect": 2**64}, "/expect", "type"),
        ({"type": "SUBSCRIBE"}, "/topics", "missing"),
        ({"type": "SUBSCRIBE", "topics": "state"}, "/topics", "type"),
        ({"type": "SUBSCRIBE", "topics": {"state": 1}}, "/topics", "type"),
        ({"type": "SUBSCRIBE", "topics": ["a", 5]}, "/topics/1", "type"),
        ({"type": "SUBSCRIBE", "topics": ["a", "b", ""]}, "/topics/2", "type"),
        ({"type": "UNSUBSCRIBE", "topics": ["t" * 201]}, "/topics/0", "type"),
        ({"type": "UNSUBSCRIBE", "topics": ["t"] * 101}, "/topics", "type"),
        ({"type": "UNSUBSCRIBE"}, "/topics", "missing"),
        ({"type": "CANCEL"}, "/requestId", "missing"),
        ({"type": "CANCEL", "requestId": None}, "/requestId", "missing"),
        ({"type": "CANCEL", "requestId": "~1"}, "/requestId", "type"),
        ({"type": "RESUME"}, "/suspensionId", "missing"),
        ({"type": "RESUME", "suspensionId": 5}, "/suspensionId", "type"),
        ({"type": "RESUME", "suspensionId": "s\x00"}, "/suspensionId", "type"),
        ({"type": "RESUME", "suspensionId": "s", "error": {"code": 1}}, "/error", "type"),
    ],
)
def test_a_wrong_field_is_named(frame: dict[str, Any], path: str, code: str) -> None:
    refusal = refused(frame)
    assert refusal.code is Code.INVALID_JSON
    assert refusal.details is not None
    (detail,) = refusal.details
    assert (detail["path"], detail["code"]) == (path, code)
    assert detail["message"].endswith(".")
    assert detail["message"] in refusal.message


@pytest.mark.parametrize(
    "type", ["DANCE", "PONG", "trigger", "TRIGGER ", "CONNECTED", "", "ü" * 99]
)
def test_another_type_is_an_unknown_message(type: str) -> None:
    refusal = refused({"type": type, "tool": "inc"})
    assert refusal.code is Code.UNKNOWN_MESSAGE
    assert error_code(refusal) == "UNKNOWN_MESSAGE"
    assert len(refusal.message) < 100


@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_a_frame_may_be_64_levels_deep_and_no_deeper(pair: str) -> None:
    def nested(levels: int) -> str:
        value = "1"
        for _ in range(levels):
            value = f"{pair[:-1]}{value}{pair[-1]}"
        return f'{{"type":"TRIGGER","tool":"t","requestId":"r","args":{value}}}'

    taken = decode(nested(63))
    assert isinstance(taken, Trigger)
    panel.progress("s", "r", "echo", taken.args)  # what comes in can go out again
    for levels in (64, 300, 1000):
        assert refused(nested(levels)).code is Code.INVALID_JSON
        assert refused(nested(levels).encode()).code is Code.INVALID_JSON
    assert request_id_of(nested(64)) == "r"


def test_a_wide_frame_is_not_a_deep_one() -> None:
    args: list[Any] = [[{}]] * 500
    frame = {"type": "TRIGGER", "tool": "t", "args": args}
    assert decode(json.dumps(frame)) == Trigger("t", args)
    assert decode(json.dumps(frame).encode()) == Trigger("t", args)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ('{"type":"DANCE","requestId":"r9"}', "r9"),
        (b'{"type":"TRIGGER","requestId":"r9"}', "r9"),
        ('{"requestId":"r9"}', "r9"),
        ('{"type":"TRIGGER","tool":"a","requestId":5}', None),
        ('{"type":"TRIGGER","tool":"a","requestId":"~5"}', None),
        ('{"type":"DANCE"}', None),
        ("{oops", None),
        ("[1]", None),
        (b"\xff", None),
    ],
)
def test_a_refused_frame_still_tells_its_request_id(text: str | bytes, id: str | None) -> None:
    assert request_id_of(text) == id


# -- refusals in the dialect's words --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Code.INVALID_JSON, "PARSE_ERROR"),
        (Code.UNKNOWN_MESSAGE, "UNKNOWN_MESSAGE"),
        (Code.INVALID_INPUT, "INVALID_ARGS"),
        (Code.FORBIDDEN, "FORBIDDEN"),
        (Code.PERMISSION_DENIED, "FORBIDDEN"),
        (Code.RATE_LIMITED, "RATE_LIMITED"),
        (Code.TOO_LARGE, "TOO_LARGE"),
        (Code.CONFLICT, "CONFLICT"),
        (Code.BUSY, "BUSY"),
        (Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (Code.LEDGER_UNAVAILABLE, "LEDGER_UNAVAILABLE"),
        (Code.DRAINING, "DRAINING"),
        (Code.TIMEOUT, "EXECUTION_ERROR"),
        (Code.EXECUTION_FAILED, "EXECUTION_ERROR"),
        (Code.INVALID_OUTPUT, "EXECUTION_ERROR"),
        (Code.BUDGET_EXCEEDED, "EXECUTION_ERROR"),
        (Code.APPROVAL_REQUIRED, "EXECUTION_ERROR"),
        (Code.APPROVAL_DENIED, "EXECUTION_ERROR"),
    ],
)
def test_every_code_has_a_word(code: Code, word: str) -> None:
    assert error_code(Refusal(code, "No.")) == word


@pytest.mark.parametrize(
    ("subject", "word"), [("tool", "TOOL_NOT_FOUND"), ("panel", "PANEL_NOT_FOUND")]
)
def test_what_was_not_found_is_said(subject: str, word: str) -> None:
    assert error_code(Refusal(Code.NOT_FOUND, "No.", subject=subject)) == word


def test_an_error_says_only_what_there_is_to_say() -> None:
    bare = Refusal(Code.BUSY, "Wait.")
    assert json.loads(panel.error(bare, None)) == {
        "type": "ERROR",
        "code": "BUSY",
        "message": "Wait.",
    }
    details = [{"path": "/by", "code": "type", "message": "A number."}]
    full = Refusal(Code.INVALID_INPUT, "No.", details=details, retry_after=0.0)
    assert json.loads(panel.error(full, "r1")) == {
        "type": "ERROR",
        "code": "INVALID_ARGS",
        "message": "No.",
        "requestId": "r1",
        "details": details,
        "retryAfter": 0.0,
    }


# -- server → client ------------------------------------------------------------------------------


def test_the_first_frame_has_what_the_seed_wants_and_more() -> None:
    text = panel.connected(
        'p"1',
        '{"count":1}',
        offset=3,
        epoch="e",
        tools=["inc", "dec"],
        status="running",
        recovered=False,
    )
    assert json.loads(text) == {
        "type": "CONNECTED",
        "panelId": 'p"1',
        "state": {"count": 1},
        "offset": 3,
        "epoch": "e",
        "tools": ["inc", "dec"],
        "status": "running",
        "recovered": False,
    }


def test_what_is_json_already_is_not_read_again() -> None:
    number = "123456789012345678901234567890.10"  # no reader of 64 bits could give it back
    state = f'{{"n":{number}}}'
    mutations = f'{{"mutations":[{{"op":"set","key":"n","value":{number}}}]}}'
    emitted = f'{{"name":"n","payload":{number},"timestamp":1}}'
    frames = [
        panel.connected(
            "p", state, offset=0, epoch="e", tools=[], status="running", recovered=True
        ),
        panel.patch(mutations, 1, "r", ""),
        panel.event(emitted, 2, "r"),
        panel.result("r", state),
        Topics().encode("PATCH", mutations, 1, "r", "ann"),
        Topics().encode("EVENT", emitted, 2, "r", "ann"),
        Topics(["events:*"]).encode("EVENT", emitted, 2, "r", "ann"),
    ]
    for frame in frames:
        assert frame is not None
        assert number in frame
        json.loads(frame)


def test_a_patch_says_by_whom_and_for_which_request() -> None:
    payload = payload_of(put("count", 3))
    assert json.loads(panel.patch(payload, 4, "r1", "ann")) == {
        "type": "PATCH",
        "mutations": [{"op": "set", "key": "count", "value": 3}],
        "offset": 4,
        "requestId": "r1",
        "by": "ann",
    }


def test_an_event_stands_under_its_key() -> None:
    payload = '{"name":"incremented","payload":{"by":2},"timestamp":1760000000000}'
    assert json.loads(panel.event(payload, 5, "r1")) == {
        "type": "EVENT",
        "event": {"name": "incremented", "payload": {"by": 2}, "timestamp": 1760000000000},
        "offset": 5,
        "requestId": "r1",
    }


@pytest.mark.parametrize("own", ["", "~", "~3f"])
def test_a_request_id_of_the_servers_own_is_shown_to_nobody(own: str) -> None:
    patch = json.loads(panel.patch(payload_of(put("a", 1)), 1, own, ""))
    assert patch.keys() == {"type", "mutations", "offset"}
    event = json.loads(panel.event('{"name":"a","payload":null,"timestamp":1}', 1, own))
    assert event.keys() == {"type", "event", "offset"}


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (
            panel.result("r1", '{"status":"success"}'),
            {"type": "RESULT", "requestId": "r1", "result": {"status": "success"}},
        ),
        (
            panel.result(None, '{"status":"error"}'),
            {"type": "RESULT", "result": {"status": "error"}},
        ),
        (panel.pong(7), {"type": "PONG", "offset": 7}),
        (panel.status("suspended"), {"type": "STATUS", "status": "suspended"}),
        (panel.subscribed(["a", "b"]), {"type": "SUBSCRIBED", "topics": ["a", "b"]}),
        (
            panel.progress("s", "r", "half", {"done": 0.5}),
            {
                "type": "PROGRESS",
                "suspensionId": "s",
                "requestId": "r",
                "status": "half",
                "data": {"done": 0.5},
            },
        ),
        (
            panel.progress("s", None, "half", 0),
            {"type": "PROGRESS", "suspensionId": "s", "status": "half", "data": 0},
        ),
        (
            panel.progress("s", None, "half", None),
            {"type": "PROGRESS", "suspensionId": "s", "status": "half"},
        ),
    ],
)
def test_the_other_frames(frame: str, says: dict[str, Any]) -> None:
    assert json.loads(frame) == says


# -- topics ---------------------------------------------------------------------------------------

INCREMENTED = '{"name":"counter.incremented","payload":1,"timestamp":1}'
COUNTED = payload_of(put("count", 3), put("/list/0", "x"), drop("old"), put("/a~1b", 1))


def test_everything_comes_by_default() -> None:
    assert Topics().sorted() == ["events", "state"]
    assert Topics().encode("PATCH", COUNTED, 1, "r", "ann") == panel.patch(COUNTED, 1, "r", "ann")
    assert Topics().encode("EVENT", INCREMENTED, 2, "r", "ann") == panel.event(INCREMENTED, 2, "r")


def test_topics_come_and_go_without_changing_what_was() -> None:
    first = Topics()
    second = first.with_(["state:count", "whatever", "state"]).without(["events", "never had"])
    assert first.sorted() == ["events", "state"]
    assert second.sorted() == ["state", "state:count", "whatever"]
    assert second.with_(["events"]).without(["state:count", "whatever"]) == first


def test_the_same_topics_are_one_spelling() -> None:
    one, other = Topics(["state", "x"]), Topics(["x"]).with_(["state"])
    assert {one: 1}[other] == 1
    assert one != Topics(["x"])
    assert one != "state"


def test_topics_cannot_grow_without_end() -> None:
    full = Topics(str(n) for n in range(100))
    assert full.with_(["0", "99"]) == full
    with pytest.raises(Refusal) as caught:
        full.with_(["one more"])
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize(
    "names", [[], ["events"], ["stat"], ["STATE"], ["state:other"], ["state:"]]
)
def test_a_patch_that_no_topic_wants_does_not_come(names: list[str]) -> None:
    assert Topics(names).encode("PATCH", COUNTED, 1, "r", "ann") is None


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["state:count"], ["count"]),
        (["state:list"], ["/list/0"]),
        (["state:a/b"], ["/a~1b"]),
        (["state:old", "state:count", "events"], ["count", "old"]),
        (["state", "state:count"], ["count", "/list/0", "old", "/a~1b"]),
    ],
)
def test_a_patch_is_narrowed_to_keys(names: list[str], keys: list[str]) -> None:
    text = Topics(names).encode("PATCH", COUNTED, 9, "r", "ann")
    assert text is not None
    frame = json.loads(text)
    everything = json.loads(COUNTED)["mutations"]
    assert frame == {
        "type": "PATCH",
        "mutations": [each for each in everything if each["key"] in keys],
        "offset": 9,
        "requestId": "r",
        "by": "ann",
    }


@pytest.mark.parametrize(
    ("pointer", "key"),
    [("/a", "a"), ("/a/b", "a"), ("/~1", "/"), ("/~0", "~"), ("/~01", "~1"), ("/~10", "/0")],
)
def test_a_pointer_is_under_its_first_part_as_rfc_6901_spells_it(pointer: str, key: str) -> None:
    payload = payload_of(put(pointer, 1))
    state = applied({"a": {}}, [put(pointer, 1)])
    assert key in state
    assert Topics([f"state:{key}"]).encode("PATCH", payload, 1, "", "") is not None


def test_the_empty_key_is_a_key() -> None:
    payload = payload_of(put("", 1), put("/", 2), put("//a", 3), put("b", 4))
    text = Topics(["state:"]).encode("PATCH", payload, 1, "", "")
    assert text is not None
    assert [each["key"] for each in json.loads(text)["mutations"]] == ["", "/", "//a"]


@pytest.mark.parametrize(
    ("names", "comes"),
    [
        (["events"], True),
        (["events:counter.incremented"], True),
        (["events:counter.*"], True),
        (["events:*ed", "state"], True),
        (["events:nothing", "events:counter.[a-j]*"], True),
        (["events:Counter.*"], False),
        (["events:counter"], False),
        (["events:"], False),
        (["state"], False),
        ([], False),
    ],
)
def test_an_event_is_narrowed_by_its_name(names: list[str], comes: bool) -> None:
    text = Topics(names).encode("EVENT", INCREMENTED, 1, "r", "ann")
    assert text == (panel.event(INCREMENTED, 1, "r") if comes else None)


# -- several patches as one -----------------------------------------------------------------------


def mutations_of(*payloads: str) -> list[Mutation]:
    found: list[Mutation] = json.loads(merged(payloads))["mutations"]
    return found


def test_the_last_writer_of_a_key_wins_and_the_order_stays() -> None:
    assert mutations_of(
        payload_of(put("a", 1), put("b", 1)),
        payload_of(drop("a"), put("c", 1)),
        payload_of(put("b", 2)),
    ) == [drop("a"), put("c", 1), put("b", 2)]


def test_what_a_pointer_reaches_into_is_kept_whole_and_in_order() -> None:
    assert mutations_of(
        payload_of(put("a", {}), put("n", 1)),
        payload_of(put("/a/x", 1), put("n", 2)),
        payload_of(put("/a/x", 2), put("a", [])),
        payload_of(put("/a/-", 3)),
    ) == [put("a", {}), put("/a/x", 1), put("n", 2), put("/a/x", 2), put("a", []), put("/a/-", 3)]


def test_nothing_merged_is_nothing() -> None:
    assert mutations_of() == []
    assert mutations_of(payload_of(), payload_of()) == []


# -- any input ------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner)
    ),
    max_leaves=9,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
TYPES = ["TRIGGER", "SUBSCRIBE", "UNSUBSCRIBE", "PING", "CANCEL", "RESUME"]
FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES) | JSON},
    optional={
        "tool": TEXT | JSON,
        "args": JSON,
        "requestId": TEXT | JSON,
        "expect": st.integers(0, 9) | JSON,
        "topics": st.lists(TEXT, max_size=4) | JSON,
        "suspensionId": TEXT | JSON,
        "value": JSON,
        "error": TEXT | JSON,
    },
)
#: The messages that the seed's client knows, with the fields that it needs (its TypeScript types).
SEED: dict[str, dict[str, type]] = {
    "CONNECTED": {"panelId": str, "state": dict},
    "RESULT": {"result": dict},
    "PATCH": {"mutations": list},
    "EVENT": {"event": dict},
    "PONG": {},
    "ERROR": {"code": str, "message": str},
}


def understood(text: str) -> dict[str, Any]:
    """A frame as the seed's client reads it: JSON, a known type, its fields with their types."""
    frame: dict[str, Any] = json.loads(text)
    assert not text.count("\n")
    for name, type in SEED[frame["type"]].items():
        assert isinstance(frame[name], type)
    if "requestId" in frame:
        assert isinstance(frame["requestId"], str)
    return frame


@given(st.text() | st.binary())
@example("[" * 2000)
@example('{"a":' * 2000)
def test_any_frame_is_a_command_or_a_refusal(frame: str | bytes) -> None:
    with suppress(Refusal):
        assert isinstance(decode(frame), Command)
    request_id_of(frame)


@given(FRAMES)
def test_any_object_is_a_command_or_a_refusal_that_can_be_told(frame: dict[str, Any]) -> None:
    text = json.dumps(frame)
    try:
        command = decode(text)
    except Refusal as refusal:
        told = understood(panel.error(refusal, request_id_of(text)))
        assert told["code"] in ("PARSE_ERROR", "UNKNOWN_MESSAGE")
        assert (told["code"] == "UNKNOWN_MESSAGE") <= (frame["type"] not in TYPES)
        return
    assert frame["type"] == type(command).__name__.upper()
    match command:
        case Trigger():
            assert command == Trigger(
                frame["tool"], frame.get("args"), frame.get("requestId"), frame.get("expect")
            )
        case Subscribe() | Unsubscribe():
            assert list(command.topics) == frame["topics"]
        case Cancel():
            assert command.request_id == frame["requestId"]
        case Resume():
            assert command == Resume(frame["suspensionId"], frame.get("value"), frame.get("error"))


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(
    id=TEXT,
    state=st.dictionaries(TEXT, JSON),
    offset=st.integers(0, 2**63 - 1),
    tools=st.lists(TEXT),
    recovered=st.booleans(),
)
def test_any_state_comes_back_from_its_frame(
    id: str, state: dict[str, Any], offset: int, tools: list[str], recovered: bool
) -> None:
    frame = understood(
        panel.connected(
            id,
            compact(state),
            offset=offset,
            epoch="e",
            tools=tools,
            status="running",
            recovered=recovered,
        )
    )
    assert (frame["panelId"], frame["state"], frame["offset"]) == (id, state, offset)
    assert (frame["tools"], frame["recovered"]) == (tools, recovered)


@given(name=TEXT, payload=JSON, offset=st.integers(1, 2**63 - 1), request_id=TEXT)
def test_any_event_comes_back_from_its_frame(
    name: str, payload: Any, offset: int, request_id: str
) -> None:
    emitted = {"name": name, "payload": payload, "timestamp": 1}
    frame = understood(panel.event(compact(emitted), offset, request_id))
    assert (frame["event"], frame["offset"]) == (emitted, offset)
    shown = request_id if request_id and request_id[0] != "~" else None
    assert frame.get("requestId") == shown


@given(request_id=st.none() | TEXT.filter(bool), result=st.dictionaries(TEXT, JSON))
def test_any_result_comes_back_from_its_frame(
    request_id: str | None, result: dict[str, Any]
) -> None:
    frame = understood(panel.result(request_id, compact(result)))
    assert (frame["result"], frame.get("requestId")) == (result, request_id)


@given(code=st.sampled_from(Code), message=TEXT, subject=TEXT, request_id=st.none() | TEXT)
def test_any_refusal_can_be_told(
    code: Code, message: str, subject: str, request_id: str | None
) -> None:
    frame = understood(panel.error(Refusal(code, message, subject=subject), request_id))
    assert frame["message"] == message
    assert frame["code"].isupper()


# -- folds ----------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "", "a/b", "~"])
POINTERS = st.sampled_from(
    ["/a", "/b", "/a/x", "/a/x/y", "/b/0", "/b/-", "/c/x", "/", "/a~1b", "/a~1b/x", "/~0", "/~01"]
)
VALUES = st.sampled_from([1, "t", None, [], [1, 2], {}, {"x": 1}, {"x": {"y": 2}, "0": 3}])
MUTATIONS = st.builds(put, KEYS | POINTERS, VALUES) | st.builds(drop, KEYS | POINTERS)


def committed(attempts: list[list[Mutation]]) -> tuple[list[str], dict[str, Any]]:
    """What a panel logs of these, and its state: what cannot be applied is not committed."""
    state: dict[str, Any] = {}
    payloads = []
    for mutations in attempts:
        with suppress(ValueError):
            state = applied(state, deepcopy(mutations))
            payloads.append(compact({"mutations": mutations}))
    return payloads, state


def folded(texts: list[str | None]) -> dict[str, Any]:
    """The state as a client has it that applies every PATCH that it gets."""
    state: dict[str, Any] = {}
    for text in texts:
        if text is not None:
            state = applied(state, understood(text)["mutations"])
    return state


@given(st.lists(st.lists(MUTATIONS, max_size=4), max_size=8))
def test_patches_fold_to_the_state(attempts: list[list[Mutation]]) -> None:
    payloads, state = committed(attempts)
    topics = Topics()
    assert folded([topics.encode("PATCH", each, 1, "r", "") for each in payloads]) == state


@given(st.lists(st.lists(MUTATIONS, max_size=4), max_size=8), st.data())
def test_merged_patches_fold_to_the_same_state(
    attempts: list[list[Mutation]], data: st.DataObject
) -> None:
    payloads, state = committed(attempts)
    cut = data.draw(st.integers(0, len(payloads)))
    first, then = payloads[:cut], payloads[cut:]
    assert folded([panel.patch(merged(payloads), 1, "", "")]) == state
    assert folded([panel.patch(merged(each), 1, "", "") for each in (first, then)]) == state
    again = merged([merged(first), merged(then)])
    assert folded([panel.patch(again, 1, "", "")]) == state


@given(st.lists(st.lists(MUTATIONS, max_size=4), max_size=8), st.sets(KEYS))
def test_a_narrowed_client_has_its_part_of_the_state(
    attempts: list[list[Mutation]], keys: set[str]
) -> None:
    payloads, state = committed(attempts)
    topics = Topics(f"state:{key}" for key in keys)
    part = folded([topics.encode("PATCH", each, 1, "r", "") for each in payloads])
    assert part == {key: value for key, value in state.items() if key in keys}
