"""The run dialect: what frames say, without a socket (``docs/runs.md``).

``decode`` gives a command or raises ``Refusal``; ``human_decision`` and ``mutate_dag`` do so for
bodies that come over HTTP. The functions below them give frames. What is JSON text already (a
logged payload, a snapshot) goes into a frame as it is. Whether a gate is open, and whether a
mutation fits the graph, is left to the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

import orjson

from ..exceptions import Code, Refusal

MOST_NAME: Final = 64  # characters of an id or a ref
MOST_TEXT: Final = 10_000  # characters of a feedback or a reason
MOST_CHANGES: Final = 1000  # entries of each list of a mutation
MOST_DEPTH: Final = 64  # objects and lists in one another, as machines take them
LARGEST: Final = 2**63 - 1  # what every database has as an integer

Verdict = Literal["approve", "reject", "modify"]
VERDICTS: Final[tuple[Verdict, ...]] = ("approve", "reject", "modify")
#: What a rejection ends: the node, only what the gate was shown (it is done again), or the run.
DecisionScope = Literal["node", "phase", "abort"]
SCOPES: Final[tuple[DecisionScope, ...]] = ("node", "phase", "abort")
MUTATION_KINDS: Final = (
    "add_node",
    "remove_node",
    "replace_node",
    "add_edge",
    "fork",
    "expand",
    "loop_back",
    "restart",
)
#: Conflicts that have a word of their own; ``Refusal.subject`` is that word.
CONFLICTS: Final = frozenset({"gate_closed", "gate_changed", "stale_topology"})

#: A message as it was sent, or the body of a request that stands for one.
Fields = Mapping[str, Any]
#: A defect of a message: a JSON Pointer, a code, a sentence.
Detail = dict[str, Any]
Word = TypeVar("Word", bound=str)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HumanDecision:
    """Decide at a gate, which ``node_id`` or ``gate_id`` names; one of them is there.

    ``revision``: the one that was seen; None: decide whatever is shown now. ``option_id``: the
    gate's option that was chosen.
    """

    node_id: str | None
    decision: Verdict
    feedback: str = ""
    gate_id: str | None = None
    revision: int | None = None
    scope: DecisionScope = "node"
    option_id: str | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Start no more nodes."""

    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after a pause."""

    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the run."""

    ref: str | None = None


@dataclass(frozen=True, slots=True)
class MutateDag:
    """Change the graph, which is at ``topology_version``.

    ``mutation``: ``{"kind", "nodes_added", "nodes_removed", "nodes_changed", "edges_added",
    "edges_removed", "reason"}``; all of them are there.
    """

    mutation: dict[str, Any]
    topology_version: int
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Resync:
    """Tell again what came after ``since``, an offset of ``epoch``."""

    since: int
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Go on with fresh credentials."""

    token: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""


Command = HumanDecision | Pause | Resume | Cancel | MutateDag | Resync | Authenticate | Ping


# -- client → server ------------------------------------------------------------------------------


def decode(text: str | bytes) -> Command:
    """The command of a frame; keys that it does not know are passed over.

    Raises ``Refusal``: invalid_json for what is no JSON object, unknown_message for another
    ``type``, invalid_input, with details, for a field that is missing or wrong.
    """
    frame = _object(text)
    match frame.get("type"):
        case "human_decision":
            return human_decision(frame)
        case "pause_execution":
            return Pause(_name(frame, "ref"))
        case "resume_execution":
            return Resume(_name(frame, "ref"))
        case "cancel_execution":
            return Cancel(_name(frame, "ref"))
        case "mutate_dag":
            return mutate_dag(frame)
        case "resync":
            return Resync(_required("since", _number(frame, "since", 0)), _name(frame, "epoch"))
        case "authenticate":
            return Authenticate(_token(frame), _name(frame, "ref"))
        case "ping":
            return Ping()
        case str() as other:
            raise Refusal(Code.UNKNOWN_MESSAGE, f'There is no message "{other[:50]}".')
        case _:
            raise Refusal(Code.UNKNOWN_MESSAGE, 'Every message has a "type": a text.')


def ref_of(text: str | bytes) -> str | None:
    """The ref of a frame that was refused, when it can be read."""
    try:
        return _name(_object(text), "ref")
    except Refusal:
        return None


def human_decision(fields: Fields) -> HumanDecision:
    """A decision; raises ``Refusal`` (invalid_input)."""
    node_id, gate_id = _name(fields, "node_id"), _name(fields, "gate_id")
    if node_id is None and gate_id is None:
        raise _wrong("/node_id", "missing", "A decision says at which node_id or gate_id.")
    return HumanDecision(
        node_id,
        _required("decision", _choice(fields, "decision", VERDICTS)),
        _prose(fields.get("feedback"), "/feedback"),
        gate_id,
        _number(fields, "revision", 1),
        _choice(fields, "scope", SCOPES) or "node",
        _name(fields, "option_id"),
        _name(fields, "ref"),
    )


def mutate_dag(fields: Fields) -> MutateDag:
    """A mutation, all its parts of the right shape; raises ``Refusal`` (invalid_input)."""
    return MutateDag(
        _mutation(_required("mutation", fields.get("mutation"))),
        _required("topology_version", _number(fields, "topology_version", 1)),
        _name(fields, "ref"),
    )


def _mutation(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("/mutation", "wrong_type", "It is an object.")
    if _is_deeper(value, MOST_DEPTH):
        raise _wrong("/mutation", "too_deep", f"It is nested at most {MOST_DEPTH} levels deep.")
    kind = value.get("kind")
    if kind not in MUTATION_KINDS:
        code = "missing" if kind is None else "not_a_choice"
        raise _wrong("/mutation/kind", code, f"It is one of {', '.join(MUTATION_KINDS)}.")
    return {
        "kind": kind,
        "nodes_added": _entries(value, "nodes_added", _node),
        "nodes_removed": _entries(value, "nodes_removed", _checked_name),
        "nodes_changed": _entries(value, "nodes_changed", _node),
        "edges_added": _entries(value, "edges_added", _edge),
        "edges_removed": _entries(value, "edges_removed", _edge),
        "reason": _prose(value.get("reason"), "/mutation/reason"),
    }


def _entries(mutation: Fields, name: str, check: Callable[[Any, str], T]) -> list[T]:
    value, path = mutation.get(name), f"/mutation/{name}"
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_CHANGES:
        raise _wrong(path, "wrong_type", f"It is a list of at most {MOST_CHANGES} entries.")
    return [check(entry, f"{path}/{index}") for index, entry in enumerate(value)]


def _node(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "wrong_type", 'A node is an object with an "id".')
    _checked_name(value.get("id"), f"{path}/id")
    return value


def _edge(value: Any, path: str) -> list[str]:
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(path, "wrong_type", "An edge is a list of two nodes: from, to.")
    return [_checked_name(end, f"{path}/{index}") for index, end in enumerate(value)]


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except ValueError:
        raise Refusal(Code.INVALID_JSON, "A message is JSON.") from None
    if not isinstance(frame, dict):
        raise Refusal(Code.INVALID_JSON, "A message is a JSON object.")
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
        if not level:
            return False
    return True


def _wrong(path: str, code: str, message: str) -> Refusal:
    detail: Detail = {"path": path, "code": code, "message": message}
    return Refusal(Code.INVALID_INPUT, f"{path[1:]}: {message}", details=[detail])


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise _wrong(f"/{name}", "missing", "This message can't be without it.")
    return value


def _name(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else _checked_name(value, f"/{name}")


def _checked_name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MOST_NAME or not value.isprintable():
        message = f"It is a printable text of 1 to {MOST_NAME} characters."
        raise _wrong(path, "missing" if value is None else "wrong_type", message)
    return value


def _token(fields: Fields) -> str:
    value = fields.get("token")
    if not isinstance(value, str) or not value:
        raise _wrong("/token", "missing" if value is None else "wrong_type", "It is a text.")
    return value


def _prose(value: Any, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_TEXT or "\0" in value:
        raise _wrong(path, "wrong_type", f"It is a text of at most {MOST_TEXT} characters.")
    return value


def _number(fields: Fields, name: str, least: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= LARGEST:
        raise _wrong(f"/{name}", "wrong_type", f"It is a whole number from {least}.")
    return int(value)


def _choice(fields: Fields, name: str, choices: Sequence[Word]) -> Word | None:
    value = fields.get(name)
    if value is None:
        return None
    for choice in choices:
        if choice == value:
            return choice
    raise _wrong(f"/{name}", "not_a_choice", f"It is one of {', '.join(choices)}.")


# -- server → client ------------------------------------------------------------------------------


def entry(type: str, payload: str, offset: int, at: str) -> str:
    """An entry of the log. ``payload``: an object as JSON text; ``at``: ISO 8601."""
    return f'{{"type":{_json(type)}{_inner(payload)},"offset":{offset},"at":{_json(at)}}}'


def snapshot(view: str, *, offset: int, epoch: str, recovered: bool, at: str) -> str:
    """The first frame. ``view``: the run as JSON text, ``{"run", "nodes", "edges", "cost",
    "open_gates", "topology_version"}``, as it is at ``offset``."""
    place = {"offset": offset, "epoch": epoch, "recovered": recovered, "at": at}
    return f'{{"type":"snapshot"{_inner(view)}{_inner(_json(place))}}}'


def plain(view: Mapping[str, Any], *, offset: int, at: str) -> Iterator[str]:
    """A snapshot once more, in messages that clients know who know no snapshot.

    ``view``: as for ``snapshot``, read; ``open_gates`` are ``{"node_id", "presentation"}``.
    """
    place = {"offset": offset, "at": at}
    for id, node in view["nodes"].items():
        told = {key: node[key] for key in _NODE_STATE if key in node}
        yield _json({"type": "node_state", "node_id": id, **told, **place})
    yield _json({"type": "cost_update", **view["cost"], **place})
    for gate in view["open_gates"]:
        yield _json({"type": "human_gate_waiting", **gate, **place})


_NODE_STATE: Final = ("status", "output", "metrics", "attempt", "error", "reason")


def ack(ref: str | None) -> str:
    return _json({"type": "ack"} if ref is None else {"type": "ack", "ref": ref})


def error(refusal: Refusal, *, node_id: str | None = None, ref: str | None = None) -> str:
    """What was asked for was refused; in no log, so without an offset."""
    frame: dict[str, Any] = {
        "type": "error",
        "code": error_code(refusal),
        "message": refusal.message,
    }
    if node_id is not None:
        frame["node_id"] = node_id
    if ref is not None:
        frame["ref"] = ref
    if refusal.details:
        frame["details"] = refusal.details
    if refusal.retry_after is not None:
        frame["retry_after"] = refusal.retry_after
    return _json(frame)


def error_code(refusal: Refusal) -> str:
    """A refusal's code in this dialect's words."""
    if refusal.code is Code.CONFLICT and refusal.subject in CONFLICTS:
        return refusal.subject
    return refusal.code.value


def pong() -> str:
    return '{"type":"pong"}'


def _inner(text: str) -> str:
    """What is between the braces of an object, to stand behind something else."""
    return f",{text[1:-1]}" if text != "{}" else ""


def _json(value: Any) -> str:
    return orjson.dumps(value, default=_exact).decode()


def _exact(value: Any) -> orjson.Fragment:
    """A ``Decimal`` as a number with all its digits."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value).encode())
    raise TypeError(f"{type(value).__name__} is no JSON value")
