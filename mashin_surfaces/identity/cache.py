"""Principals by what proved them, so that a credential is verified once, not with every call.

Bounded; an entry ends when its credential does; all end when credentials changed anywhere.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock
from time import time
from typing import Any

from django.core.signals import setting_changed

from .presented import Token
from .principal import Principal

MOST_PRINCIPALS = 10_000


class PrincipalCache:
    """Least recently used ones go first. Keys are digests: no secret stays in memory for it."""

    def __init__(self, capacity: int = MOST_PRINCIPALS) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Principal] = OrderedDict()
        self._lock = Lock()
        #: Moves whenever all is forgotten: what was looked up before must not come back.
        self.generation = 0

    def get(self, token: Token) -> Principal | None:
        """The principal of a token that was good a moment ago and has not expired."""
        digest = _digest(token)
        with self._lock:
            principal = self._entries.get(digest)
            if principal is None:
                return None
            expires_at = principal.credential.expires_at
            if expires_at is not None and expires_at <= time():
                del self._entries[digest]
                return None
            self._entries.move_to_end(digest)
            return principal

    def put(self, token: Token, principal: Principal, generation: int) -> None:
        """Remember; unless all was forgotten since ``generation`` was read."""
        digest = _digest(token)
        with self._lock:
            if generation != self.generation:
                return
            self._entries[digest] = principal
            self._entries.move_to_end(digest)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def forget(self) -> None:
        """Verify everything anew from now on."""
        with self._lock:
            self._entries.clear()
            self.generation += 1

    def __len__(self) -> int:
        return len(self._entries)


def _digest(token: Token) -> bytes:
    return hashlib.sha256(f"{token.kind} {token.text}".encode()).digest()


#: This process's principals.
principals = PrincipalCache()


def forget() -> None:
    """Verify every credential anew; call it when the epoch of the credentials moved."""
    principals.forget()


def _settings_changed(*, setting: str, **_: Any) -> None:
    if setting in {"MASHIN_SURFACES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        forget()


setting_changed.connect(_settings_changed, dispatch_uid="mashin_surfaces.identity.cache")
