"""A claim on a resource as a context manager that keeps it. What a claim is, says the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from .errors import ClaimLost, ClientError


class Claimant(Protocol):
    """Who claims."""

    async def acquire(self, resource: str, *, ttl: float | None = None) -> int:
        """Have it, or keep it longer; the fence."""

    async def release(self, resource: str) -> None:
        """Give it back."""


class Claim:
    """Inside, the resource is the agent's; it is renewed three times in each ``ttl`` seconds.

    Entering raises ``ClientError`` (``claimed``; ``details`` say by whom). Leaving gives it back,
    and raises ``ClaimLost`` when it was not to be kept: then somebody else may have worked on it.
    """

    def __init__(self, claimant: Claimant, resource: str, ttl: float) -> None:
        if ttl <= 0:
            raise ValueError("A claim's ttl is a number of seconds above 0.")
        self.resource = resource
        self.ttl = ttl
        #: A number that rises with each new owner: what is written elsewhere can be fenced by it.
        self.fence = 0
        self._claimant = claimant
        self._ends = 0.0
        self._is_lost = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is surely the agent's, by this computer's clock."""
        return not self._is_lost and monotonic() < self._ends

    def check(self) -> None:
        """Raise ``ClaimLost`` unless it is held: before what only the owner may do."""
        if not self.is_held:
            raise ClaimLost("claim_lost", f'The claim on "{self.resource}" is not held any more.')

    async def __aenter__(self) -> Self:
        while not self.is_held:  # the answer may have taken longer than the claim lasts
            began = monotonic()
            try:
                self.fence = await self._claimant.acquire(self.resource, ttl=self.ttl)
            except asyncio.CancelledError:  # it may be ours by now
                self._keeping = asyncio.get_running_loop().create_task(self._give_back())
                raise
            self._ends = began + self.ttl
        self._keeping = asyncio.get_running_loop().create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        was_held = self.is_held
        if not self._is_lost:
            self._keeping = asyncio.get_running_loop().create_task(self._give_back())
            await asyncio.wait([self._keeping])  # who is cancelled here gives it back all the same
        if error is None and not was_held:
            raise ClaimLost("claim_lost", f'The claim on "{self.resource}" ran out meanwhile.')

    async def _give_back(self) -> None:
        with suppress(ClientError):  # it may be somebody else's by now, or nobody's
            await self._claimant.release(self.resource)

    async def _keep(self) -> None:
        while self.is_held:
            await asyncio.sleep(self.ttl / 3)
            began = monotonic()
            try:
                fence = await self._claimant.acquire(self.resource, ttl=self.ttl)
            except ClientError as error:
                if error.code == "claimed":
                    self._is_lost = True
                continue  # it may work the next time, as long as there is one
            if fence != self.fence:  # it was free in between
                self._is_lost = True
                with suppress(ClientError):
                    await self._claimant.release(self.resource)
                return
            self._ends = began + self.ttl
