"""Who acts, and by which credential. How it was proved is ``authenticate.py``'s business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from .scopes import NOTHING, Scopes

AuthKind = Literal["session", "jwt", "api_key", "none"]

#: The name of a principal that showed nothing; no service may take it.
ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Credential:
    """What was shown, without its secret. ``expires_at``: Unix seconds, or None for never.

    ``id``: a key's id, a token's ``jti`` or a digest; for a session a keyed digest.
    """

    kind: AuthKind
    id: str = ""
    expires_at: float | None = None
    #: A session can only be looked up again by what is secret of it.
    session_key: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """``kind:id``, for records and logs."""
        return f"{self.kind}:{self.id}" if self.id else self.kind


@dataclass(frozen=True, slots=True)
class Principal:
    """A Django user, a service, or nobody in particular.

    ``scopes`` are the credential's. ``allowed`` is what the user may do at most; None for a
    service, whose credential says it all. ``user_id`` is the user's primary key. ``agents``: globs
    of the agents that the credential names for incubators; None when it names none.
    """

    name: str
    credential: Credential
    scopes: Scopes = NOTHING
    user_id: Any | None = None
    allowed: Scopes | None = None
    agents: tuple[str, ...] | None = None

    def holds(self, scope: str) -> bool:
        """Whether the credential is good for this scope, and its user may do it."""
        return self.scopes.covers(scope) and (self.allowed is None or self.allowed.covers(scope))

    @property
    def is_anonymous(self) -> bool:
        return self.credential.kind == "none"


def is_name(name: str) -> bool:
    """Whether a principal can be called that: printable, no space around it, not nobody's name."""
    return bool(name) and name.isprintable() and name.strip() == name and name != ANONYMOUS


def anonymous(grant: Iterable[str]) -> Principal:
    """Nobody in particular, who holds what the surface grants."""
    return _anonymous(tuple(grant))


@lru_cache(maxsize=1024)
def _anonymous(grant: tuple[str, ...]) -> Principal:
    return Principal(ANONYMOUS, Credential("none"), Scopes(grant))
