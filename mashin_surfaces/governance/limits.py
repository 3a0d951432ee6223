"""How much a principal may ask: token buckets, one per principal, in this process."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from ..exceptions import Code, Refusal
from ..machines.quantities import Rate


class RateLimit:
    """Token buckets by principal name: ``rate.burst`` at once, ``rate.per_second`` in the long run.

    Bounded: beyond ``capacity`` principals the one that was idle longest starts with a full bucket.
    """

    __slots__ = ("_buckets", "_capacity", "rate")

    def __init__(self, rate: Rate, capacity: int = 10_000) -> None:
        self.rate = rate
        self._capacity = capacity
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, principal: str) -> None:
        """Take one token; raises ``Refusal`` (rate_limited) where there is none."""
        now = monotonic()
        burst, per_second = float(self.rate.burst), self.rate.per_second
        tokens, at = self._buckets.pop(principal, (burst, now))
        tokens = min(burst, tokens + (now - at) * per_second)
        allowed = tokens >= 1
        self._buckets[principal] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = (1 - tokens) / per_second
            raise Refusal(
                Code.RATE_LIMITED,
                f"Too many messages; try again in {wait:.2g} s.",
                retry_after=round(wait, 3),
            )


class Concurrency:
    """How many executions of a machine may run at once in this process."""

    __slots__ = ("_running", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._running = 0

    def __enter__(self) -> None:
        if self._running >= self.most:
            raise Refusal(
                Code.BUSY,
                f"The machine already runs {self.most} times at once; try again.",
                retry_after=1,
            )
        self._running += 1

    def __exit__(self, *_: object) -> None:
        self._running -= 1
