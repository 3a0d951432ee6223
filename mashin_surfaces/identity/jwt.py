"""JSON Web Tokens (RFC 7519): signed and verified with the keys of ``MASHIN_SURFACES["JWT"]``.

The algorithm is the key's, never the token's. Whom ``sub`` names is ``subjects.py``'s business.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

import jwt
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from jwt import exceptions as failures

from ..conf import settings
from ..exceptions import Code, Refusal
from .principal import is_name
from .scopes import Scopes
from .secret_keys import derived_keys

ALGORITHMS = frozenset(
    {f"{family}{bits}" for family in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)}
    | {"EdDSA"}
)
#: Characters; a longer token is refused unread.
MOST_CHARACTERS = 8 * 1024
#: Characters of ``sub``: as long as Django's user names.
MOST_NAME_CHARACTERS = 150
#: The claim by which our own tokens say that ``sub`` was a user's name when they were made.
SUBJECT_KIND = "sub_kind"
USER = "user"


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm it is for."""

    alg: str
    kid: str | None
    verifying: Any = field(repr=False)
    signing: Any | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says. ``expires_at``: Unix seconds, the allowed leeway included.

    ``must_be_user``: the token was made for a Django user, and is for no one else.
    """

    sub: str
    scopes: Scopes
    expires_at: float
    id: str
    must_be_user: bool = False
    agents: tuple[str, ...] | None = None


def verify(token: str) -> Claims:
    """The token's claims; ``Refusal(unauthenticated)`` for every token that is not good."""
    if len(token) > MOST_CHARACTERS:
        raise _refusal(f"The token is longer than {MOST_CHARACTERS:,} characters.")
    if token.count(".") != 2:
        raise _refusal("The token is no JWT: it has not three parts.")
    try:
        header = jwt.get_unverified_header(token)
    except (failures.PyJWTError, ValueError, RecursionError):
        raise _refusal("The token is no JWT: its header can't be read.") from None
    if "crit" in header or "b64" in header:
        raise _refusal("The token asks for extensions that are not supported.")
    return _claims(_verified(token, _candidates(header)), token)


def sign(
    name: str,
    scopes: Scopes,
    ttl: float,
    *,
    is_user: bool = False,
    agents: Sequence[str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A new token for ``name`` and its claims; ``ttl`` in seconds. By the first key that can sign.

    ``is_user``: the name is a Django user's; the token is then refused once the user is gone.
    ``agents``: globs of the agents that it may act as in incubators; None: it names none.
    Raises ``ValueError`` for a token that ``verify`` would not take.
    """
    if not is_name(name) or len(name) > MOST_NAME_CHARACTERS:
        raise ValueError(f"{name!r} is no name for a token: 1 to 150 characters, all printable.")
    signers = [(key, key.signing) for key in keys() if key.signing is not None]
    if not signers:
        raise ImproperlyConfigured(
            'No key of MASHIN_SURFACES["JWT"]["KEYS"] can sign: give one a "private_key".'
        )
    key, private = signers[0]
    now = time()
    claims: dict[str, Any] = {
        "sub": name,
        "scope": " ".join(sorted(scopes.names)),
        "iat": int(now),
        "exp": math.ceil(now + ttl),
        "jti": uuid4().hex,
    }
    if is_user:
        claims[SUBJECT_KIND] = USER
    if agents is not None:
        claims["agents"] = list(agents)
    if settings.JWT.AUDIENCE:
        claims["aud"] = settings.JWT.AUDIENCE
    if settings.JWT.ISSUER:
        claims["iss"] = settings.JWT.ISSUER
    headers = None if key.kid is None else {"kid": key.kid}
    token = jwt.encode(claims, private, algorithm=key.alg, headers=headers)
    if len(token) > MOST_CHARACTERS:
        raise ValueError(
            f"The token is longer than {MOST_CHARACTERS:,} characters: fewer scopes or agents."
        )
    return token, claims


# -- keys -----------------------------------------------------------------------------------------

_keys: tuple[Key, ...] | None = None


def keys() -> tuple[Key, ...]:
    """The configured keys, else the ones derived from ``SECRET_KEY``; read once.

    Raises ``ImproperlyConfigured`` for a key that can't be one (``manage.py check`` says more).
    """
    global _keys  # noqa: PLW0603  a cache of the settings, emptied when they change
    if _keys is None:
        _keys = tuple(map(_configured, settings.JWT.KEYS)) or tuple(
            Key("HS256", None, secret, secret) for secret in derived_keys("jwt")
        )
    return _keys


def _configured(entry: Any) -> Key:
    alg = entry.get("alg")
    if alg not in ALGORITHMS or not entry.get("key"):
        raise ImproperlyConfigured(
            'A key of MASHIN_SURFACES["JWT"]["KEYS"] needs an "alg" that is taken and a "key".'
        )
    algorithm = jwt.get_algorithm_by_name(alg)
    private = entry["key"] if alg.startswith("HS") else entry.get("private_key")
    try:
        # Prepared once: reading PEM costs more than a signature check.
        verifying = algorithm.prepare_key(entry["key"])
        signing = None if private is None else algorithm.prepare_key(private)
    except (failures.PyJWTError, ValueError, TypeError):
        raise ImproperlyConfigured(
            f'A key of MASHIN_SURFACES["JWT"]["KEYS"] can\'t be read as a key for {alg}.'
        ) from None
    return Key(alg, entry.get("kid"), verifying, signing)


def _forget_keys(*, setting: str, **_: Any) -> None:
    global _keys  # noqa: PLW0603  as above
    if setting in {"MASHIN_SURFACES", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _keys = None


setting_changed.connect(_forget_keys, dispatch_uid="mashin_surfaces.identity.jwt")


def _candidates(header: dict[str, Any]) -> list[Key]:
    """The keys that may have signed: by ``kid``, else those without one; of the header's ``alg``.

    The key's algorithm is used, and the header's must be the same: so a public key is never taken
    for a shared secret, and ``none`` is no algorithm (RFC 8725, 3.1).
    """
    every = keys()
    kid = header.get("kid")
    if kid is not None:
        every = tuple(key for key in every if key.kid == kid) or tuple(
            key for key in every if key.kid is None
        )
        if not every:
            raise _refusal("The token is signed with a key that is not known here.")
    matching = [key for key in every if key.alg == header.get("alg")]
    if not matching:
        raise _refusal("The token is signed by an algorithm that is not taken here.")
    return matching


# -- claims ---------------------------------------------------------------------------------------

#: From PyJWT's failures to sentences; the first that fits.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (failures.ExpiredSignatureError, "The token has expired."),
    (failures.ImmatureSignatureError, "The token is not valid yet."),
    (failures.InvalidAudienceError, "The token is for another audience."),
    (failures.InvalidIssuerError, "The token is of another issuer."),
    (failures.InvalidSignatureError, "The token's signature is wrong."),
)


def _verified(token: str, candidates: list[Key]) -> dict[str, Any]:
    failure = Refusal(Code.UNAUTHENTICATED, "The token's signature is wrong.")
    for key in candidates:
        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                key.verifying,
                algorithms=[key.alg],
                audience=settings.JWT.AUDIENCE,
                issuer=settings.JWT.ISSUER,
                leeway=settings.JWT.LEEWAY,
                options={"require": ["exp", "sub"]},
            )
        except failures.InvalidSignatureError:
            continue  # another key of the same algorithm may have signed it
        except failures.MissingRequiredClaimError as error:
            raise _refusal(f'The token has no claim "{error.claim}".') from None
        except (failures.PyJWTError, ValueError, RecursionError) as error:
            raise _refusal(_sentence(error)) from None
        return payload
    raise failure


def _sentence(error: Exception) -> str:
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    return "The token is no JWT that can be read."


def _claims(payload: dict[str, Any], token: str) -> Claims:
    sub, exp = payload["sub"], payload["exp"]
    if not isinstance(sub, str) or not 0 < len(sub) <= MOST_NAME_CHARACTERS:
        raise _refusal('The token\'s "sub" must be a text of 1 to 150 characters.')
    if not is_name(sub):
        raise _refusal('The token\'s "sub" is no name that a principal can have.')
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        raise _refusal('The token\'s "exp" must be a number (RFC 7519, 4.1.4).')
    try:
        expires_at = float(int(exp)) + settings.JWT.LEEWAY
    except OverflowError:
        raise _refusal('The token\'s "exp" is out of range.') from None
    jti = payload.get("jti")
    if not (isinstance(jti, str) and 0 < len(jti) <= 64 and jti.isprintable()):
        jti = hashlib.sha256(token.encode()).hexdigest()[:16]
    must_be_user = payload.get(SUBJECT_KIND) == USER
    return Claims(sub, _scopes(payload), expires_at, jti, must_be_user, _agents(payload))


def _scopes(payload: dict[str, Any]) -> Scopes:
    """Of ``scope`` (RFC 8693, 4.2: text with spaces between) and ``scopes`` (a list of texts)."""
    text, names = payload.get("scope", ""), payload.get("scopes", [])
    if not isinstance(text, str) or not isinstance(names, list):
        raise _refusal('The token\'s "scope" must be text, and "scopes" a list of texts.')
    try:
        return Scopes((*text.split(), *names))
    except ValueError:
        raise _refusal('The token\'s "scopes" must be texts without spaces.') from None


def _agents(payload: dict[str, Any]) -> tuple[str, ...] | None:
    """The agents that the token may act as in incubators: globs; None when it names none."""
    agents = payload.get("agents")
    if agents is None:
        return None
    if not isinstance(agents, list) or not all(isinstance(each, str) for each in agents):
        raise _refusal('The token\'s "agents" must be a list of texts.')
    return tuple(agents)


def _refusal(sentence: str) -> Refusal:
    return Refusal(Code.UNAUTHENTICATED, sentence)
