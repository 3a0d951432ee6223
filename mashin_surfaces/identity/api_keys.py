"""API keys: ``msk_<id>_<secret>``, shown once, kept as a keyed hash.

Whom a key stands for is ``subjects.py``'s business.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import Future
from datetime import timedelta
from threading import Lock
from time import monotonic
from typing import Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import Error
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..exceptions import Code, Refusal
from . import threads
from .models import ApiKey
from .presented import KEY_PREFIX
from .principal import is_name
from .scopes import Scopes
from .secret_keys import derived_keys, keyed_digest

logger = logging.getLogger(__name__)

#: Characters, as many as the column holds.
MOST_NAME_CHARACTERS = 100
#: Seconds between two notes of a key's use.
USE_INTERVAL = 60.0
#: Keys whose last use this process remembers.
MOST_USES = 10_000
#: One sentence for every bad key: which of them it is, is no one's business who has no good one.
BAD_KEY = "This API key is not good here: it is unknown, revoked or expired."
_FORM = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{16}})_([0-9a-f]{{48}})")


def issue(
    name: str,
    scopes: Iterable[str],
    *,
    owner: AbstractBaseUser | None = None,
    ttl: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which can't be had again. ``ttl``: seconds, None for ever.

    Raises ``ValueError`` for a name or a scope that can't be one. Without an owner the key is of
    a service of that name, which must not be a user's.
    """
    if not is_name(name) or len(name) > MOST_NAME_CHARACTERS:
        raise ValueError(f"{name!r} is no name for a key: 1 to 100 characters, all printable.")
    users = get_user_model()
    if owner is None and users._default_manager.filter(**{users.USERNAME_FIELD: name}).exists():
        raise ValueError(f'There is a user "{name}": make them the owner, or choose another name.')
    held = Scopes(scopes)
    key_id, secret = secrets.token_hex(8), secrets.token_hex(24)
    key = ApiKey.objects.create(
        id=key_id,
        name=name,
        hash=_hashes(key_id, secret)[0],
        owner=cast(Any, owner),  # whichever model AUTH_USER_MODEL names
        scopes=sorted(held.names),
        expires_at=None if ttl is None else timezone.now() + timedelta(seconds=ttl),
    )
    return key, f"{KEY_PREFIX}{key_id}_{secret}"


def revoke(key: ApiKey) -> None:
    """The key is good for nothing from now on; revoking twice keeps the first time."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])


def verify(text: str) -> ApiKey:
    """The live key with its owner, by one query; else ``Refusal(unauthenticated)``.

    All bad keys get the same sentence after the same work.
    """
    form = _FORM.fullmatch(text)
    key_id, secret = form.groups() if form else ("", "")
    hashes = _hashes(key_id, secret)
    key = ApiKey.objects.select_related("owner").filter(pk=key_id).first()
    stored = "" if key is None else key.hash
    # Every hash is compared, however early one fits.
    fits = [constant_time_compare(stored, computed) for computed in hashes]
    if key is None or not any(fits) or not is_good(key):
        raise Refusal(Code.UNAUTHENTICATED, BAD_KEY)
    return key


def is_good(key: ApiKey) -> bool:
    """Live, and its owner too."""
    return key.is_live and (key.owner is None or key.owner.is_active)


def _hashes(key_id: str, secret: str) -> tuple[str, ...]:
    """The hash that is stored, then those that were stored under an earlier ``SECRET_KEY``.

    The secret is 192 random bits: a fast hash is enough, there is nothing to guess.
    """
    return tuple(keyed_digest(key, f"{key_id}_{secret}") for key in derived_keys("api_key"))


# -- last use -------------------------------------------------------------------------------------

_used: dict[str, float] = {}
_used_lock = Lock()


def note_use(key_id: str) -> Future[None] | None:
    """Note when a key was last used, on a thread of ours; None when it was within a minute."""
    now = monotonic()
    noted = _used.get(key_id)
    if noted is not None and now - noted < USE_INTERVAL:
        return None
    with _used_lock:
        if len(_used) >= MOST_USES:
            _used.clear()
        _used[key_id] = now
    return threads.submit(_write_use, key_id)


def _write_use(key_id: str) -> None:
    try:
        # ``update`` sends no signal: a use is no change of the key.
        ApiKey.objects.filter(pk=key_id).update(last_used_at=timezone.now())
    except Error as error:
        logger.warning("The last use of the API key %s can't be noted: %s", key_id, error)
