"""Changes of a run's graph while it runs: judged, applied, and told with before and after.

A graph stays acyclic; what runs or has ended is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from pydantic import ValidationError

from ..conf import settings
from ..exceptions import Code, Refusal, wrong
from ..machines.expressions import ExpressionError
from ..machines.run_graph import in_order
from ..steps.nodes import NodeStep, compiled_node
from .change import Change
from .models import Node
from .state import RunState
from .states import NODE_STEPS, NodeStatus, move

KINDS: Final = frozenset(
    {
        "add_node", "remove_node", "replace_node", "add_edge", "fork", "expand", "loop_back",
        "restart",
    }
)  # fmt: skip
_UNTOUCHED: Final = frozenset(
    {NodeStatus.PENDING, NodeStatus.SCHEDULED, NodeStatus.PAUSED, NodeStatus.RETRYING}
)


def apply(change: Change, mutation: Mapping[str, Any], by: str) -> None:
    """Change the graph of ``change.state``; raises ``Refusal`` (invalid_input, conflict).

    ``mutation``: ``kind``; ``nodes_added`` ``[{"id", "step", "needs"?, "title"?}]`` (``step``: as
    in a machine's definition); ``nodes_removed`` ``[id]``; ``nodes_changed`` ``[{"id", "step"?,
    "needs"?, "title"?}]``; ``edges_added`` and ``edges_removed`` ``[[from, to]]``; ``reason``.
    """
    kind = mutation.get("kind")
    if kind not in KINDS:
        raise wrong("/mutation/kind", f"It is one of {', '.join(sorted(KINDS))}.")
    state = change.state
    before = _graph(state)
    for index, given in enumerate(mutation.get("nodes_added") or ()):
        _add(change, given, f"/mutation/nodes_added/{index}")
    for name in mutation.get("nodes_removed") or ():
        _remove(change, name)
    for index, given in enumerate(mutation.get("nodes_changed") or ()):
        _alter(change, given, f"/mutation/nodes_changed/{index}")
    for pair in mutation.get("edges_added") or ():
        _connect(change, *pair)
    for source, target in mutation.get("edges_removed") or ():
        node = _open_node(state, target)
        node.needs = [need for need in node.needs if need != source]
        change.touch_node(node)
    if _graph(state) == before and not mutation.get("nodes_changed"):
        raise wrong("/mutation", "It changes nothing.")
    _check(state)
    state.run.topology_version += 1
    change.touch_run()
    state.rebuild()
    for name in [*state.scheduled]:
        if state.missing[name]:  # it needs more than it did when it was its turn
            change.set_node(state.nodes[name], NodeStatus.PENDING)
    change.tell(
        "dag_mutated",
        mutation={
            "id": uuid4().hex,
            "kind": kind,
            **{
                part: list(mutation.get(part) or ())
                for part in (
                    "nodes_added", "nodes_removed", "nodes_changed", "edges_added",
                    "edges_removed",
                )
            },
            "reason": str(mutation.get("reason") or ""),
            "by": by,
            "topology_version": state.run.topology_version,
            "before": before,
            "after": _graph(state),
        },
    )  # fmt: skip


def _graph(state: RunState) -> dict[str, list[str]]:
    """What each node needs, of those that are in the graph."""
    return {
        name: list(node.needs)
        for name, node in state.nodes.items()
        if node.status != NodeStatus.MUTATED
    }


def _add(change: Change, given: Any, path: str) -> None:
    state, name = change.state, given.get("id")
    compiled = _compiled(given, path, name)
    if name in state.nodes:
        raise wrong(f"{path}/id", f'There is, or was, a node "{name}" already.')
    if len(state.nodes) >= settings.RUNS.MAX_NODES:
        raise Refusal(Code.TOO_LARGE, f"A run has at most {settings.RUNS.MAX_NODES} nodes.")
    node = Node(
        run=state.run,
        name=name,
        position=max((each.position for each in state.nodes.values()), default=0) + 1,
        title=str(given.get("title") or name.replace("_", " "))[:200],
        kind=compiled.kind,
        needs=list(given.get("needs") or ()),
        step=_dumped(compiled),
        reserved=0,
    )
    state.nodes[name] = node
    state.steps = {**state.steps, name: compiled}
    change.new_nodes.append(node)


def _remove(change: Change, name: Any) -> None:
    node = _open_node(change.state, name)
    gate = change.state.gates.get(node.name)
    if node.status == NodeStatus.PAUSED and gate is not None:
        raise Refusal(
            Code.CONFLICT, f'"{name}" waits at a gate: decide it first.', subject="node_state"
        )
    node.status = move(NODE_STEPS, NodeStatus(node.status), NodeStatus.MUTATED)
    change.touch_node(node)
    change.tell_node(node)


def _alter(change: Change, given: Any, path: str) -> None:
    state = change.state
    node = _unbegun(state, given.get("id"))
    if "step" in given:
        compiled = _compiled(given, path, node.name)
        node.step = _dumped(compiled)
        node.kind = compiled.kind
        state.steps = {**state.steps, node.name: compiled}
    if "needs" in given:
        node.needs = list(given["needs"])
    if "title" in given:
        node.title = str(given["title"])[:200]
    change.touch_node(node)


def _connect(change: Change, source: str, target: str) -> None:
    node = _unbegun(change.state, target)
    if source not in node.needs:
        node.needs = [*node.needs, source]
        change.touch_node(node)


def _compiled(given: Any, path: str, name: Any) -> NodeStep:
    """The step that is given for the node with this name."""
    from .store import parsed  # which needs what needs this module

    try:
        compiled = compiled_node(parsed(given.get("step")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise wrong(f"{path}/step", str(first["msg"])) from None
    except ExpressionError as error:
        raise wrong(f"{path}/step", error.message) from None
    if compiled.definition.name != name:
        raise wrong(f"{path}/step/name", "It is the node's id.")
    return compiled


def _dumped(compiled: NodeStep) -> dict[str, Any]:
    """The step as it is kept in its node's row."""
    return compiled.definition.model_dump(mode="json", exclude_unset=True)


def _open_node(state: RunState, name: Any) -> Node:
    node = state.nodes.get(name)
    if node is None or node.status == NodeStatus.MUTATED:
        raise wrong("/mutation", f'There is no node "{name}".')
    if NodeStatus(node.status) not in _UNTOUCHED:
        raise Refusal(
            Code.CONFLICT, f'"{name}" is {node.status}: it stays as it is.', subject="node_state"
        )
    return node


def _unbegun(state: RunState, name: Any) -> Node:
    node = _open_node(state, name)
    if node.status not in {NodeStatus.PENDING, NodeStatus.SCHEDULED}:
        raise Refusal(
            Code.CONFLICT, f'"{node.name}" has begun: it can\'t be changed.', subject="node_state"
        )
    return node


def _check(state: RunState) -> None:
    """Every need is in the graph, and nothing needs itself, however far around."""
    graph = _graph(state)
    for name, needs in graph.items():
        for need in needs:
            if need not in graph:
                raise wrong("/mutation", f'"{name}" needs "{need}", which is not in the graph.')
        if len(set(needs)) != len(needs):
            raise wrong("/mutation", f'"{name}" needs something twice.')
    order: Sequence[str] = in_order({name: tuple(needs) for name, needs in graph.items()})
    if len(order) < len(graph):
        around = ", ".join(sorted(set(graph) - set(order)))
        raise wrong("/mutation", f"The graph would go around in a circle: {around}.")
