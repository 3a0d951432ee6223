"""What a row keeps of input and output: a keyed digest, the JSON, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import orjson
from django.core.signals import setting_changed
from django.utils.crypto import salted_hmac

from ..conf import settings
from .access import clean

DIGEST_BYTES = 32


def describe(value: Any, secret_paths: Collection[str] = ()) -> str:
    """What ``LEDGER["CONTENT"]`` keeps of a JSON value, or of the text or bytes of a broken frame.

    ``secret_paths``: JSON Pointers of fields that are kept as digests whatever the setting.
    """
    mode = settings.LEDGER.CONTENT
    if mode == "none":
        return ""
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    if isinstance(value, bytes):  # a broken frame: nobody can say where its secrets are
        if mode == "digest" or secret_paths:
            return digest(value)
        return clean(value.decode("utf-8", "replace"))
    if mode == "full":
        for path in secret_paths:
            value = _without(value, path.split("/")[1:])
        return canonical(value).decode()
    return digest(canonical(value))


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces. Never raises: an effect may answer with anything."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, option=options, default=str)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate, nesting without end
        try:
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
        except (TypeError, ValueError, RecursionError):
            text = json.dumps(f"{type(value).__name__} that is not JSON")
        return text.encode()


def digest(data: bytes) -> str:
    """``blake2b:<hex>``, keyed: who has only the row can't try out inputs."""
    keyed = _keyed().copy()
    keyed.update(data)
    return f"blake2b:{keyed.hexdigest()}"


@lru_cache(maxsize=1)
def _keyed() -> hashlib.blake2b:
    """The hash with its key already taken in."""
    key = salted_hmac("mashin_surfaces.ledger", b"", algorithm="sha256").digest()
    return hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)


def _forget_key(*, setting: str, **_: Any) -> None:
    if setting == "SECRET_KEY":
        _keyed.cache_clear()


setting_changed.connect(_forget_key, dispatch_uid=__name__)


def _without(value: Any, path: list[str]) -> Any:
    """A copy whose value at ``path`` is its digest; ``*`` is every item of a list."""
    if not path:
        return digest(canonical(value))
    part = path[0].replace("~1", "/").replace("~0", "~")
    if isinstance(value, list):
        return [
            _without(item, path[1:]) if part in ("*", str(index)) else item
            for index, item in enumerate(value)
        ]
    if isinstance(value, dict) and part in value:
        return {**value, part: _without(value[part], path[1:])}
    return value
