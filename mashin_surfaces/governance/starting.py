"""Machines that are runs: a door starts them, and somebody else works on them.

What a run is, is not known here: ``composition.connect`` says who starts runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..ledger.access import Access
from .door import GovernedMachine


class Started(NamedTuple):
    """A run that has begun; ``stream``: the path of its socket."""

    run_id: str
    status: str
    stream: str


#: Makes the access row of a start, which is committed with the run.
Row = Callable[[Started], Access]


class Starter(Protocol):
    """Who starts runs. Both raise ``Refusal``."""

    async def start(
        self,
        machine: GovernedMachine,
        input: dict[str, Any],
        principal: str,
        client: str,
        row: Row,
        request_key: str | None = None,
    ) -> Started:
        """Start a run in the principal's name; returns when it is committed, with its row.

        ``request_key``: asked again with the same one, it is the run that there is.
        """

    async def settled(self, run_id: str, seconds: float) -> dict[str, Any]:
        """The run's output, once it has ended.

        approval_required when somebody has to decide first; timeout when neither is so in time.
        """


class Starting:
    """Who starts the runs of this process."""

    def __init__(self) -> None:
        self.starter: Starter | None = None

    def __call__(self) -> Starter:
        if self.starter is None:
            raise RuntimeError("Nobody starts runs: call composition.connect() first.")
        return self.starter


starting = Starting()
