"""What a machine may do: grants and denials of effects by name, with globs.

A denial beats a grant; what is not granted is denied. What needs approval is granted: a run asks
somebody before the step acts.
"""

from __future__ import annotations

from ..machines.definition import Permissions
from ..machines.run_graph import covers


class PermissionSet:
    """The ``permissions`` of a machine, compiled; each effect's verdict is kept."""

    __slots__ = ("_allowed", "_denied", "_gated", "_verdicts")

    def __init__(self, permissions: Permissions) -> None:
        self._allowed = permissions.allowed + permissions.requires_approval
        self._denied = permissions.denied
        self._gated = permissions.requires_approval
        self._verdicts: dict[str, bool] = {}  # bounded by the effects that the steps name

    def allows(self, effect: str) -> bool:
        """Whether a step of the machine may ask ``effect``."""
        verdict = self._verdicts.get(effect)
        if verdict is None:
            verdict = self._verdicts[effect] = covers(self._allowed, effect) and not covers(
                self._denied, effect
            )
        return verdict

    def wants_approval(self, effect: str) -> bool:
        """Whether somebody has to approve ``effect`` before it acts."""
        return covers(self._gated, effect)
