"""Live connections whose credentials may have changed: looked up together, ended or refreshed."""

from __future__ import annotations

from ..identity.freshness import refresh_now
from .routes import routes


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
