"""Who is it? From what a client presents, and what a surface takes, to a principal.

Everything that is wrong is a ``Refusal(unauthenticated)`` in a sentence that gives nothing away.
What the principal may do is governance's business; CSRF is the door's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

from ..exceptions import Code, Refusal
from . import api_keys, jwt, subjects, threads
from .cache import principals
from .origin import origin_is_ours
from .presented import Presented, Token
from .principal import Principal, anonymous

#: The order in which a surface's kinds are told.
_KINDS = ("session", "jwt", "api_key")
_CHALLENGES = {"jwt": "Bearer", "api_key": "Api-Key"}


async def authenticate(
    presented: Presented, accepted: Collection[str], grant: Collection[str] = ()
) -> Principal:
    """The principal; the database is asked on a thread of ours, and only for what is new.

    ``accepted``: the credential kinds that the surface takes (``session``, ``jwt``, ``api_key``,
    ``none``). ``grant``: the scopes of who shows nothing where ``none`` is accepted.

    Raises ``Refusal``: ``unauthenticated``, or ``ledger_unavailable`` without the database.
    """
    proof = _proof(presented, accepted)
    principal = _remembered(proof)
    if principal is None and proof is not None:
        principal = await threads.run(_look_up, proof)
    return _settled(principal, accepted, grant)


def authenticate_now(
    presented: Presented, accepted: Collection[str], grant: Collection[str] = ()
) -> Principal:
    """The same on this thread, for synchronous callers."""
    proof = _proof(presented, accepted)
    principal = _remembered(proof)
    if principal is None and proof is not None:
        principal = _look_up(proof)
    return _settled(principal, accepted, grant)


def challenges(accepted: Collection[str]) -> list[str]:
    """What ``WWW-Authenticate`` may say (RFC 9110, 11.6.1); a session has no scheme."""
    return [scheme for kind, scheme in _CHALLENGES.items() if kind in accepted]


def _proof(presented: Presented, accepted: Collection[str]) -> Token | Presented | None:
    """What there is to verify: a token, the session of ``Presented``, or nothing."""
    if presented.problem is not None:
        raise Refusal(Code.UNAUTHENTICATED, presented.problem)
    token = presented.token
    if token is not None:
        if token.kind not in accepted:
            raise Refusal(Code.UNAUTHENTICATED, f"{_takes(accepted)}; {token.kind} was sent.")
        return token
    request = presented.request
    has_cookie = presented.session_key is not None
    if "session" not in accepted or not (has_cookie or hasattr(request, "user")):
        return None
    problem = _origin_problem(presented)
    if problem is None:
        return presented
    # A cookie comes without being asked for: where nobody must say who they are, it is left aside.
    if has_cookie and "none" not in accepted:
        raise Refusal(Code.UNAUTHENTICATED, problem)
    return None


def _origin_problem(presented: Presented) -> str | None:
    """Why the session cookie does not count, if it does not."""
    if presented.origin is None:
        if not presented.is_upgrade:
            return None  # browsers leave it out of a plain GET; writing needs the CSRF token
        return "The session cookie counts only with an Origin header: use a token instead."
    if origin_is_ours(presented.origin, presented.host):
        return None
    return (
        "The session cookie does not count from another site's page: "
        'add its origin to MASHIN_SURFACES["ALLOWED_ORIGINS"], or use a token.'
    )


def _remembered(proof: Token | Presented | None) -> Principal | None:
    if not isinstance(proof, Token):
        return None
    principal = principals.get(proof)
    if principal is not None and principal.credential.kind == "api_key":
        api_keys.note_use(principal.credential.id)
    return principal


def _look_up(proof: Token | Presented) -> Principal | None:
    """Verify; None for a session in which nobody is signed in. Queries the database."""
    with database_needed():
        if isinstance(proof, Token):
            generation = principals.generation
            principal = _of_token(proof)
            principals.put(proof, principal, generation)
            return principal
        if hasattr(proof.request, "user"):
            return subjects.of_request(proof.request)
        return None if proof.session_key is None else subjects.of_session_key(proof.session_key)


def _of_token(token: Token) -> Principal:
    if token.kind == "jwt":
        return subjects.of_claims(jwt.verify(token.text))
    key = api_keys.verify(token.text)
    api_keys.note_use(key.id)
    return subjects.of_key(key)


def _settled(
    principal: Principal | None, accepted: Collection[str], grant: Collection[str]
) -> Principal:
    if principal is not None:
        return principal
    if "none" in accepted:
        return anonymous(grant)
    raise Refusal(Code.UNAUTHENTICATED, f"{_takes(accepted)}; nothing good was sent.")


def _takes(accepted: Collection[str]) -> str:
    kinds = [kind for kind in _KINDS if kind in accepted]
    return f"This surface takes {', '.join(kinds) or 'no credential'}"


@contextmanager
def database_needed() -> Iterator[None]:
    """Without the database no one can be known: try again, it is not the caller's fault."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Refusal(
            Code.LEDGER_UNAVAILABLE, "The database cannot be reached, try again.", retry_after=1
        ) from error
