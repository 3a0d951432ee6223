"""A client of a panel (``docs/panels.md``): its state as it changes, its tools, its suspensions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from .client import Client, Frame, new_id, spelled
from .errors import ClientError
from .events import Gap

ALL = frozenset({"state", "events"})


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of the state. ``key``: a top-level key, or a JSON Pointer (RFC 6901)."""

    op: str
    key: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Changes that were committed together. ``by``: whose trigger it was, "" for nobody's."""

    offset: int
    mutations: tuple[Mutation, ...]
    request_id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class PanelEvent:
    """What a tool has emitted. ``timestamp``: milliseconds since 1970."""

    offset: int
    name: str
    payload: Any
    timestamp: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trigger. ``status``: ``success``, ``error`` or ``suspended``.

    ``suspension``: what the tool waits for, when it does: ``{"suspensionId", "extensionName",
    "method", "args"}``; then another ``Result`` comes as an event once it goes on. ``error``:
    ``{"code"?, "message", …}``. ``raw``: the whole ExecutionResult.
    """

    request_id: str
    status: str
    value: Any
    suspension: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tool says that it is; told to who triggered it, in no log."""

    request_id: str
    status: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The panel is ``running``, or ``suspended``: a tool waits for something."""

    status: str


PanelNews = Patch | PanelEvent | Result | Progress | StatusChanged | Gap


class PanelClient(Client[PanelNews]):
    """``url``: ``…/panels/<id>/ws``, or a websocket surface of the dialect ``panel``.

    ``topics``: what is told (``state``, ``events``, ``state:<key>``, ``events:<glob>``); ``state``
    of this object follows what is told.

        async with PanelClient("ws://127.0.0.1:9000/panels/seed-1/ws", token=token) as panel:
            result = await panel.trigger("increment", {"by": 2})
            panel.state["count"]
    """

    kinds = (Patch, PanelEvent, Result, Progress, StatusChanged, Gap)

    def __init__(self, url: str, *, topics: Iterable[str] = ALL, **options: Any) -> None:
        super().__init__(url, **options)
        self.panel_id = ""
        self.tools: tuple[str, ...] = ()
        self.status = ""
        self._topics = frozenset(topics)
        self._state: dict[str, Any] = {}
        self._offset: int | None = None
        self._epoch = ""
        self._pings: deque[str] = deque()  # the calls that are over when their PONGs come

    @property
    def state(self) -> Mapping[str, Any]:
        """The state as it is known here; it changes by itself."""
        return MappingProxyType(self._state)

    @property
    def offset(self) -> int:
        """Up to where in the panel's log everything was told."""
        return self._offset or 0

    async def trigger(
        self,
        tool: str,
        args: Any = None,
        *,
        expect: int | None = None,
        request_id: str | None = None,
    ) -> Result:
        """Run a tool, once; its result, once what it did is in ``state``.

        ``expect``: only when the panel is at this offset. ``request_id``: the same again within 10
        minutes gets the same result. A tool that failed is a result with the status ``error``.

        Raises ``ClientError`` for what is not run: ``TOOL_NOT_FOUND``, ``INVALID_ARGS``, …
        """
        id = request_id or new_id()
        frame = {"type": "TRIGGER", "tool": tool, "requestId": id}
        result: Result = await self._ask(id, spelled(frame, args=args, expect=expect))
        return result

    async def resume(
        self, suspension_id: str, value: Any = None, *, error: str | None = None
    ) -> None:
        """Answer what a tool waits for, or have it fail with ``error``; what comes of it is told
        as a ``Result``. Raises ``ClientError``: ``SUSPENSION_NOT_FOUND``, ``CONFLICT``."""
        id = new_id()
        frame = {"type": "RESUME", "suspensionId": suspension_id, "requestId": id, "value": value}
        text = spelled(frame, error=error)

        def spell() -> str:
            # A RESUME that is carried out has no answer of its own; the PONG behind it says so.
            self._pings.append(id)
            self._outgoing.say('{"type":"PING"}')
            return text

        await self._outgoing.ask(id, spell)

    def cancel(self, request_id: str) -> None:
        """End a trigger of one's own that waits, runs or is suspended; its result says so."""
        self._outgoing.say(spelled({"type": "CANCEL", "requestId": request_id}))

    def subscribe(self, *topics: str) -> None:
        """From now on only these topics are told."""
        before, self._topics = self._topics, frozenset(topics)
        self._choose(before)

    def _choose(self, before: frozenset[str]) -> None:
        for type, topics in (
            ("UNSUBSCRIBE", before - self._topics),
            ("SUBSCRIBE", self._topics - before),
        ):
            if topics:
                self._outgoing.say(spelled({"type": type, "topics": sorted(topics)}))

    # -- for the connection ---------------------------------------------------------------------

    def query(self) -> Mapping[str, str]:
        if self._offset is None:
            return {"v": "2"}
        return {"v": "2", "since": str(self._offset), "epoch": self._epoch}

    def joined(self) -> None:
        super().joined()
        self._pings.clear()

    def _hear(self, frame: Frame) -> None:
        match frame["type"]:
            case "CONNECTED":
                self._connected(frame)
            case "PATCH" if self._is_new(frame):
                self._patched(frame)
            case "EVENT" if self._is_new(frame):
                self._emitted(frame)
            case "RESULT":
                self._resulted(frame)
            case "PROGRESS":
                id = frame.get("requestId", "")
                self._tell(Progress(id, frame["status"], frame.get("data")))
            case "STATUS":
                self.status = frame["status"]
                self._tell(StatusChanged(self.status))
            case "PONG" if self._pings:
                self._outgoing.answer(self._pings.popleft(), None)
            case "ERROR":
                self._refused(frame)

    def _connected(self, frame: Frame) -> None:
        self.panel_id, self.tools = frame["panelId"], tuple(frame["tools"])
        self.status = frame["status"]
        # What is recovered is told by patches behind this frame; its state has them already.
        if self._offset is None or not frame["recovered"]:
            if self._offset is not None:
                self._tell(Gap(self._offset, frame["offset"], frame["epoch"]))
            self._state, self._offset = dict(frame["state"]), frame["offset"]
        self._epoch = frame["epoch"]
        self._welcomed()
        self._choose(ALL)

    def _is_new(self, frame: Frame) -> bool:
        """Whether an entry of the log was not told before."""
        if self._offset is not None and frame["offset"] <= self._offset:
            return False
        self._offset = frame["offset"]
        return True

    def _patched(self, frame: Frame) -> None:
        mutations = tuple(
            Mutation(each["op"], each["key"], each.get("value")) for each in frame["mutations"]
        )
        wanted = tuple(each for each in mutations if self._wants(each))
        for mutation in wanted:
            _apply(self._state, mutation)
        if wanted:
            id, by = frame.get("requestId", ""), frame.get("by", "")
            self._tell(Patch(frame["offset"], wanted, id, by))

    def _wants(self, mutation: Mutation) -> bool:
        return "state" in self._topics or f"state:{_path(mutation.key)[0]}" in self._topics

    def _emitted(self, frame: Frame) -> None:
        event = frame["event"]
        globs = [each[7:] for each in self._topics if each.startswith("events:")]
        if "events" in self._topics or any(fnmatchcase(event["name"], glob) for glob in globs):
            at, id = event["timestamp"], frame.get("requestId", "")
            self._tell(PanelEvent(frame["offset"], event["name"], event["payload"], at, id))

    def _resulted(self, frame: Frame) -> None:
        raw, id = frame["result"], frame.get("requestId", "")
        result = Result(
            id, raw["status"], raw.get("returnValue"), raw.get("suspension"), raw.get("error"), raw
        )
        self._outgoing.answer(id, result)
        self._tell(result)

    def _refused(self, frame: Frame) -> None:
        error = ClientError.of(frame)
        if "requestId" in frame:
            self._outgoing.fail(frame["requestId"], error)
        else:
            self._reason = error


def _apply(state: dict[str, Any], mutation: Mutation) -> None:
    """Change the state as the server did: a key, or where a JSON Pointer leads.

    Containers on the way are copied: what was told in events before stays as it was.
    """
    *way, last = _path(mutation.key)
    where: Any = state
    for part in way:
        place: Any = int(part) if isinstance(where, list) else part
        where[place] = copy(where[place])
        where = where[place]
    if isinstance(where, dict):
        if mutation.op == "set":
            where[last] = mutation.value
        else:
            where.pop(last, None)
    elif mutation.op != "set":
        del where[int(last) : int(last) + 1]
    elif last == "-":
        where.append(mutation.value)
    else:
        where[int(last)] = mutation.value


def _path(key: str) -> list[str]:
    if not key.startswith("/"):
        return [key]
    return [part.replace("~1", "/").replace("~0", "~") for part in key[1:].split("/")]
