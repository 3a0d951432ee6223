"""What a tool is given in an incubator: the context of panels, and claims.

Nothing that a tool does here reaches anybody before its call is committed.
"""

from __future__ import annotations

from typing import Any

from ..panels.context import Context
from .calls import Call


class BusContext(Context):
    """The first argument of a tool in an incubator: that of panels, and claims.

    ``bus`` is another name for it: ``ctx.bus.publish``, ``claim``, ``release``, ``set_state``.
    """

    def __init__(self, call: Call, state: dict[str, Any], claims: dict[str, str]) -> None:
        super().__init__(
            state,
            args=call.args,
            principal=call.actor.caller.principal,
            capabilities=None,
            answers=[],
            committed=state,
            tell=lambda status, data: None,
        )
        self.agent = call.actor.agent
        self.role = call.actor.role
        self.bus = self
        self.staged: list[tuple[str, str, int | None]] = []
        self._claims = claims

    def publish(self, event: str, data: Any = None) -> None:
        """An event for everybody."""
        self.emit(event, {} if data is None else data)

    def set_state(self, key: str, value: Any) -> None:
        self.state[key] = value

    def claim(self, resource: str, ttl_ms: int | None = None) -> bool:  # type: ignore[override]
        """Whether the agent has the resource once this call is committed."""
        owner = self._claims.get(resource)
        if owner is not None and owner != self.agent:
            return False
        self._claims[resource] = self.agent or ""
        self.staged.append(("claim", resource, ttl_ms))
        return True

    def release(self, resource: str) -> bool:  # type: ignore[override]
        """Whether it was the agent's."""
        if self._claims.get(resource) != self.agent:
            return False
        del self._claims[resource]
        self.staged.append(("release", resource, None))
        return True
