"""A client of an incubator (``docs/incubators.md``): an agent on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import Any, Literal

from .claim import Claim
from .client import Client, Frame, new_id, spelled
from .errors import ClientError, ToolFailed
from .events import Gap, Reset

Command = Literal["halt", "pause", "resume"]
#: An epoch that no log has: nothing of what is kept is asked for, the state comes at once.
NO_EPOCH = "-"
RESET = "reset"


@dataclass(frozen=True, slots=True)
class BusEvent:
    """What an agent, or a tool in its name, has published. ``timestamp``: ISO 8601, UTC; "" where
    it woke somebody."""

    id: int
    type: str
    data: Any
    agent_id: str
    timestamp: str = ""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A key has another value, or none any more. ``version``: of this key, +1 with each write."""

    id: int
    key: str
    value: Any
    agent_id: str
    version: int
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class ClaimChanged:
    """``status``: ``claimed``, ``renewed``, ``released`` or ``expired``."""

    id: int
    resource: str
    owner: str
    status: str
    fence: int


@dataclass(frozen=True, slots=True)
class Controlled:
    """Everybody, or the agent ``target`` alone, is to stop or to go on."""

    id: int
    command: Command
    reason: str
    by: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was used since the epoch began. ``cost``: US dollars."""

    tokens: int
    cost: float
    agents: int
    events: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that can be called."""

    name: str
    description: str


BusNews = BusEvent | StateChanged | ClaimChanged | Controlled | Reset | Gap


class IncubatorClient(Client[BusNews]):
    """``url``: of a websocket surface of the dialect ``incubator``.

    ``agent_id``: in whose name; ``types``: globs of the events that are told, else all.
    ``since``: None: from now on; else the id (of ``epoch``) after which everything is told, 0 for
    all that is kept; ``events()`` before entering misses none of it. Then ``state`` is what that
    tells, and entering does not wait for it.

        async with IncubatorClient("ws://127.0.0.1:9000/ws", agent_id="worker-1") as bus:
            await bus.publish("task.started", {"task": "auth"})
            async with bus.claim("auth", ttl=30):
                await bus.set_state("auth", "done")
    """

    kinds = (BusEvent, StateChanged, ClaimChanged, Controlled, Reset, Gap)

    def __init__(
        self,
        url: str,
        *,
        namespace: str | None = None,
        agent_id: str | None = None,
        role: str | None = None,
        types: tuple[str, ...] | None = None,
        since: int | None = None,
        epoch: str = "",
        **options: Any,
    ) -> None:
        super().__init__(url, **options)
        given = {"namespace": namespace, "agentId": agent_id, "role": role}
        self._given = {name: value for name, value in given.items() if value is not None}
        self._types = self._asked_for = types or None
        self._is_fresh = since is None
        self._cursor: int | None = since
        self._heard_of = since or 0  # the highest id that was named
        self._epoch = epoch
        self._state: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._resetting = asyncio.Lock()
        self._reset_from = ""
        self.tools: tuple[Tool, ...] = ()
        #: The latest; the server tells them every 10 seconds. None before.
        self.metrics: Metrics | None = None

    # -- what is known --------------------------------------------------------------------------

    @property
    def state(self) -> Mapping[str, Any]:
        """The state of the namespace as it is known here; it changes by itself."""
        return MappingProxyType(self._state)

    def version(self, key: str) -> int | None:
        """A key's version, for ``if_version``: 0 when it is not there, None when only its value
        was told."""
        return self._versions.get(key, None if key in self._state else 0)

    @property
    def cursor(self) -> int:
        """The id up to which everything was told."""
        return self._cursor or 0

    @property
    def epoch(self) -> str:
        return self._epoch

    # -- what can be done -----------------------------------------------------------------------
    # Each is done once, even when the connection breaks before the answer, unless the bus is reset
    # meanwhile: then it fails with the code "reset". Each raises ``ClientError``.

    async def publish(self, type: str, data: Any = None, *, agent_id: str | None = None) -> int:
        """Tell everybody; the id of the event."""
        frame = {"type": "publish", "event": type, "data": data}
        return int((await self._once(frame, agentId=agent_id))["eventId"])

    async def call(self, tool: str, args: Mapping[str, Any] | None = None) -> Any:
        """What a tool returns, once what it did is in ``state``. Raises ``ToolFailed``."""
        frame = {"type": "dance_call", "tool": tool, "args": dict(args or {})}
        result = (await self._once(frame))["result"]
        if isinstance(result, dict) and result.keys() == {"error", "code"}:
            raise ToolFailed(result["code"], result["error"])
        return result

    async def set_state(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Write a key; its version, once it is in ``state``.

        ``if_version``: only when the key has this version, 0: is not there; else ``conflict``.
        """
        frame = {"type": "set_state", "key": key, "value": value}
        return int((await self._act(frame, ifVersion=if_version))["version"])

    async def delete_state(self, key: str) -> None:
        """Take a key away; ``not_found`` when it is not there."""
        await self._act({"type": "delete_state", "key": key})

    def claim(self, resource: str, *, ttl: float = 30.0) -> Claim:
        """Have a resource inside ``async with``: entering raises ``claimed`` when somebody else
        has it. ``ttl``: seconds after which it is free again when this client dies."""
        return Claim(self, resource, ttl)

    async def acquire(self, resource: str, *, ttl: float | None = None) -> int:
        """Claim a resource, or keep it for ``ttl`` more seconds (None: until it is released); the
        fence. Most want ``claim``, which does this in time."""
        milliseconds = None if ttl is None else max(1, round(ttl * 1000))
        frame = {"type": "claim", "resource": resource}
        return int((await self._act(frame, ttlMs=milliseconds))["fence"])

    async def release(self, resource: str) -> None:
        """Give a resource back: ``not_found``, ``forbidden``."""
        await self._act({"type": "release", "resource": resource})

    async def control(
        self, command: Command, reason: str = "", *, target: str | None = None
    ) -> None:
        """Stop everybody, or one agent, or let them go on; takes ``bus:control``."""
        frame = {"type": "control", "command": command, "reason": reason}
        await self._act(frame, target=target)

    async def reset(self) -> str:
        """Clear log, state and claims, for everybody; the new epoch. Takes ``bus:reset``."""
        async with self._resetting:
            self._reset_from = self._epoch
            epoch: str = await self._ask(RESET, spelled({"type": "reset", "requestId": RESET}))
            return epoch

    async def wait(self, *types: str, timeout: float | None = None) -> BusEvent | Controlled | None:  # noqa: ASYNC109  the server's clock
        """The first event of one of these types (globs) that another agent publishes from now on,
        or a control command; None after ``timeout`` seconds. Without types only control wakes.

        When the connection breaks meanwhile, what came since is looked at, too.
        """
        id = new_id()
        ends = None if timeout is None else monotonic() + timeout
        after = -1

        def spell() -> str:
            nonlocal after
            frame: Frame = {"type": "wait", "callId": id, "types": list(types)}
            since = None if after < 0 else after
            after = self._heard_of if after < 0 else after
            left = None if ends is None else max(0, round((ends - monotonic()) * 1000))
            return spelled(frame, since=since, timeoutMs=left)

        woken: BusEvent | Controlled | None = await self._outgoing.ask(id, spell)
        return woken

    def subscribe(self, *types: str) -> None:
        """From now on only events of these types (globs) are told; without any, all are."""
        text = spelled({"type": "subscribe", "types": list(types) or None})
        self._types = types or None
        if self._connection.state == "open":
            self._asked_for = self._types
        self._outgoing.say(text)

    async def _once(self, frame: Frame, **optional: Any) -> Frame:
        """Say it until it is answered; the server does it once."""
        id = new_id()
        answer: Frame = await self._ask(id, spelled({**frame, "callId": id}, **optional))
        return answer

    async def _act(self, frame: Frame, **optional: Any) -> Frame:
        """Do it, and be told of it: what is known here has it then."""
        answer = await self._once(frame, **optional)
        await self._until(answer["id"])
        return answer

    async def _until(self, id: int) -> None:
        """Wait until everything up to this id was told."""
        if id > self.cursor:
            told = asyncio.get_running_loop().create_future()
            self._waiting.append((id, told))
            await told

    # -- for the connection ---------------------------------------------------------------------

    def query(self) -> Mapping[str, str]:
        query = dict(self._given)
        self._asked_for = self._types
        if self._types is not None:
            query["types"] = ",".join(self._types)
        if self._cursor is None:
            return {**query, "since": "0", "epoch": NO_EPOCH}
        epoch = {"epoch": self._epoch} if self._epoch else {}
        return {**query, "since": str(self._cursor), **epoch}

    def joined(self) -> None:
        super().joined()
        if not self._is_fresh:
            self._entered()

    def ended(self, error: ClientError) -> None:
        super().ended(error)
        waiting, self._waiting = self._waiting, []
        for _, told in waiting:
            if not told.done():
                told.set_exception(error)

    def _hear(self, frame: Frame) -> None:
        match frame["type"]:
            case "event" | "state_changed" | "claim_changed" | "control":
                self._entry(frame)
            case "gap":
                self._missed(frame)
            case "state":
                self._state, self._versions = dict(frame["state"]), {}
            case "replay_done":
                self._move(frame["cursor"])
                self._epoch = frame["epoch"]
                self._connection.settled()
                self._outgoing.go()
                if self._types != self._asked_for:  # another choice was made meanwhile
                    self.subscribe(*self._types or ())
                self._outgoing.say('{"type":"ping"}')  # the tools come before it is answered
            case "dance_tools":
                self.tools = tuple(
                    Tool(each["name"], each["description"]) for each in frame["tools"]
                )
            case "pong":
                self._welcomed()
            case "reset":
                self._was_reset(frame)
            case "metrics":
                self.metrics = _metrics(frame["data"])
            case _:
                self._answered(frame)

    def _answered(self, frame: Frame) -> None:
        match frame["type"]:
            case "publish_ack" | "ack":
                id: int = frame["eventId" if frame["type"] == "publish_ack" else "id"]
                self._heard_of = max(self._heard_of, id)
                self._outgoing.answer(frame["callId"], frame)
            case "dance_result":
                self._outgoing.answer(frame["callId"], frame)
            case "reset_ack":
                self._outgoing.answer(RESET, frame["epoch"])
            case "wake":
                self._outgoing.answer(frame["callId"], _woken(frame["event"]))
            case "error" if "requestId" in frame:
                self._outgoing.fail(frame["requestId"], ClientError.of(frame))
            case "error":
                self._reason = ClientError.of(frame)

    # -- the log --------------------------------------------------------------------------------

    def _entry(self, frame: Frame) -> None:
        id = frame["id"]
        if id <= self.cursor:
            return
        match frame["type"]:
            case "event":
                self._epoch = frame["epoch"]
                self._tell(_event(frame))
            case "state_changed":
                self._changed(frame)
            case "claim_changed":
                resource, owner = frame["resource"], frame["owner"]
                self._tell(ClaimChanged(id, resource, owner, frame["status"], frame["fence"]))
            case "control":
                self._tell(_control(frame))
        self._move(id)

    def _changed(self, frame: Frame) -> None:
        key, value, version = frame["key"], frame["value"], frame["version"]
        is_deleted = frame.get("deleted", False)
        if is_deleted:
            self._state.pop(key, None)
            self._versions.pop(key, None)
        else:
            self._state[key], self._versions[key] = value, version
        agent = frame["agent_id"]
        self._tell(StateChanged(frame["id"], key, value, agent, version, is_deleted))

    def _missed(self, frame: Frame) -> None:
        """What came since the last time can't be told; the state follows."""
        epoch = frame["epoch"]
        if self._cursor is not None:
            self._tell(Gap(frame["from"], frame["to"], epoch))
        if self._epoch and epoch != self._epoch:
            resetting = self._outgoing.find(RESET)
            if resetting is not None and resetting.times_sent and epoch != self._reset_from:
                self._outgoing.answer(RESET, epoch)
            message = "The bus was reset before this was answered: say it again if it still holds."
            self._outgoing.fail_sent(ClientError("reset", message))
        self._epoch = epoch
        self._cursor = None
        self._move(frame["to"])

    def _was_reset(self, frame: Frame) -> None:
        self._epoch = frame["epoch"]
        self._state.clear()
        self._versions.clear()
        self._tell(Reset(frame["epoch"], frame["by"]))

    def _move(self, id: int) -> None:
        """Everything up to this id was told."""
        self._cursor = max(self.cursor, id)
        self._heard_of = max(self._heard_of, id)
        if self._waiting:
            for told in [told for until, told in self._waiting if until <= id and not told.done()]:
                told.set_result(None)
            self._waiting = [each for each in self._waiting if not each[1].done()]


def _event(frame: Frame) -> BusEvent:
    type, data, agent = frame["event_type"], frame["data"], frame["agent_id"]
    return BusEvent(frame["id"], type, data, agent, frame.get("timestamp", ""))


def _control(frame: Frame) -> Controlled:
    command, reason, by = frame["command"], frame["reason"], frame["by"]
    return Controlled(frame["id"], command, reason, by, frame.get("target"))


def _woken(frame: Frame | None) -> BusEvent | Controlled | None:
    if frame is None:
        return None
    return _control(frame) if frame["type"] == "control" else _event(frame)


def _metrics(data: Frame) -> Metrics:
    return Metrics(
        data["totalTokens"], float(data["totalCost"]), data["agentCount"], data["eventCounts"]
    )
