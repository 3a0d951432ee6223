"""A lease that is held over some time: renewed in the background, and known to be ours or not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic

from ..commit import CommitFailed
from . import lease

logger = logging.getLogger(__name__)

#: Seconds that a lease lasts, and between two renewals.
TTL = 3.0
RENEWAL = 1.0


class Holding:
    """One lease of this process, on an event loop."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self._until = 0.0
        self._renewing: asyncio.Task[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is ours, for sure."""
        return monotonic() < self._until

    async def take(self) -> bool:
        """Try to get it; False when somebody else has it, or the database is away."""
        began = monotonic()
        try:
            fence = await lease.claim(self.kind, self.key, TTL)
        except CommitFailed:
            return False
        if fence is None:
            return False
        self._until = began + TTL
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
        return True

    async def _renew(self) -> None:
        while self.is_held:
            await asyncio.sleep(RENEWAL)
            began = monotonic()
            try:
                if not await lease.renew(self.kind, self.key, TTL):
                    self._until = 0.0
                    return
                self._until = began + TTL
            except CommitFailed as error:
                logger.warning("The lease %s %s can't be renewed: %s", self.kind, self.key, error)

    async def give_up(self) -> None:
        """Let another process have it."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self.is_held:
            self._until = 0.0
            with suppress(CommitFailed):  # then it runs out
                await asyncio.shield(lease.release(self.kind, self.key))
