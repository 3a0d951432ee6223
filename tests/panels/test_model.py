"""Any sequence of frames: the model, the client's own fold of PATCHes, and the state are one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.panels.conftest import Client, Frame, Panels

pytestmark = pytest.mark.slow

Sent = tuple[str, Any]
ANSWERS = ("RESULT", "ERROR", "PONG")

keys = st.sampled_from(["a", "b", "count", "/a", "/a/b", "~", "", "über"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
ids = st.none() | st.sampled_from(["one", "two"])

#: Frames that a panel carries out: ``(requestId, tool and args)``.
changes = st.builds(
    lambda sets, deletes: {"tool": "change", "args": {"sets": sets, "deletes": deletes}},
    st.dictionaries(keys, values, max_size=3),
    st.lists(keys, max_size=2),
)
appends = st.builds(lambda value: {"tool": "append", "args": {"value": value}}, values)
failures = st.sampled_from(
    [{"tool": "fail", "args": {"how": how}} for how in ("raise", "return", "state")]
)
#: Frames that it refuses, whatever its state.
refused = st.sampled_from(
    [
        {"tool": "nothing"},
        {"tool": "change", "args": [1]},
        {"tool": "change", "args": {"sets": 7}},
        {"tool": "append"},
        {"tool": "change", "args": {"sets": {"a": 1}}, "expect": 10**9},
        {"tool": 7},
        {"tool": "change", "requestId": 7},
    ]
)
triggers = st.builds(
    lambda frame, id: ("trigger", ({"requestId": id} if id else {}) | frame),
    changes | appends | failures | refused,
    ids,
)
texts = st.sampled_from(["nope", "[]", '{"type":"DANCE"}', '{"type":', "\N{SNOWMAN}", "{}"]).map(
    lambda text: ("text", text)
)
garbage = st.text(max_size=20).filter(lambda text: not _is_object(text))
others = st.sampled_from(
    [
        {"type": "PING"},
        {"type": "SUBSCRIBE", "topics": ["state:a", "events:x*"]},
        {"type": "UNSUBSCRIBE", "topics": ["events", "never"]},
        {"type": "CANCEL", "requestId": "nobody"},
        {"type": "RESUME", "suspensionId": "none"},
    ]
).map(lambda frame: ("text", json.dumps(frame)))
sent = triggers | texts | garbage.map(lambda text: ("text", text)) | others


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


class Model:
    """What a panel is to do, in a few lines."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.answered: set[str] = set()

    def take(self, frame: dict[str, Any]) -> str:
        """The type of the frame's answer; the state afterwards is the panel's."""
        tool, id = frame["tool"], frame.get("requestId")
        args: Any = frame.get("args")
        is_readable = isinstance(tool, str) and (id is None or isinstance(id, str))
        if is_readable and id in self.answered:
            return "RESULT"  # the one that it had
        if not is_readable or not _is_right(frame):
            return "ERROR"
        if id is not None:
            self.answered.add(id)
        if tool == "change":
            self.state |= args["sets"]
            for key in args["deletes"]:
                self.state.pop(key, None)
        elif tool == "append":
            self.state["items"] = [*self.state.get("items", []), args["value"]]
        return "RESULT"


def _is_right(frame: dict[str, Any]) -> bool:
    args = frame.get("args")
    if "expect" in frame or not isinstance(args, dict):
        return False
    match frame["tool"]:
        case "change":
            return isinstance(args["sets"], dict)
        case "append":
            return "value" in args
        case other:
            return bool(other == "fail")


async def play(panels: Panels, script: list[Sent]) -> None:
    panel = await panels.create(["change", "append", "fail"])
    model = Model()
    wanted: Counter[str] = Counter()
    rows = 0
    async with panels.client(panel) as client, panels.client(panel) as other:
        for kind, what in script:
            if kind == "text":
                await client.socket.send(what)
                wanted[answer_of(what)] += 1
                rows += answer_of(what) == "ERROR" and "RESUME" not in what
            else:
                wanted[model.take(what)] += 1
                rows += 1
                await client.socket.send(json.dumps({"type": "TRIGGER", **what}))
        heard = Counter(frame["type"] for frame in await settled(client))
        assert {type: heard[type] for type in ANSWERS} == {type: wanted[type] for type in ANSWERS}
        await settled(other)
        state = await panels.state(panel)
        assert same(state, model.state)
        assert same(client.fold, state)
        assert same(other.fold, state)
        offset = (await panels.http("GET", f"/panels/{panel}")).json()["offset"]
        log = await panels.events(panel)
        assert [event["offset"] for event in log] == list(range(1, offset + 1))
        async with panels.client(panel, since=0) as late:
            late.fold = {}
            await late_patches(late, offset)
            assert same(late.fold, state)
    assert len(panels.triggers(panel)) == rows + 2  # those by which it settled


def answer_of(text: str) -> str:
    """The type of what answers a frame that triggers nothing; "" for none."""
    try:
        type = json.loads(text)["type"]
    except (ValueError, TypeError, KeyError):
        return "ERROR"
    return {"PING": "PONG", "SUBSCRIBE": "", "UNSUBSCRIBE": ""}.get(type, "ERROR")


async def settled(client: Client) -> list[Frame]:
    """All that was sent is done, and all that came of it: this trigger was behind it."""
    id = await client.trigger("change", {"sets": {}, "deletes": []})
    return (await client.until("RESULT", requestId=id))[:-1]


async def late_patches(client: Client, offset: int) -> None:
    while offset and (await client.hear()).get("offset") != offset:
        pass


def same(one: Any, other: Any) -> bool:
    """As JSON: ``1`` is not ``true``; a float that is whole is the integer that it looks like."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.fixture(scope="module")
def runner() -> Any:
    with asyncio.Runner() as made:
        yield made


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(sent, max_size=25))
def test_any_sequence_of_frames_leaves_model_fold_and_state_equal(
    panels: Panels, runner: asyncio.Runner, script: list[Sent]
) -> None:
    game: Awaitable[None] = play(panels, script)
    runner.run(asyncio.wait_for(game, 60))
