"""Keys derived from ``SECRET_KEY``, one per purpose, so that none is good for two things."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings
from django.utils.crypto import salted_hmac


def derived_keys(purpose: str) -> tuple[bytes, ...]:
    """32 bytes each: by ``SECRET_KEY``, then by each of ``SECRET_KEY_FALLBACKS``.

    Write with the first, accept all: so ``SECRET_KEY`` can be changed without a flag day.
    """
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    salt = f"mashin_surfaces.identity.{purpose}"
    return tuple(
        salted_hmac(salt, "key", secret=secret, algorithm="sha256").digest() for secret in secrets
    )


def keyed_digest(key: bytes, text: str) -> str:
    """HMAC-SHA256 as 64 hexadecimal characters."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
