"""``retry NAME``: the step within it again, when it failed with what may pass."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from ..exceptions import Code, Refusal
from ..machines.definition import Retry
from .run import Run

#: Seconds between two attempts at most, while somebody waits for the answer.
LONGEST_WAIT: Final = 30.0
#: What is the same the next time.
FINAL: Final = frozenset(
    {
        Code.PERMISSION_DENIED,
        Code.APPROVAL_DENIED,
        Code.INVALID_INPUT,
        Code.NOT_FOUND,
        Code.BUDGET_EXCEEDED,
    }
)
_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class RetryRule:
    """``max`` attempts in all; ``delay`` is in seconds. Without more said: a single attempt."""

    max: int = 1
    backoff: str = "none"
    delay: float = 0.0

    @classmethod
    def of(cls, step: Retry) -> RetryRule:
        return cls(step.max, step.backoff, step.delay / 1000)

    def wait(self, attempt: int, random: Random, longest: float = LONGEST_WAIT) -> float:
        """Seconds until the attempt after ``attempt`` (from 1): anything up to the backoff, so
        that not all who failed together come again together."""
        if self.backoff == "none":
            return 0.0
        times = attempt if self.backoff == "linear" else 2 ** min(attempt - 1, _DOUBLINGS)
        return random.uniform(0, min(self.delay * times, longest))

    def allows(self, attempt: int, code: str) -> bool:
        """Whether there is another attempt after ``attempt`` failed with ``code``."""
        return attempt < self.max and code not in FINAL


def compile_retry(step: Retry, block: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """``block``: the step within it. One that only computes fails the same way again: it runs
    once, as everything does in a machine's tests."""
    if not inspect.iscoroutinefunction(block):
        return block
    rule = RetryRule.of(step)
    random = Random()  # noqa: S311  jitter

    async def retry(run: Run) -> Any:
        attempt = 1
        while True:
            try:
                return await block(run)
            except Refusal as refusal:
                if run.assumed is not None or not rule.allows(attempt, refusal.code):
                    raise
            await asyncio.sleep(rule.wait(attempt, random))
            attempt += 1

    return retry
