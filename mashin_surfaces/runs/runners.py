"""Executing nodes in the process that works on the run: each a task of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .execution import Outcome, execute
from .models import Node
from .state import RunState


class ProcessRunner:
    """Nodes as tasks. What runs dies with the process, and whoever takes over is told so."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def begin(self, state: RunState, node: Node, report: Callable[[Outcome], None]) -> None:
        tasks = self._tasks.setdefault(state.run.id, set())
        task = asyncio.get_running_loop().create_task(_execute(state, node, report))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def resume(self, state: RunState, node: Node, report: Callable[[Outcome], None]) -> bool:
        return False

    def cancel(self, run: str) -> None:
        for task in tuple(self._tasks.get(run, ())):
            task.cancel()

    def news(self) -> None:
        """What runs here tells by itself when it has ended."""

    def forget(self, run: str) -> None:
        tasks = self._tasks.pop(run, None)
        for task in tuple(tasks or ()):
            task.cancel()


async def _execute(state: RunState, node: Node, report: Callable[[Outcome], None]) -> None:
    report(await execute(state, node))
