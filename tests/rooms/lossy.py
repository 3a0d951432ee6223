"""A channel layer that is as bad as one may be: it loses, doubles and swaps what it is given.

Everything else is Channels' pub/sub layer over a real server. ``TAMPERED`` counts what was done.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer

LOST, DOUBLED, SWAPPED = 0.3, 0.1, 0.1
TAMPERED: Counter[str] = Counter()


class _LossyLoopLayer(RedisPubSubLoopLayer):  # type: ignore[misc]  # channels-redis has no types
    """The layer of one event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._chance = random.Random(4)
        self._late: tuple[str, dict[str, Any]] | None = None

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        fate = self._chance.random()
        late, self._late = self._late, None
        if fate < LOST:
            TAMPERED["lost"] += 1
        elif fate < LOST + DOUBLED:
            TAMPERED["doubled"] += 1
            await super().group_send(group, message)
            await super().group_send(group, message)
        elif fate < LOST + DOUBLED + SWAPPED:
            TAMPERED["swapped"] += 1
            self._late = (group, message)
        else:
            TAMPERED["sent"] += 1
            await super().group_send(group, message)
        if late is not None:
            await super().group_send(*late)


class LossyLayer(RedisPubSubChannelLayer):  # type: ignore[misc]  # channels-redis has no types
    """``BACKEND`` of a bad layer."""

    def _get_layer(self) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            made = _LossyLoopLayer(*self._args, **self._kwargs, channel_layer=self)
            self._layers[loop] = made
        return self._layers[loop]
