"""The machine dialect: text in, command out; answer in, text out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mashin_surfaces.dialects.machine import (
    Authenticate,
    Envelope,
    Invoke,
    Ping,
    Plain,
    Subscribe,
    Unsubscribe,
)
from mashin_surfaces.exceptions import Code, Refusal


def loads(text: str | bytes) -> dict[str, Any]:
    """What a schema gives the dialect: strict JSON objects."""
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise Refusal(Code.INVALID_JSON, "not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(Code.INVALID_JSON, "not an object")
    return value


@pytest.fixture
def plain() -> Plain:
    return Plain(loads, frozenset({"text"}))


@pytest.fixture
def envelope() -> Envelope:
    return Envelope(loads, frozenset({"text"}))


def test_a_bare_object_invokes_the_machine(plain: Plain) -> None:
    assert plain.decode('{"text": "hi"}') == Invoke({"text": "hi"})


def test_a_control_word_that_the_machine_accepts_is_input() -> None:
    dialect = Plain(loads, frozenset({"subscribe", "type"}))
    frame = {"subscribe": "x", "type": "authenticate", "token": "t"}
    assert dialect.decode(json.dumps(frame)) == Invoke(frame)


def test_topics_are_followed_and_left_in_every_spelling(plain: Plain, envelope: Envelope) -> None:
    assert plain.decode('{"subscribe": "cpu"}') == Subscribe("cpu")
    assert plain.decode('{"unsubscribe": "cpu"}') == Unsubscribe("cpu")
    frame = {"id": 3, "subscribe": "cpu", "since": 7, "epoch": "e"}
    assert envelope.decode(json.dumps(frame)) == Subscribe("cpu", 7, "e", 3)
    assert envelope.decode('{"id": 4, "unsubscribe": "cpu"}') == Unsubscribe("cpu", 4)


@pytest.mark.parametrize(
    "frame",
    [
        {"subscribe": 5},
        {"subscribe": None},
        {"unsubscribe": ["cpu"]},
        {"subscribe": "cpu", "since": -1},
        {"subscribe": "cpu", "since": True},
        {"subscribe": "cpu", "since": "7"},
        {"subscribe": "cpu", "epoch": 1},
        {"subscribe": "cpu", "input": {}},
        {"unsubscribe": "cpu", "since": 1},
    ],
)
def test_a_wrong_subscription_is_refused(
    plain: Plain, envelope: Envelope, frame: dict[str, Any]
) -> None:
    for dialect, text in ((plain, frame), (envelope, {"id": 1, **frame})):
        with pytest.raises(Refusal) as refused:
            dialect.decode(json.dumps(text))
        assert refused.value.code is Code.UNKNOWN_MESSAGE


def test_bare_frames_can_not_say_where_they_left_off(plain: Plain) -> None:
    with pytest.raises(Refusal, match="does not know since"):
        plain.decode('{"subscribe": "cpu", "since": 1}')


def test_a_push_is_bare_or_says_what_it_is(plain: Plain, envelope: Envelope) -> None:
    assert plain.pushed("cpu", 7, '{"a":1}') == '{"a":1}'
    assert json.loads(envelope.pushed('c"u', 7, '{"a":1}')) == {
        "push": {"a": 1},
        "topic": 'c"u',
        "offset": 7,
    }
    assert "offset" not in json.loads(envelope.pushed("cpu", 0, "{}"))


def test_only_the_envelope_has_frames_around_pushes(plain: Plain, envelope: Envelope) -> None:
    assert plain.subscribed(None, "cpu", 7, "e", True) is None
    assert plain.unsubscribed(None, "cpu") is None
    assert plain.reset("cpu", 7, "e") is None
    assert plain.done(None) is None
    told = [
        envelope.subscribed(1, "cpu", 7, "e", True),
        envelope.unsubscribed(2, "cpu"),
        envelope.reset("cpu", 7, "e"),
        envelope.done(3),
    ]
    assert [json.loads(text or "") for text in told] == [
        {"id": 1, "subscribed": "cpu", "offset": 7, "epoch": "e", "recovered": True},
        {"id": 2, "unsubscribed": "cpu"},
        {"reset": True, "topic": "cpu", "offset": 7, "epoch": "e"},
        {"id": 3, "done": True},
    ]


def test_fresh_credentials_come_in_every_spelling(plain: Plain, envelope: Envelope) -> None:
    frame = {"type": "authenticate", "token": "a.b.c"}
    assert plain.decode(json.dumps(frame)) == Authenticate("a.b.c")
    assert envelope.decode(json.dumps({"id": 7, **frame})) == Authenticate("a.b.c", 7)


@pytest.mark.parametrize("token", [None, "", 5, ["a"]])
def test_a_token_that_is_no_text_is_refused(plain: Plain, token: object) -> None:
    with pytest.raises(Refusal) as refused:
        plain.decode(json.dumps({"type": "authenticate", "token": token}))
    assert refused.value.code is Code.UNKNOWN_MESSAGE


def test_only_the_envelope_has_pings(plain: Plain, envelope: Envelope) -> None:
    frame = {"id": "p1", "type": "ping"}
    assert envelope.decode(json.dumps(frame)) == Ping("p1")
    assert json.loads(envelope.pong("p1") or "") == {"id": "p1", "pong": True}
    with pytest.raises(Refusal, match="does not know input"):
        envelope.decode(json.dumps({**frame, "input": {}}))
    assert plain.decode(json.dumps(frame)) == Invoke(frame)
    assert plain.pong(None) is None


def test_the_envelope_carries_the_id_both_ways(envelope: Envelope) -> None:
    assert envelope.decode('{"id": "q1", "input": {"a": 1}}') == Invoke({"a": 1}, "q1")
    assert json.loads(envelope.result("q1", b'{"b":2}')) == {"id": "q1", "result": {"b": 2}}
    assert json.loads(envelope.refusal("q1", {"code": "busy"})) == {
        "id": "q1",
        "error": {"code": "busy"},
    }


@pytest.mark.parametrize(
    "frame",
    [
        {"input": {}},
        {"id": None, "input": {}},
        {"id": True, "input": {}},
        {"id": 1.5, "input": {}},
        {"id": "x" * 129, "input": {}},
        {"id": 1},
        {"id": 1, "input": []},
        {"id": 1, "input": {}, "more": 1},
    ],
)
def test_a_wrong_envelope_is_refused(envelope: Envelope, frame: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        envelope.decode(json.dumps(frame))
    assert refused.value.code is Code.UNKNOWN_MESSAGE


def test_a_refused_envelope_still_tells_its_id(envelope: Envelope) -> None:
    assert envelope.id_of('{"id": "q9", "input": 5}') == "q9"
    assert envelope.id_of("{oops") is None
    assert envelope.id_of('{"id": []}') is None


@given(st.text() | st.binary())
def test_any_frame_is_a_command_or_a_refusal(frame: str | bytes) -> None:
    for dialect in (Plain(loads, frozenset()), Envelope(loads, frozenset())):
        with suppress(Refusal):
            dialect.decode(frame)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
FRAMES = st.dictionaries(
    st.sampled_from(["id", "input", "type", "token", "subscribe", "unsubscribe", "x"]),
    JSON | st.sampled_from(["authenticate", "cpu"]),
)


@given(FRAMES)
def test_any_object_is_a_command_or_a_refusal(frame: dict[str, Any]) -> None:
    text = json.dumps(frame)
    for dialect in (Plain(loads, frozenset({"x"})), Envelope(loads, frozenset({"x"}))):
        try:
            command = dialect.decode(text)
        except Refusal:
            continue
        assert isinstance(command, Invoke | Authenticate | Subscribe | Unsubscribe | Ping)


@given(st.text(max_size=128) | st.integers(-(2**63), 2**63 - 1))
def test_any_id_comes_back_as_it_was(id: str | int) -> None:
    envelope = Envelope(loads, frozenset())
    assert json.loads(envelope.result(id, b"{}"))["id"] == id
