"""Live connections whose credentials may have changed: looked up together, ended or refreshed."""

from __future__ import annotations

import asyncio
import logging

from ..identity.freshness import refresh, refresh_now
from .routes import Connection, routes

logger = logging.getLogger(__name__)

#: Seconds between two tries while the database can't be read.
RETRY = 1.0


async def recheck(connection: Connection) -> None:
    """Look at the principal of one connection that ``recheck_connections`` did not see."""
    principal = connection.caller.principal
    if principal.is_anonymous:
        return
    while True:
        try:
            [now] = await refresh([principal])
            break
        except Exception as error:  # the database is away, or what keeps the sessions
            logger.warning("The credentials of %s can't be looked at: %s", principal.name, error)
            await asyncio.sleep(RETRY)
    if now != principal:
        connection.principal_changed(principal, now)


def recheck_connections() -> None:
    """Look at every principal that is connected here. Queries: not on an event loop.

    Raises ``Refusal`` when the database can't be read: then nothing is known, and it must be
    called again.
    """
    connections = [
        (connection, connection.caller.principal)
        for connection in routes.connections()
        if not connection.caller.principal.is_anonymous
    ]
    if not connections:
        return
    distinct = list(dict.fromkeys(principal for _, principal in connections))
    fresh = dict(zip(distinct, refresh_now(distinct), strict=True))
    for connection, principal in connections:
        if fresh[principal] != principal:
            connection.principal_changed(principal, fresh[principal])
