"""What a machine may do: grants and denials of effects by name, with globs.

A denial beats a grant; what is not granted is denied.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..machines.definition import Permissions


class PermissionSet:
    """The ``permissions`` of a machine, compiled; each effect's verdict is kept."""

    __slots__ = ("_allowed", "_denied", "_verdicts")

    def __init__(self, permissions: Permissions) -> None:
        self._allowed = permissions.allowed
        self._denied = permissions.denied
        self._verdicts: dict[str, bool] = {}  # bounded by the effects that the steps name

    def allows(self, effect: str) -> bool:
        """Whether a step of the machine may ask ``effect``."""
        verdict = self._verdicts.get(effect)
        if verdict is None:
            verdict = self._verdicts[effect] = _matches(effect, self._allowed) and not _matches(
                effect, self._denied
            )
        return verdict


def _matches(effect: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(effect, pattern) for pattern in patterns)
