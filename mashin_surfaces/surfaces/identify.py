"""Who calls, for connections that live on: their credentials may be revoked while they come in."""

from __future__ import annotations

from collections.abc import Collection

from ..governance.govern import Caller
from ..identity.authenticate import authenticate
from ..identity.cache import principals
from ..identity.presented import Presented


async def identify(
    presented: Presented, accepted: Collection[str], grant: Collection[str] = ()
) -> Caller:
    """``authenticate``, as a caller that knows whether credentials have changed since."""
    generation = principals.generation
    principal = await authenticate(presented, accepted, grant)
    return Caller(principal, presented.client, generation)
