"""A client of a run (``docs/runs.md``): the run as it stands, its log, decisions and control."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from .client import Client, Frame, new_id, spelled
from .errors import ClientError
from .events import Gap

Decision = Literal["approve", "reject", "modify"]
OVER: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph. ``attempt``: from 1, 0 before the first. ``output`` of more than 16 KiB
    is ``{"$ref", "size", "preview"}``."""

    id: str
    status: str
    title: str = ""
    needs: tuple[str, ...] = ()
    attempt: int = 0
    output: Any = None
    metrics: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate that waits for somebody. ``presentation``: as ``docs/runs.md`` describes it."""

    node_id: str
    presentation: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.presentation["gate_id"])

    @property
    def revision(self) -> int:
        return int(self.presentation["revision"])


@dataclass(frozen=True, slots=True)
class RunEvent:
    """An entry of the run's log. ``type`` and ``fields``: as the tables of ``docs/runs.md`` say;
    ``at``: when it was committed, ISO 8601."""

    offset: int
    type: str
    fields: Mapping[str, Any]
    at: str


RunNews = RunEvent | Gap


class Run:
    """A run as everything that was told makes it; it changes by itself."""

    def __init__(self) -> None:
        self.id = ""
        self.machine = ""
        self.status = ""
        #: ``completed``, ``failed``, ``cancelled``, ``timeout``, ``budget_exceeded``; else None.
        self.outcome: str | None = None
        #: What came of it: the outputs of its nodes by name; None before the end.
        self.results: Mapping[str, Any] | None = None
        self.cost: Mapping[str, Any] = {}
        self.topology_version = 0
        self._nodes: dict[str, Node] = {}
        self._gates: dict[str, Gate] = {}

    @property
    def nodes(self) -> Mapping[str, Node]:
        return MappingProxyType(self._nodes)

    @property
    def open_gates(self) -> Mapping[str, Gate]:
        """Gates that wait, by the node that they stand at."""
        return MappingProxyType(self._gates)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """``(from, to)`` for everything that a node needs."""
        return [(need, node.id) for node in self._nodes.values() for need in node.needs]

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def begin(self, snapshot: Frame) -> None:
        """As the snapshot says."""
        run = snapshot["run"]
        self.id, self.machine, self.status = run["id"], run["machine"], run["status"]
        self.outcome = run.get("outcome")
        self.cost, self.topology_version = snapshot["cost"], snapshot["topology_version"]
        self._nodes = {id: _node(Node(id, ""), told) for id, told in snapshot["nodes"].items()}
        gates = [Gate(each["node_id"], each["presentation"]) for each in snapshot["open_gates"]]
        self._gates = {gate.node_id: gate for gate in gates}
        if self.is_over:
            done = (node for node in self._nodes.values() if node.status == "completed")
            self.results = {node.id: node.output for node in done}

    def apply(self, event: RunEvent) -> None:
        """As it is after an entry of the log."""
        fields = event.fields
        match event.type:
            case "node_state":
                id = fields["node_id"]
                self._nodes[id] = _node(self._nodes.get(id, Node(id, "")), fields)
                if fields["status"] != "paused":
                    self._gates.pop(id, None)
            case "human_gate_waiting":
                gate = Gate(fields["node_id"], fields["presentation"])
                self._gates[gate.node_id] = gate
            case "gate_decided":
                self._gates.pop(fields["node_id"], None)
            case "cost_update":
                names = ("spent", "budget", "remaining", "currency")
                self.cost = {name: fields[name] for name in names if name in fields}
            case "dag_mutated":
                self._mutate(fields["mutation"])
            case "run_state":
                self.status = fields["status"]
            case "execution_complete":
                self.outcome, self.results = fields["outcome"], fields["results"]

    def _mutate(self, mutation: Mapping[str, Any]) -> None:
        self.topology_version = mutation["topology_version"]
        for id, needs in mutation["after"].items():
            node = self._nodes.get(id, Node(id, "pending"))
            self._nodes[id] = replace(node, needs=tuple(needs))


def _node(before: Node, told: Mapping[str, Any]) -> Node:
    """The node after a ``node_state``; what stays the same is not told again."""
    return Node(
        before.id,
        told["status"],
        told.get("title", before.title),
        tuple(told.get("needs", before.needs)),
        told.get("attempt", before.attempt),
        told.get("output"),
        told.get("metrics"),
        told.get("error"),
        told.get("reason"),
    )


class RunClient(Client[RunNews]):
    """Follows a run, decides at its gates, controls it.

        async with RunClient(url, token=token) as client:
            for gate in list(client.run.open_gates.values()):
                await client.decide(gate, "approve")
            await client.until_over()

    ``url``: ``…/api/dags/<run or machine>/stream``, or a websocket of the dialect ``dag``.
    """

    kinds = (RunEvent, Gap)

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.run = Run()
        self._offset: int | None = None
        self._epoch = ""
        self._over: asyncio.Future[None] | None = None
        self._error: ClientError | None = None

    async def decide(
        self,
        gate: Gate | str,
        decision: Decision,
        *,
        feedback: str | None = None,
        revision: int | None = None,
        scope: Literal["node", "phase", "abort"] | None = None,
        option_id: str | None = None,
    ) -> None:
        """Decide at a gate, or at the gate of a node. A ``Gate`` is decided as it was seen: when it
        shows something else by now, the decision is refused.

        Raises ``ClientError``: ``gate_closed``, ``gate_changed``, ``forbidden``, …
        """
        ref = new_id()
        frame = {"type": "human_decision", "decision": decision, "ref": ref}
        if isinstance(gate, Gate):
            frame |= {"gate_id": gate.id, "node_id": gate.node_id}
            revision = gate.revision if revision is None else revision
        else:
            frame["node_id"] = gate
        more = {"feedback": feedback, "revision": revision, "scope": scope}
        await self._ask(ref, spelled(frame, **more, option_id=option_id))

    async def pause(self) -> None:
        """Start no more nodes. Raises ``ClientError``: ``conflict`` when it has ended."""
        await self._control("pause_execution")

    async def resume(self) -> None:
        """Go on after a pause. Raises ``ClientError``: ``conflict`` when it has ended."""
        await self._control("resume_execution")

    async def cancel(self) -> None:
        """End the run. Raises ``ClientError``: ``conflict`` when it has ended otherwise."""
        await self._control("cancel_execution")

    async def _control(self, type: str) -> None:
        ref = new_id()
        await self._ask(ref, spelled({"type": type, "ref": ref}))

    async def until_over(self) -> Run:
        """The run, once it has ended. Raises ``ClientError`` when the connection ends before."""
        if not self.run.is_over or self.run.results is None:
            if self._error is not None:
                raise self._error
            if self._over is None:
                self._over = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._over)
        return self.run

    # -- for the connection ---------------------------------------------------------------------

    def query(self) -> Mapping[str, str]:
        if self._offset is None:
            return {}
        return {"since": str(self._offset), "epoch": self._epoch}

    def ended(self, error: ClientError) -> None:
        super().ended(error)
        self._error = error
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _hear(self, frame: Frame) -> None:
        match frame["type"]:
            case "snapshot":
                self._begin(frame)
            case "ack":
                self._outgoing.answer(frame.get("ref", ""), None)
            case "error" if "offset" not in frame:
                self._refused(frame)
            case "pong":
                pass
            case type:
                self._entry(type, frame)
        if self._over is not None and not self._over.done() and self.run.results is not None:
            self._over.set_result(None)

    def _begin(self, frame: Frame) -> None:
        # What is recovered is told behind this frame, although the snapshot has it already.
        if self._offset is None or not frame["recovered"]:
            if self._offset is not None:
                self._tell(Gap(self._offset, frame["offset"], frame["epoch"]))
            self.run.begin(frame)
            self._offset = frame["offset"]
        self._epoch = frame["epoch"]
        self._welcomed()

    def _entry(self, type: str, frame: Frame) -> None:
        """An entry of the log, once: for old clients the snapshot is told in entries, too."""
        offset = frame["offset"]
        if self._offset is not None and offset <= self._offset:
            return
        self._offset = offset
        fields = {key: frame[key] for key in frame.keys() - {"type", "offset", "at"}}
        event = RunEvent(offset, type, fields, frame["at"])
        self.run.apply(event)
        self._tell(event)

    def _refused(self, frame: Frame) -> None:
        error = ClientError.of(frame)
        if "ref" in frame:
            self._outgoing.fail(frame["ref"], error)
        else:
            self._reason = error
