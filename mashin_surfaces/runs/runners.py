"""Executing nodes in the process that works on the run: each a task of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..steps.spending import Charge
from .execution import Outcome, cancelled, execute
from .models import Node
from .state import RunState


class ProcessRunner:
    """Nodes as tasks. What runs dies with the process, and whoever takes over is told so."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        #: What running attempts have cost so far, by node and attempt.
        self._charges: dict[str, dict[tuple[str, int], list[Charge]]] = {}

    def begin(self, state: RunState, node: Node, report: Callable[[Outcome], None]) -> None:
        tasks = self._tasks.setdefault(state.run.id, set())
        charges = self._charges.setdefault(state.run.id, {})[node.name, node.attempt] = []
        task = asyncio.get_running_loop().create_task(_execute(state, node, charges, report))
        tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if task.cancelled():  # before its first step: nothing in it has seen that
                report(cancelled(node, charges))

        task.add_done_callback(ended)

    async def resume(self, state: RunState, node: Node, report: Callable[[Outcome], None]) -> bool:
        return False

    def cancel(self, run: str) -> None:
        for task in tuple(self._tasks.get(run, ())):
            task.cancel()

    def charged(self, run: str, node: Node) -> Sequence[Charge]:
        return tuple(self._charges.get(run, {}).get((node.name, node.attempt), ()))

    def news(self) -> None:
        """What runs here tells by itself when it has ended."""

    def trouble(self) -> str | None:
        return None

    def forget(self, run: str) -> None:
        self._charges.pop(run, None)
        tasks = self._tasks.pop(run, None)
        for task in tuple(tasks or ()):
            task.cancel()


async def _execute(
    state: RunState, node: Node, charges: list[Charge], report: Callable[[Outcome], None]
) -> None:
    report(await execute(state, node, charges))
